"""Django settings of one contender, which the environment names.

Each contender has its own process: cachalot and cacheops change the ORM for the whole process.
"""

from __future__ import annotations

import json
import os
from typing import Any

CONTENDER = os.environ["CACHELAYERS_FRESHNESS_CONTENDER"]
REDIS = os.environ["CACHELAYERS_FRESHNESS_REDIS"]
SECRET_KEY = "a benchmark keeps no secrets"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES: dict[str, dict[str, Any]] = json.loads(os.environ["CACHELAYERS_FRESHNESS_DATABASES"])
DATABASE_ROUTERS = ["cachelayers.routers.CacheRouter"] if "cache" in DATABASES else []
INSTALLED_APPS = ["testproject.airports"]
REDIS_CACHE = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": REDIS}
CACHES: dict[str, dict[str, Any]] = {"default": REDIS_CACHE}

if CONTENDER.startswith("recall"):
    INSTALLED_APPS.append("cachelayers")
    CACHELAYERS = {"TRACK": ["airports"]}
    if CONTENDER == "recall, table":
        location = "cache" if "cache" in DATABASES else "default"
        CACHES["default"] = {
            "BACKEND": "cachelayers.backends.DatabaseCache",
            "LOCATION": location,
        }
if CONTENDER == "cachalot":
    INSTALLED_APPS.append("cachalot")
if CONTENDER == "cacheops":
    INSTALLED_APPS.append("cacheops")
    CACHEOPS_REDIS = REDIS
    CACHEOPS = {"airports.*": {"ops": "all", "timeout": 3600}}
