"""The tests' settings with the small site instead of the demo, and one cache."""

import os

from tests.settings import *  # noqa: F403
from tests.settings import CACHES as USUAL_CACHES
from tests.settings import DATABASES as USUAL_DATABASES
from tests.settings import INSTALLED_APPS as USUAL_APPS

ROOT_URLCONF = os.environ.get("SMALL_SITE_URLCONF", "tests.commands.small_site.urls")
INSTALLED_APPS = [*USUAL_APPS, "tests.commands.small_site"]
DATABASES = {alias: USUAL_DATABASES[alias] for alias in ("default", "sqlite_cache")}
CACHES = {"default": USUAL_CACHES["default"]}
DATABASE_ROUTERS = ["cachelayers.routers.CacheRouter"]

# Like a project's __init__, so that tasks are sent with this app.
if "SMALL_SITE_CELERY" in os.environ:
    from importlib import import_module

    import_module(os.environ["SMALL_SITE_CELERY"])
