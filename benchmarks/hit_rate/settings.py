"""Django settings of one process: of what it measures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.hit_rate import names

TASK = names.published_task()
SECRET_KEY = "a benchmark keeps no secrets"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES: dict[str, dict[str, Any]] = {"default": TASK.settings}
INSTALLED_APPS = [f"benchmarks.hit_rate.{TASK.workload}"]
LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
CACHES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": LOCMEM},
    "hand_written": {
        "BACKEND": LOCMEM,
        "LOCATION": "hand written",
        "TIMEOUT": None,
        "OPTIONS": {"MAX_ENTRIES": 1_000_000},
    },
}

# Nothing ends by its age while a run lasts: that would depend on the machine.
if names.OURS in TASK.contestants:
    INSTALLED_APPS.append("cachelayers")
    CACHES["default"] = {
        "BACKEND": "cachelayers.backends.LayeredCache",
        "LOCATION": Path(TASK.folder) / "cache.sqlite3",
    }
    # A site has ten requests in ten seconds, a run in a tenth of a second, or somewhat more.
    CACHELAYERS = {"TIMEOUT": "1d", "LATE_COMMIT_SECONDS": 0.1}
if names.CACHALOT in TASK.contestants:
    INSTALLED_APPS.append("cachalot")
    CACHES["default"] = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": TASK.redis}
if names.CACHEOPS in TASK.contestants:
    INSTALLED_APPS.append("cacheops")
    CACHEOPS_REDIS = TASK.redis
    CACHEOPS = {f"{TASK.workload}.*": {"ops": "all", "timeout": 86_400}}
