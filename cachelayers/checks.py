"""System checks: what is wrong or unwise in the settings, each with the cure."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags
from django.db import connections

from cachelayers.backends.database.options import find_problems
from cachelayers.conf import (
    cache_databases,
    database_alias_of,
    database_caches,
    is_own_database,
    shares_its_file,
)

OLDEST_SQLITE = (3, 35, 0)  # RETURNING
ROUTER = "cachelayers.routers.CacheRouter"
DOCS = "See docs/database_cache.md."


def register_all() -> None:
    """Register every check of this package."""
    checks.register(check_database_caches, Tags.caches)


def check_database_caches(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Check every DatabaseCache in CACHES and the databases that hold their tables."""
    return [*cache_messages(), *database_messages()]


def cache_messages() -> Iterator[CheckMessage]:
    """Yield what is wrong with each cache's own settings."""
    for alias, params in database_caches():
        others = {key: value for key, value in params.items() if key not in {"BACKEND", "LOCATION"}}
        where = f"CACHES[{alias!r}]"
        for problem in find_problems(where, params.get("LOCATION", ""), others):
            yield Error(problem.text, hint=problem.cure, id=problem.id)
        if others.get("OPTIONS", {}) and others["OPTIONS"].get("UNLOGGED"):
            yield from unlogged_messages(where, database_alias_of(params))


def unlogged_messages(where: str, database: str) -> Iterator[CheckMessage]:
    """Yield a warning where UNLOGGED means nothing."""
    if database in settings.DATABASES and connections[database].vendor != "postgresql":
        yield checks.Warning(
            f"{where} OPTIONS UNLOGGED is True, and DATABASES[{database!r}] is not PostgreSQL.",
            hint="It has no effect there: leave it out.",
            id="cachelayers.W004",
        )


def database_messages() -> Iterator[CheckMessage]:
    """Yield what is unwise about the databases that hold the table."""
    for database in cache_databases():
        if database not in settings.DATABASES:
            continue  # an error already
        if connections[database].vendor == "sqlite":
            yield from sqlite_messages(database)
        if is_own_database(database) and ROUTER not in settings.DATABASE_ROUTERS:
            yield checks.Warning(
                f"DATABASES[{database!r}] is a cache's own, and DATABASE_ROUTERS does not keep"
                " other tables out of it.",
                hint=f'Add "{ROUTER}" to DATABASE_ROUTERS.',
                id="cachelayers.W002",
            )


def sqlite_messages(database: str) -> Iterator[CheckMessage]:
    """Yield what is wrong or unwise about an SQLite file."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        yield Error(
            f"SQLite is {sqlite3.sqlite_version}, and DatabaseCache needs 3.35 for RETURNING.",
            hint="Use a Python that is built with a newer SQLite.",
            id="cachelayers.E005",
        )
    if shares_its_file(database):
        yield checks.Warning(
            f"DATABASES[{database!r}] is an SQLite file that holds the application's tables and a"
            " DatabaseCache. SQLite lets one connection write at a time, so pages and cache wait"
            " for each other.",
            hint=f"Give the cache a DATABASES alias with a file of its own. {DOCS}",
            id="cachelayers.W001",
        )
