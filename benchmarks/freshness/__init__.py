"""The cost of freshness: recall beside django-cachalot and django-cacheops."""
