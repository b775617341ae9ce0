"""The cost of fragments, beside Django's `{% cache %}` and django-adv-cache-tag."""
