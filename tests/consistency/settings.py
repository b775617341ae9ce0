"""The tests' settings, with Redis and memcached to store entries in where they run."""

from __future__ import annotations

import os

from tests.settings import *  # noqa: F403
from tests.settings import CACHELAYERS, CACHES, DATABASES, layered_cache

# Without a bus: what recall keeps needs none.
CACHES["layers"] = layered_cache("memory", "sqlite")
if url := os.environ.get("CACHELAYERS_CHECKER_REDIS"):
    CACHES["redis"] = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url}
    CACHES["layers"] = layered_cache("memory", "redis", "sqlite")
if address := os.environ.get("CACHELAYERS_CHECKER_MEMCACHED"):
    CACHES["memcached"] = {
        "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
        "LOCATION": address,
    }
for database in DATABASES.values():
    if database["ENGINE"].endswith("sqlite3"):
        # A transaction that reads first and then writes would be refused at once.
        database["OPTIONS"] = {**database["OPTIONS"], "transaction_mode": "IMMEDIATE"}
# For MariaDB: the writers' transactions are short, and what they wrote is to be cached soon.
CACHELAYERS = {**CACHELAYERS, "LATE_COMMIT_SECONDS": 1}
