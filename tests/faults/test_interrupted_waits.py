"""An interrupted wait for a server leaves the application's connection as it was."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

import django.db
import pytest
from django.core.cache.backends.base import BaseCache
from django.db import connections, transaction

from tests.faults.conftest import await_value, database_of, frozen, remember, remembered
from tests.servers import Server

MOMENT_SECONDS = 0.1  # within which a call begins to wait
waits_long = pytest.mark.parametrize("shared_cache", [10.0], indirect=True)


class OutOfTime(Exception):
    """Raised by a task queue in a task that takes too long."""


@contextmanager
def out_of_time_in_a_moment() -> Iterator[None]:
    """Let a signal raise in this thread, wherever it is then."""

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


def others_see_what_is_written(connection: Any) -> bool:
    """Return whether the application's next write is committed, as it expects."""
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS notes")
        cursor.execute("CREATE TABLE notes AS SELECT 1 AS number")
    other = connection.copy()
    try:
        return "notes" in other.introspection.table_names()
    finally:
        other.close()


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


@waits_long
@pytest.mark.parametrize("call", ["get", "set", "set_many"])
def test_an_interrupt_of_a_wait_is_raised_and_the_connection_stays(
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


def nothing_is_left_within(connection: Any) -> bool:
    """Return whether the caller's transaction has its own lock limit, and no savepoint of ours.

    To be called last: looking for a savepoint ends the transaction's work.
    """
    if connection.vendor != "postgresql":
        return not connection.needs_rollback
    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        [limit] = cursor.fetchone()
        with pytest.raises(django.db.Error, match="savepoint"):
            cursor.execute("RELEASE SAVEPOINT cachelayers")
    transaction.set_rollback(True, using=connection.alias)
    return bool(limit == "0")


@pytest.mark.parametrize("is_watched", [False, True])
def test_a_write_that_is_not_answered_leaves_nothing_in_the_callers_transaction(
    shared_cache: BaseCache, server: Server, is_watched: bool
) -> None:
    connection = connections[database_of(shared_cache)]

    with ExitStack() as stack, transaction.atomic(connection.alias):
        if is_watched:
            stack.enter_context(connection.execute_wrapper(lambda run, *all_: run(*all_)))
        remember(connection, "seven")
        with frozen(server):
            refused = shared_cache.set_many({"page": "new", "other": "new"})
        assert sorted(refused) == ["other", "page"]
        assert remembered(connection) == "seven"
        assert nothing_is_left_within(connection)


@waits_long
@pytest.mark.parametrize("where", ["in a wait", "between messages"])
def test_an_interrupted_write_leaves_nothing_in_the_callers_transaction(
    shared_cache: BaseCache, server: Server, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cachelayers.backends.database import django_session

    connection = connections[database_of(shared_cache)]

    def stop(cursor: Any, vendor: str) -> None:
        raise OutOfTime

    with transaction.atomic(connection.alias):
        remember(connection, "seven")
        with ExitStack() as stack:
            if where == "in a wait":
                stack.enter_context(frozen(server))
                stack.enter_context(out_of_time_in_a_moment())
            else:
                reader = "no_answer" if connection.vendor == "postgresql" else "read_outcome"
                monkeypatch.setattr(django_session, reader, stop)
            with pytest.raises(OutOfTime):
                shared_cache.set_many({"page": "new", "other": "new"})
        assert remembered(connection) == "seven"
        assert nothing_is_left_within(connection)
