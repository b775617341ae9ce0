"""What fragments cost and save, beside Django's `{% cache %}` and django-adv-cache-tag."""
