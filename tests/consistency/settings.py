"""The tests' settings, with entries in Redis and memcached if they run."""

from __future__ import annotations

import os

from tests.settings import *  # noqa: F403
from tests.settings import CACHELAYERS, CACHES, DATABASES, INSTALLED_APPS, layered_cache

# Without a bus: recalled values need none.
CACHES["layers"] = layered_cache("memory", "sqlite")
if url := os.environ.get("CACHELAYERS_CHECKER_REDIS"):
    CACHES["redis"] = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url}
    CACHES["layers"] = layered_cache("memory", "redis", "sqlite")
if address := os.environ.get("CACHELAYERS_CHECKER_MEMCACHED"):
    CACHES["memcached"] = {
        "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
        "LOCATION": address,
    }
if store := os.environ.get("CACHELAYERS_CHECKER_STORE"):
    CACHES[store] = {**CACHES[store], "KEY_PREFIX": os.environ["CACHELAYERS_CHECKER_PREFIX"]}
# Many processes start, and none shows an admin.
INSTALLED_APPS = [app for app in INSTALLED_APPS if app != "django.contrib.admin"]
ROOT_URLCONF = "tests.consistency.site"
MIDDLEWARE = []  # our own middleware is added by the runs
for database in DATABASES.values():
    database["CONN_MAX_AGE"] = None  # as on a busy site
    if database["ENGINE"].endswith("sqlite3"):
        # A transaction that reads first and then writes would fail at once.
        database["OPTIONS"] = {**database["OPTIONS"], "transaction_mode": "IMMEDIATE"}
# For MariaDB: the writers' transactions are short, and their rows should soon be cached.
CACHELAYERS = {**CACHELAYERS, "LATE_COMMIT_SECONDS": 1}
