"""What it costs never to be stale: recall beside django-cachalot and django-cacheops."""
