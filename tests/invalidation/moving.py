"""Databases that data is moved to: a copy of a file, a database on another server."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.db import connections

from tests.invalidation.conftest import Site
from tests.servers import Postgres
from tests.state import object_named

TABLES = ("library_*", "cachelayers_*")  # of a dump of the data alone


@contextmanager
def database(alias: str, configured: dict[str, Any]) -> Iterator[Site]:
    """Add a database to DATABASES for the block, and yield a site on it."""
    usual = connections.settings
    one = {**usual["default"], "TEST": {**usual["default"]["TEST"]}, "OPTIONS": {}, **configured}
    usual[alias] = one
    try:
        yield Site(alias)
    finally:
        connections[alias].close()
        del connections[alias]
        del usual[alias]
        object_named("invalidation.log._logs").pop(alias, None)


def sqlite_file(path: Path) -> dict[str, Any]:
    """Return the settings of a file."""
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path), "OPTIONS": {"timeout": 20}}


def copy_file(to: Path) -> Path:
    """Copy the site's file, as a backup does."""
    with connections["default"].cursor() as cursor:
        cursor.execute("VACUUM INTO %s", [str(to)])
    return to


def copy_over(source: Path, target: Path) -> None:
    """Copy a file page by page into another one, which keeps its inode."""
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other)


def dump(server: Postgres, name: str, *options: str) -> str:
    """Return the dump that pg_dump writes of a database."""
    tool = server.program_path("pg_dump")
    return server.run_tool(tool, *address(server), *options, name)


def load(server: Postgres, name: str, text: str) -> None:
    """Load a dump with psql. The first error ends it."""
    file = server.folder / f"{name}.sql"
    file.write_text(text)
    file.chmod(0o644)
    psql = server.program_path("psql")
    options = ["-qX", "-v", "ON_ERROR_STOP=1", "-f", str(file), "-d", name]
    server.run_tool(psql, *address(server), *options)


def address(server: Postgres) -> list[str]:
    return ["-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres"]


def spend_transactions(site: Site, count: int) -> None:
    """Use up transaction ids of a server."""
    site.execute(
        "DO $$ BEGIN FOR i IN 1.." + str(count) + " LOOP PERFORM pg_current_xact_id(); COMMIT;"
        " END LOOP; END $$"
    )


def fixture_of(alias: str, path: Path, *options: str) -> Path:
    """Dump a database with dumpdata."""
    call_command("dumpdata", *options, database=alias, output=str(path), verbosity=0)
    return path
