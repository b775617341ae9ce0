"""Django settings of a benchmark run. Its processes share them through the environment.

Every peer keeps its default settings, except where they would distort the comparison: a time-out
longer than the run, no limit on the number of rows where the default is 300, and, on SQLite, WAL
for all.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from benchmarks.environment import (
    FOLDER_VARIABLE,
    MEMCACHEDS,
    SIZES,
    TIMEOUT_SECONDS,
    published_ports,
)
from tests.servers import HOST, mariadb_settings, postgres_settings

ROWS_BOUND = 10**9  # the default of Django's backend is 300 rows
BYTES_BOUND = 2**30  # diskcache's default; ours has the same bound, so that both pay for it

folder = Path(os.environ.get(FOLDER_VARIABLE, "var/bench")).absolute()
servers = published_ports()
databases_on_servers = [name for name in ("postgres", "mariadb") if name in servers]
# The tables under layers, in files of their own.
TABLES = ("table_under_memory", "table_under_redis", "table_under_memcached")


def sqlite_database(name: str) -> dict[str, Any]:
    pragmas = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": folder / f"{name}.sqlite3",
        "OPTIONS": {"init_command": pragmas},
    }


def build_databases() -> dict[str, dict[str, Any]]:
    # The log is in the default database, where LayeredCache finds it.
    databases = {name: sqlite_database(name) for name in ("default", *TABLES)}
    for size in SIZES:
        for name in (f"sqlite{size}", f"sqlite_django{size}"):
            databases[name] = sqlite_database(name)
        if "postgres" in servers:
            databases[f"postgres{size}"] = postgres_settings(servers["postgres"], f"bench{size}")
        if "mariadb" in servers:
            databases[f"mariadb{size}"] = mariadb_settings(servers["mariadb"], f"bench{size}")
    return databases


def build_caches() -> dict[str, dict[str, Any]]:
    caches: dict[str, dict[str, Any]] = {
        "default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}
    }
    for size in SIZES:
        for kind in ("sqlite", *databases_on_servers):
            django_database = "sqlite_django" if kind == "sqlite" else kind
            caches[f"ours_{kind}{size}"] = table_cache(f"{kind}{size}")
            caches[f"django_{kind}{size}"] = {
                "BACKEND": "django.core.cache.backends.db.DatabaseCache",
                "LOCATION": f"django__{django_database}{size}",
                "OPTIONS": {"MAX_ENTRIES": ROWS_BOUND},
            }
        caches[f"diskcache_sqlite{size}"] = {
            "BACKEND": "diskcache.DjangoCache",
            "LOCATION": str(folder / f"diskcache{size}"),
        }
        if "mariadb" in servers:
            caches[f"mysqlcache_mariadb{size}"] = {
                "BACKEND": "django_mysql.cache.MySQLCache",
                "LOCATION": f"mysqlcache__mariadb{size}",
                "OPTIONS": {"MAX_ENTRIES": -1},
            }
    caches |= {
        "ours_memory": memory_cache(),
        "locmem": {
            "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
            "OPTIONS": {"MAX_ENTRIES": ROWS_BOUND},
        },
        "cashews_memory": {
            "BACKEND": "benchmarks.cashews_cache.CashewsCache",
            "LOCATION": "mem://",
            "OPTIONS": {"size": ROWS_BOUND},
        },
        "memory_over_table": memory_cache(),
        "table_under_memory": table_cache("table_under_memory"),
        "memory_table": layered_cache("memory_over_table", "table_under_memory", bus="log"),
    }
    if "redis" in servers:
        caches |= build_redis_caches(f"redis://{HOST}:{servers['redis']}")
    if "memcached" in servers:
        caches |= build_memcached_caches()
    for options in caches.values():
        options["TIMEOUT"] = TIMEOUT_SECONDS
    return caches


def build_redis_caches(url: str) -> dict[str, dict[str, Any]]:
    """Return the peers on the Redis, each in a database of its own, and the stacks with one."""
    return {
        "django_redis": redis_cache(f"{url}/0"),
        "core_redis": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": f"{url}/1",
        },
        "cashews_redis": {
            "BACKEND": "benchmarks.cashews_cache.CashewsCache",
            "LOCATION": f"{url}/2",
        },
        "memory_over_redis": memory_cache(),
        "redis_under_memory": redis_cache(f"{url}/3"),
        "memory_redis": layered_cache(
            "memory_over_redis", "redis_under_memory", bus="redis_under_memory"
        ),
        "redis_over_table": redis_cache(f"{url}/4"),
        "table_under_redis": table_cache("table_under_redis"),
        "redis_table": layered_cache("redis_over_table", "table_under_redis"),
    }


def build_memcached_caches() -> dict[str, dict[str, Any]]:
    """Return the peers on memcached, each with a server of its own, and the stacks with one."""
    return {
        **{
            name: {
                "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
                "LOCATION": f"{HOST}:{servers[name]}",
            }
            for name in MEMCACHEDS
        },
        "memory_over_memcached": memory_cache(),
        "memory_memcached": layered_cache("memory_over_memcached", "memcached_under_memory"),
        "table_under_memcached": table_cache("table_under_memcached"),
        "memcached_table": layered_cache("memcached_over_table", "table_under_memcached"),
    }


def memory_cache() -> dict[str, Any]:
    return {
        "BACKEND": "cachelayers.backends.MemoryCache",
        "OPTIONS": {"MAX_BYTES": BYTES_BOUND},
    }


def table_cache(database: str) -> dict[str, Any]:
    return {
        "BACKEND": "cachelayers.backends.DatabaseCache",
        "LOCATION": database,
        "OPTIONS": {"MAX_BYTES": BYTES_BOUND},
    }


def redis_cache(url: str) -> dict[str, Any]:
    return {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url}


def layered_cache(*layers: str, bus: str | None = None) -> dict[str, Any]:
    return {
        "BACKEND": "cachelayers.backends.LayeredCache",
        "OPTIONS": {"LAYERS": list(layers), "BUS": bus},
    }


SECRET_KEY = "a benchmark keeps no secrets"
USE_TZ = True
INSTALLED_APPS = ["cachelayers"]
DATABASES = build_databases()
DATABASE_ROUTERS = ["benchmarks.routers.PeerTableRouter", "cachelayers.routers.CacheRouter"]
CACHES = build_caches()
CACHELAYERS = {"STATS_SECONDS": None}  # counted all the same; there is no table for it here
