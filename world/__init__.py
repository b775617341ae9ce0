"""Projects as users have them: made by ``django-admin``, run by their own commands."""
