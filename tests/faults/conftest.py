"""Fixtures that break databases: a private server, and SQLite files of the test's own."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.management import call_command
from django.db import connections
from django.test import override_settings
from pytest_django.plugin import DjangoDbBlocker

from tests import environment
from tests.contract.fixtures import clock, make_cache
from tests.servers import SERVERS, Server

__all__ = ["clock", "make_cache"]

BUSY_SECONDS = 0.3
SERVER_NAMES = [
    pytest.param("postgres", marks=pytest.mark.postgres),
    pytest.param("mariadb", marks=pytest.mark.mariadb),
]

OpenCache = Callable[..., BaseCache]


class Reports(logging.Handler):
    """Collects the cache's log records by level."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@pytest.fixture
def reports() -> Iterator[Reports]:
    handler = Reports()
    logger = logging.getLogger("cachelayers")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def await_value(read: Callable[[], object], expected: object, seconds: float = 20) -> None:
    """Wait until ``read()`` returns the expected value: after a slow failure a cache pauses."""
    deadline = time.monotonic() + seconds
    while (found := read()) != expected:
        assert time.monotonic() < deadline, f"{found!r} instead of {expected!r}"
        time.sleep(0.05)


def await_recovery(cache: BaseCache) -> None:
    """Wait until the cache stores values again."""
    await_value(lambda: probe(cache), True)


def probe(cache: BaseCache) -> bool:
    """Return whether the cache stores and returns values."""
    cache.set("probe", time.monotonic_ns())
    return cache.get("probe") is not None


@contextmanager
def database(alias: str, database_settings: dict[str, Any]) -> Iterator[str]:
    """Add a database to DATABASES for a while."""
    # Not override_settings(): Django warns that connections do not follow it.
    connections.settings[alias] = copy.deepcopy(database_settings)
    connections.configure_settings(connections.settings)
    try:
        yield alias
    finally:
        connections[alias].close()
        del connections[alias]
        del connections.settings[alias]


@pytest.fixture(scope="session")
def private_servers() -> Iterator[Callable[[str], Server]]:
    """Return a function that starts this worker's own server of a kind."""
    servers: dict[str, Server] = {}

    def running(name: str) -> Server:
        if name not in servers:
            servers[name] = SERVERS[name](environment.make_private_folder(name))
        servers[name].start()
        return servers[name]

    yield running
    for server in servers.values():
        server.remove()


@pytest.fixture(params=SERVER_NAMES)
def server(request: pytest.FixtureRequest, private_servers: Callable[[str], Server]) -> Server:
    """Return a server that a test may stop, kill and start again."""
    return private_servers(request.param)


@pytest.fixture
def open_cache(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[OpenCache]:
    """Return a function that opens a cache on a database of the test's own."""
    with django_db_blocker.unblock(), ExitStack() as undo:

        def open_one(
            alias: str, database_settings: dict[str, Any], *, migrate: bool = True, **options: Any
        ) -> BaseCache:
            undo.enter_context(database(alias, database_settings))
            options = {"BUSY_SECONDS": BUSY_SECONDS, **options}
            params = {
                "BACKEND": "cachelayers.backends.DatabaseCache",
                "LOCATION": alias,
                "OPTIONS": options,
            }
            undo.enter_context(override_settings(CACHES={**settings.CACHES, alias: params}))
            if migrate:
                call_command("migrate", "cachelayers", database=alias, verbosity=0)
            cache = caches[alias]
            undo.callback(cache.close)
            return cache

        yield open_one


@pytest.fixture
def server_cache(
    server: Server, open_cache: OpenCache, request: pytest.FixtureRequest
) -> BaseCache:
    """Return an empty cache on the private server."""
    # Named after the test: reports are limited to one a minute for each name.
    cache = open_cache(f"private-{request.node.name}", server.database_settings())  # type: ignore[attr-defined] # both kinds have it
    cache.clear()
    return cache


@pytest.fixture
def shared_cache(
    server: Server, open_cache: OpenCache, request: pytest.FixtureRequest, monkeypatch: Any
) -> BaseCache:
    """Return a cache in a database that the application uses too, by the same connection.

    Its parameter is the cache's time limit.
    """
    from cachelayers.backends.database import django_session
    from cachelayers.utils import answers

    for module in (answers, django_session):
        monkeypatch.setattr(module, "is_own_database", lambda alias: False)
    seconds = getattr(request, "param", BUSY_SECONDS)
    server_settings = server.database_settings()  # type: ignore[attr-defined] # both kinds have it
    cache = open_cache(f"shared-{request.node.name}", server_settings, BUSY_SECONDS=seconds)
    cache.clear()
    cache.set("page", "old", timeout=None)
    return cache


def seconds_of(operation: Callable[[], object]) -> float:
    began = time.monotonic()
    operation()
    return time.monotonic() - began


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    server.pause()
    try:
        yield
    finally:
        server.resume()


def database_of(cache: Any) -> str:
    return str(cache.alias)


def remember(connection: Any, value: str) -> None:
    """Set a session variable, as the application does with SET."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT set_config('app.tenant', %s, false)", [value])
        else:
            cursor.execute("SET @tenant = %s", [value])


def remembered(connection: Any) -> object:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT current_setting('app.tenant', true)")
        else:
            cursor.execute("SELECT @tenant")
        return cursor.fetchone()[0]


def sqlite_settings(path: Path | str) -> dict[str, Any]:
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path), "OPTIONS": {"timeout": 5}}


@pytest.fixture
def sqlite_path(tmp_path: Path) -> Path:
    return tmp_path / "entries.sqlite3"


@pytest.fixture
def file_cache(
    open_cache: OpenCache, sqlite_path: Path, request: pytest.FixtureRequest
) -> BaseCache:
    """Return a cache on an SQLite file of its own."""
    return open_cache(f"file-{request.node.name}", sqlite_settings(sqlite_path))
