"""A wait for a server that is cut short leaves the application's connection as it was."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
from django.core.cache.backends.base import BaseCache
from django.db import connections

from tests.faults.conftest import OpenCache, await_value
from tests.faults.test_bounded_waits import (
    database_of,
    frozen,
    remember,
    remembered,
)
from tests.servers import Server

MOMENT_SECONDS = 0.1  # within which a call begins to wait
LONG_SECONDS = 10.0


class OutOfTime(Exception):
    """What a task queue raises in a task that takes too long."""


@contextmanager
def out_of_time_in_a_moment() -> Iterator[None]:
    """Have a signal raise in this thread, wherever it is then."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise OutOfTime

    usual = signal.signal(signal.SIGUSR1, stop)
    thread = threading.main_thread().ident
    assert thread is not None
    timer = threading.Timer(MOMENT_SECONDS, signal.pthread_kill, (thread, signal.SIGUSR1))
    timer.start()
    try:
        yield
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, usual)


@pytest.fixture
def shared_cache(
    server: Server, open_cache: OpenCache, request: pytest.FixtureRequest, monkeypatch: Any
) -> BaseCache:
    """Return a cache in a database that the application uses too, by the same connection."""
    from cachelayers import answers
    from cachelayers.backends.database import django_session

    for module in (answers, django_session):
        monkeypatch.setattr(module, "is_own_database", lambda alias: False)
    seconds = getattr(request, "param", LONG_SECONDS)
    settings = server.database_settings()  # type: ignore[attr-defined] # both kinds have it
    cache = open_cache(f"cut-{request.node.name}", settings, BUSY_SECONDS=seconds)
    cache.clear()
    cache.set("page", "old", timeout=None)
    return cache


def others_see_what_is_written(connection: Any) -> bool:
    """Tell whether what the application writes now is committed, as it expects."""
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS notes")
        cursor.execute("CREATE TABLE notes AS SELECT 1 AS number")
    other = connection.copy()
    try:
        return "notes" in other.introspection.table_names()
    finally:
        other.close()


@pytest.mark.parametrize("shared_cache", [0.3], indirect=True)
def test_a_write_that_is_not_answered_leaves_no_transaction_open(
    shared_cache: BaseCache, server: Server
) -> None:
    connection = connections[database_of(shared_cache)]
    remember(connection, "seven")

    with frozen(server):
        refused = shared_cache.set_many({"page": "new", "other": "new"})

    assert sorted(refused) == ["other", "page"]
    assert others_see_what_is_written(connection)
    assert remembered(connection) == "seven"
    await_value(lambda: shared_cache.get("page"), None)


@pytest.mark.parametrize("call", ["get", "set", "set_many"])
def test_what_interrupts_a_wait_gets_through_and_the_connection_stays(
    shared_cache: BaseCache, server: Server, call: str
) -> None:
    calls: dict[str, Callable[[], object]] = {
        "get": lambda: shared_cache.get("page"),
        "set": lambda: shared_cache.set("page", "new"),
        "set_many": lambda: shared_cache.set_many({"page": "new", "other": "new"}),
    }
    connection = connections[database_of(shared_cache)]
    remember(connection, "seven")

    with frozen(server), pytest.raises(OutOfTime), out_of_time_in_a_moment():
        calls[call]()

    assert remembered(connection) == "seven"
    assert others_see_what_is_written(connection)
    shared_cache.set("page", "newer")
    assert shared_cache.get("page") == "newer"
