"""Run the cache's own statements without the execute wrapper and within a time limit.

The log's readers and writers use this module.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import django.db
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.compat import without_execute_wrapper
from cachelayers.conf import package_settings
from cachelayers.test_runs import apart_from_test
from cachelayers.utils.answers import (
    ROLLBACK,
    Undo,
    answered_within,
    connect_within,
    is_in_transaction,
    outside_event_loop,
    undone_at_failure,
)
from cachelayers.utils.locks import no_fork_within
from cachelayers.utils.time_limits import (
    SLOW_FAILURE_SECONDS,
    Limit,
    Pause,
    limit_alone,
    limit_in_transaction,
    milliseconds,
)


def fetch_rows(
    connection: BaseDatabaseWrapper, statement: str, *, answers_before: int = 0
) -> list[tuple[Any, ...]]:
    """Return the rows of a statement without parameters; skip ``answers_before`` results."""
    connection.validate_no_broken_transaction()
    connection.ensure_connection()
    with connection.wrap_database_errors:
        cursor = connection.connection.cursor()
        try:
            cursor.execute(statement)
            for _ in range(answers_before):
                cursor.nextset()
            return list(cursor.fetchall())
        finally:
            cursor.close()


class LogPaused(django.db.OperationalError):
    """The log was too slow a moment ago, and is skipped now."""


_pauses: dict[str, Pause] = {}


def fetch_in_time(database: str, statement: str, parameters: Sequence[Any]) -> list[Any]:
    """Run a statement on the log of a DATABASES alias, and return its rows."""
    with paused_after_slow_failure(database):
        return outside_event_loop(_run, database, statement, parameters, has_rows=True)


def fetch_without_pause(database: str, statement: str, parameters: Sequence[Any]) -> list[Any]:
    """Run a statement within the same limit, without effect on other readers if it is slow."""
    return outside_event_loop(_run, database, statement, parameters, has_rows=True)


def execute_in_time(database: str, statement: str, parameters: Sequence[Any]) -> None:
    """Run a statement on the log that returns no rows."""
    with paused_after_slow_failure(database):
        outside_event_loop(_run, database, statement, parameters, has_rows=False)


@contextmanager
def paused_after_slow_failure(database: str) -> Iterator[None]:
    """Raise LogPaused instead of waiting again shortly after a slow failure."""
    pause = _pauses.get(database) or _pauses.setdefault(database, Pause())
    if not pause.takes_try():
        raise LogPaused(f"the log in DATABASES[{database!r}] was too slow a moment ago")
    began = time.monotonic()
    try:
        yield
    except django.db.Error:
        if (seconds := time.monotonic() - began) >= SLOW_FAILURE_SECONDS:
            pause.begin(seconds)
        raise
    if pause.until:
        pause.end()


def _run(database: str, statement: str, parameters: Sequence[Any], *, has_rows: bool) -> list[Any]:
    with no_fork_within(connections[database].vendor):
        return _run_in_time(database, statement, parameters, has_rows=has_rows)


def _run_in_time(
    database: str, statement: str, parameters: Sequence[Any], *, has_rows: bool
) -> list[Any]:
    connection, seconds = connections[database], package_settings().LOG_SECONDS
    with ExitStack() as stack:
        stack.enter_context(apart_from_test(connection))
        connect_in_time(connection, seconds)
        limit = limit_for(connection, seconds)
        undo = Undo(limit.undo)
        stack.enter_context(answered_within(connection, seconds, undo))
        stack.enter_context(undone_at_failure(connection, undo))
        stack.enter_context(without_execute_wrapper(connection))
        if connection.vendor == "sqlite":
            stack.enter_context(locked_no_longer_than(connection, seconds))
        cursor = stack.enter_context(connection.cursor())
        cursor.execute(f"{limit.before}{statement}{limit.after}", parameters)
        for _ in range(limit.answers_before):
            cast(Any, cursor).nextset()
        return list(cursor.fetchall()) if has_rows else []


def connect_in_time(connection: BaseDatabaseWrapper, seconds: float) -> None:
    """Connect, if there is no connection yet, within the time limit."""
    if connection.connection is None and not connection.in_atomic_block:
        connect_within(connection, seconds)


def limit_for(connection: BaseDatabaseWrapper, seconds: float) -> Limit:
    """Return the time limit of a statement. In a transaction, it limits the wait for a lock."""
    if is_in_transaction(connection):
        return limit_in_transaction(connection, seconds)
    return limit_alone(connection, seconds, in_bulk=False)


@contextmanager
def locked_no_longer_than(connection: BaseDatabaseWrapper, seconds: float) -> Iterator[None]:
    """Limit SQLite's wait for a lock. The application's own limit may be longer."""
    driver: Any = connection.connection
    [usual] = driver.execute("PRAGMA busy_timeout").fetchone()
    limit = milliseconds(seconds)
    if usual <= limit:
        yield
        return
    driver.execute(f"PRAGMA busy_timeout = {limit}")
    try:
        yield
    finally:
        driver.execute(f"PRAGMA busy_timeout = {usual}")


@contextmanager
def limited_transaction(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Open a transaction whose statements together wait no longer than the limit."""
    seconds = package_settings().LOG_SECONDS
    with ExitStack() as stack:
        stack.enter_context(paused_after_slow_failure(connection.alias))
        connect_in_time(connection, seconds)
        stack.enter_context(answered_within(connection, seconds, ROLLBACK))
        stack.enter_context(transaction.atomic(connection.alias))
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL statement_timeout = {milliseconds(seconds)}")
        yield
