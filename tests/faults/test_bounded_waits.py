"""The cache waits once for a server that answers late or never, within the time limit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import django.db
import pytest
from django.core.cache.backends.base import BaseCache
from django.db import connections, transaction

from tests.faults.conftest import (
    BUSY_SECONDS,
    OpenCache,
    Reports,
    database_of,
    frozen,
    remember,
    remembered,
    seconds_of,
)
from tests.servers import Server

LONGEST_WAIT_SECONDS = BUSY_SECONDS + 0.25 + 1.0  # the limit, its grace, and a busy machine


@contextmanager
def locked_table(database: str) -> Iterator[None]:
    """Lock the table against every statement, on another connection."""
    locked, release = threading.Event(), threading.Event()
    statement = {
        "postgresql": "LOCK TABLE cachelayers_entry IN ACCESS EXCLUSIVE MODE",
        "mysql": "LOCK TABLES cachelayers_entry WRITE",
    }[connections[database].vendor]

    def hold() -> None:
        try:
            with transaction.atomic(database), connections[database].cursor() as cursor:
                cursor.execute(statement)
                locked.set()
                release.wait(30)
        finally:
            connections.close_all()

    thread = threading.Thread(target=hold)
    thread.start()
    assert locked.wait(30)
    try:
        yield
    finally:
        release.set()
        thread.join(30)


def test_a_locked_table_is_waited_for_once_and_the_connection_stays(
    shared_cache: BaseCache, reports: Reports
) -> None:
    connection = connections[database_of(shared_cache)]
    remember(connection, "seven")

    with locked_table(connection.alias):
        first = seconds_of(lambda: shared_cache.get("page"))
        others = seconds_of(lambda: [shared_cache.get("page") for _ in range(10)])
        writes = seconds_of(
            lambda: (
                shared_cache.set_many({"page": "new"})
                and [shared_cache.add("page", n) for n in range(10)]
            )
        )

    assert BUSY_SECONDS * 0.9 < first < LONGEST_WAIT_SECONDS
    assert others + writes < LONGEST_WAIT_SECONDS
    assert remembered(connection) == "seven"


def test_a_frozen_server_is_waited_for_once_and_the_connection_stays(
    shared_cache: BaseCache, server: Server
) -> None:
    connection = connections[database_of(shared_cache)]
    remember(connection, "seven")

    with frozen(server):
        first = seconds_of(lambda: shared_cache.get("page"))
        others = seconds_of(
            lambda: (
                shared_cache.set_many({"page": "new"})
                and [shared_cache.add("page", n) for n in range(10)]
            )
        )

    assert BUSY_SECONDS < first < LONGEST_WAIT_SECONDS
    assert others < LONGEST_WAIT_SECONDS
    assert remembered(connection) == "seven"


def test_a_locked_table_does_not_break_the_transaction(shared_cache: BaseCache) -> None:
    connection = connections[database_of(shared_cache)]

    with transaction.atomic(connection.alias):
        remember(connection, "seven")
        with locked_table(connection.alias):
            shared_cache.set("page", "new")
        found = remembered(connection)

    assert found == "seven"


def test_a_frozen_server_does_not_break_the_transaction(
    shared_cache: BaseCache, server: Server
) -> None:
    connection = connections[database_of(shared_cache)]

    with transaction.atomic(connection.alias):
        remember(connection, "seven")
        with frozen(server):
            took = seconds_of(lambda: shared_cache.get("page"))
        found = remembered(connection)

    assert BUSY_SECONDS < took < LONGEST_WAIT_SECONDS
    assert found == "seven"


def test_a_frozen_server_cannot_hold_up_a_process_that_connects(
    server: Server, open_cache: OpenCache, request: pytest.FixtureRequest
) -> None:
    settings = server.database_settings()  # type: ignore[attr-defined] # both kinds have it
    settings["OPTIONS"] = {}
    cache: Any = open_cache(f"new-{request.node.name}", settings)
    connections[cache.alias].close()

    with frozen(server):
        took = seconds_of(lambda: cache.get("page"))

    assert took < 2 + 1  # psycopg's shortest limit is two seconds


def end_connection(connection: Any, through: Any) -> None:
    """Let the server close a connection, as after a restart."""
    own_id, end = {
        "postgresql": ("SELECT pg_backend_pid()", "SELECT pg_terminate_backend(%s, 5000)"),
        "mysql": ("SELECT CONNECTION_ID()", "KILL %s"),
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(own_id)
        [number] = cursor.fetchone()
    with through.cursor() as cursor:
        cursor.execute(end, [number])


def test_a_connection_closed_by_the_server_is_an_error_for_the_application_only(
    shared_cache: BaseCache, reports: Reports
) -> None:
    connection = connections[database_of(shared_cache)]
    shared_cache.get("page")
    driver = connection.connection
    operator = connection.copy()
    end_connection(connection, operator)
    operator.close()

    found = [shared_cache.get("page"), shared_cache.get("page")]
    shared_cache.set("page", "new")
    shared_cache.set_many({"a": 1, "b": 2})
    written = shared_cache.get_many(["page", "a", "b"])

    assert connection.connection is driver
    assert found == ["old", "old"]
    assert written.get("page") == "new"
    with pytest.raises(Exception, match=r"closed|gone|terminat|Lost|lost"):
        remembered(connection)


def test_a_connection_closed_in_a_transaction_raises_nothing_in_the_cache(
    shared_cache: BaseCache,
) -> None:
    connection = connections[database_of(shared_cache)]
    operator = connection.copy()
    operator.connect()
    answers: list[object] = []

    def visit() -> None:
        with transaction.atomic(connection.alias):
            remember(connection, "seven")
            end_connection(connection, operator)
            answers.extend([shared_cache.get("page"), shared_cache.add("new", 1)])
            shared_cache.set("page", "new")
            remembered(connection)

    with pytest.raises(django.db.Error):  # the application's own statement
        visit()

    operator.close()
    assert answers == [None, False]


def test_a_sync_call_from_an_event_loop_works(shared_cache: BaseCache) -> None:
    connections[database_of(shared_cache)].close()

    async def visit() -> object:
        shared_cache.set("page", "from a loop")
        return shared_cache.get("page")

    assert asyncio.run(visit()) == "from a loop"
