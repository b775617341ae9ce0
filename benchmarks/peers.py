"""The measured caches: each on each store, how to open it, and why one may be missing."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from django.conf import settings
from django.core.cache import caches
from django.core.management import call_command
from django.db import connections

from benchmarks.bare import BareDriver, BareMariaDB, BarePostgres, BareSqlite

OURS, DJANGO, LOCMEM = "ours", "Django", "LocMemCache"
DISKCACHE, MYSQLCACHE, BARE = "diskcache", "MySQLCache", "bare"
CASHEWS, DJANGO_REDIS, CORE_REDIS = "cashews", "django-redis", "RedisCache"
PYMEMCACHE = "PyMemcacheCache"
# A LayeredCache is named after its layers.
MEMORY_TABLE, MEMORY_REDIS, REDIS_TABLE = "memory+table", "memory+redis", "redis+table"
MEMORY_MEMCACHED, MEMCACHED_TABLE = "memory+memcached", "memcached+table"
WITH_MEMORY = (MEMORY_TABLE, MEMORY_REDIS, MEMORY_MEMCACHED)
STACKS = (*WITH_MEMORY, REDIS_TABLE, MEMCACHED_TABLE)
DATABASES = ("sqlite", "postgres", "mariadb")
MEMORY, REDIS, MEMCACHED = "memory", "redis", "memcached"  # other stores than databases
STORES = (*DATABASES, MEMORY, REDIS, MEMCACHED)
# The peer that the others on a store are compared with, if it is not OURS.
REFERENCES = {REDIS: MEMORY_REDIS, MEMCACHED: MEMORY_MEMCACHED}


class Cache(Protocol):
    """The measured methods of a peer, as in Django's caches."""

    def get(self, key: str, /) -> Any:
        """Return the value or None."""

    def get_many(self, keys: Iterable[str], /) -> Mapping[str, Any]:
        """Return the values found."""

    def set(self, key: str, value: Any, timeout: int, /) -> None:
        """Write a value."""

    def set_many(self, values: Any, timeout: int, /) -> Any:
        """Write many values."""

    def delete(self, key: str, /) -> bool:
        """Delete a value."""

    def incr(self, key: str, /) -> int:
        """Add one to a number."""

    def clear(self) -> Any:
        """Delete everything."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A cache on a database or another store. ``cache_alias`` is None for the bare driver."""

    name: str
    database: str
    cache_alias: str | None = None
    needs: tuple[str, ...] = ()
    is_local: bool = False  # no two processes share its values
    migrates: tuple[str, ...] = ()  # databases of a LayeredCache

    @property
    def is_ours(self) -> bool:
        """Return whether it is one of our backends."""
        return self.name == OURS or self.name in STACKS

    @property
    def layers(self) -> tuple[str, ...]:
        """Return the aliases of a LayeredCache's layers, the fastest first."""
        if self.name not in STACKS:
            return ()
        return tuple(settings.CACHES[str(self.cache_alias)]["OPTIONS"]["LAYERS"])

    @property
    def memory_alias(self) -> str | None:
        """Return the alias of a LayeredCache's memory, if it has one."""
        return self.layers[0] if self.name in WITH_MEMORY else None

    def find_missing(self) -> list[str]:
        """Return the Python packages that this peer needs and the environment lacks."""
        return [name for name in self.needs if not is_importable(name)]

    def open(self, *, size: str = "") -> Cache:
        """Return this thread's cache; ``size`` is one of environment.SIZES."""
        if self.cache_alias is None:
            return open_bare(self.database, size)
        cache: Cache = caches[self.cache_alias + size]
        return cache

    def forget_memory(self) -> None:
        """Empty the memory of a LayeredCache, so that the next read goes to its lower layers."""
        if self.memory_alias is not None:
            caches[self.memory_alias].clear()

    def count_failures(self) -> int:
        """Return how often a layer has failed: after a failure only the rest is timed."""
        from cachelayers.backends.layered.circuit_breaker import breaker_of  # needs settings

        return sum(breaker_of(alias).failures for alias in self.layers)

    def create_table(self, *, size: str = "") -> None:
        """Make the peer's table; once, before the first use."""
        for database in self.migrates:
            call_command("migrate", database=database, verbosity=0)
        if self.database not in DATABASES:
            return
        if self.name == OURS:
            call_command("migrate", database=f"{self.database}{size}", verbosity=0)
        elif self.name == DJANGO:
            table, database = self.table_and_database(size)
            call_command("createcachetable", table, database=database, verbosity=0)
        elif self.name == MYSQLCACHE:
            table, database = self.table_and_database(size)
            create_mysqlcache_table(table, database)
        elif self.name == BARE:
            open_bare(self.database, size).create_table()

    def table_and_database(self, size: str) -> tuple[str, str]:
        """Return the table and the database of a peer whose LOCATION is `<peer>__<database>`."""
        table = settings.CACHES[f"{self.cache_alias}{size}"]["LOCATION"]
        return table, table.split("__")[1]


PEERS = (
    Peer(name=OURS, database="sqlite", cache_alias="ours_sqlite"),
    Peer(name=DJANGO, database="sqlite", cache_alias="django_sqlite"),
    Peer(name=DISKCACHE, database="sqlite", cache_alias="diskcache_sqlite", needs=("diskcache",)),
    Peer(name=BARE, database="sqlite"),
    Peer(name=OURS, database="postgres", cache_alias="ours_postgres", needs=("psycopg",)),
    Peer(name=DJANGO, database="postgres", cache_alias="django_postgres", needs=("psycopg",)),
    Peer(name=BARE, database="postgres", needs=("psycopg",)),
    Peer(name=OURS, database="mariadb", cache_alias="ours_mariadb", needs=("MySQLdb",)),
    Peer(name=DJANGO, database="mariadb", cache_alias="django_mariadb", needs=("MySQLdb",)),
    Peer(
        name=MYSQLCACHE,
        database="mariadb",
        cache_alias="mysqlcache_mariadb",
        needs=("MySQLdb", "django_mysql"),
    ),
    Peer(name=BARE, database="mariadb", needs=("MySQLdb",)),
    Peer(name=OURS, database=MEMORY, cache_alias="ours_memory", is_local=True),
    Peer(
        name=MEMORY_TABLE,
        database=MEMORY,
        cache_alias="memory_table",
        migrates=("table_under_memory", "default"),
    ),
    Peer(name=LOCMEM, database=MEMORY, cache_alias="locmem", is_local=True),
    Peer(name=DISKCACHE, database=MEMORY, cache_alias="diskcache_sqlite", needs=("diskcache",)),
    Peer(
        name=CASHEWS,
        database=MEMORY,
        cache_alias="cashews_memory",
        needs=("cashews",),
        is_local=True,
    ),
    Peer(name=MEMORY_REDIS, database=REDIS, cache_alias="memory_redis", needs=("django_redis",)),
    Peer(
        name=REDIS_TABLE,
        database=REDIS,
        cache_alias="redis_table",
        needs=("django_redis",),
        migrates=("table_under_redis",),
    ),
    Peer(name=DJANGO_REDIS, database=REDIS, cache_alias="django_redis", needs=("django_redis",)),
    Peer(name=CORE_REDIS, database=REDIS, cache_alias="core_redis"),
    Peer(name=CASHEWS, database=REDIS, cache_alias="cashews_redis", needs=("cashews",)),
    Peer(name=MEMORY_MEMCACHED, database=MEMCACHED, cache_alias="memory_memcached"),
    Peer(
        name=MEMCACHED_TABLE,
        database=MEMCACHED,
        cache_alias="memcached_table",
        migrates=("table_under_memcached",),
    ),
    Peer(name=PYMEMCACHE, database=MEMCACHED, cache_alias="memcached"),
)


def reference_of(database: str) -> str:
    """Return the name of the peer that the others on a store are compared with."""
    return REFERENCES.get(database, OURS)


def find_peers(databases: Iterable[str]) -> tuple[list[Peer], dict[str, str]]:
    """Return the available peers on ``databases``, and the reason for each missing one."""
    chosen = [peer for peer in PEERS if peer.database in set(databases)]
    missing = {
        f"{peer.name} on {peer.database}": f"not installed: {', '.join(peer.find_missing())}"
        for peer in chosen
        if peer.find_missing()
    }
    return [peer for peer in chosen if not peer.find_missing()], missing


def is_importable(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def open_bare(database: str, size: str) -> BareDriver:
    options = settings.DATABASES[f"{database}{size}"]
    if database == "sqlite":
        return BareSqlite(options["NAME"].with_name(f"bare{size}.sqlite3"))
    driver = BarePostgres if database == "postgres" else BareMariaDB
    return driver(options["PORT"], options["NAME"])


def create_mysqlcache_table(table: str, database: str) -> None:
    module = importlib.import_module("django_mysql.cache")
    with connections[database].cursor() as cursor:
        cursor.execute(module.MySQLCache.create_table_sql.format(table_name=table))
