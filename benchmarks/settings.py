"""Django settings of a benchmark run. Its processes share them through the environment.

Every peer keeps its default settings, save what would falsify the comparison: a time-out longer
than the run, no limit on the number of rows where the default is 300, and, on SQLite, WAL for all.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from benchmarks.environment import FOLDER_VARIABLE, PORT_VARIABLES, SIZES, TIMEOUT_SECONDS
from tests.servers import mariadb_settings, postgres_settings

ROWS_BOUND = 10**9  # Django's backend removes rows above 300 unless told otherwise
BYTES_BOUND = 2**30  # diskcache's default; ours gets the same, so that both pay for keeping it

folder = Path(os.environ.get(FOLDER_VARIABLE, "var/bench")).absolute()
servers = {
    name: int(os.environ[variable])
    for name, variable in PORT_VARIABLES.items()
    if variable in os.environ
}


def sqlite_database(name: str) -> dict[str, Any]:
    pragmas = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": folder / f"{name}.sqlite3",
        "OPTIONS": {"init_command": pragmas},
    }


def build_databases() -> dict[str, dict[str, Any]]:
    databases: dict[str, dict[str, Any]] = {
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    }
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
        for kind in ("sqlite", *servers):
            django_database = "sqlite_django" if kind == "sqlite" else kind
            caches[f"ours_{kind}{size}"] = {
                "BACKEND": "cachelayers.backends.DatabaseCache",
                "LOCATION": f"{kind}{size}",
                "OPTIONS": {"MAX_BYTES": BYTES_BOUND},
            }
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
    caches["ours_memory"] = {
        "BACKEND": "cachelayers.backends.MemoryCache",
        "OPTIONS": {"MAX_BYTES": BYTES_BOUND},
    }
    caches["locmem"] = {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "OPTIONS": {"MAX_ENTRIES": ROWS_BOUND},
    }
    for options in caches.values():
        options["TIMEOUT"] = TIMEOUT_SECONDS
    return caches


SECRET_KEY = "a benchmark keeps no secrets"
USE_TZ = True
INSTALLED_APPS = ["cachelayers"]
DATABASES = build_databases()
DATABASE_ROUTERS = ["benchmarks.routers.PeerTableRouter", "cachelayers.routers.CacheRouter"]
CACHES = build_caches()
