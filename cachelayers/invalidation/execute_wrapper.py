"""The execute wrapper: it sees each statement that Django runs.

It adds the tags of a read to the running captures and to the unit of work, and it logs the tags of
a write that no trigger logs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType
from typing import Any, cast

from django.db import DatabaseError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from cachelayers.compat import add_execute_wrapper
from cachelayers.invalidation.dependencies import Capture, capture_here, listening_captures
from cachelayers.invalidation.dialects import LOG
from cachelayers.invalidation.log import log_of, write_tags
from cachelayers.invalidation.own_statements import fetch_rows
from cachelayers.invalidation.reports import note_untracked, warn_of_plain_get_once, warn_once
from cachelayers.invalidation.sql.analysis import Analysis, Effect, database_of
from cachelayers.invalidation.sql.tokens import Source
from cachelayers.invalidation.tags import table_tag
from cachelayers.invalidation.transactions import own_writes, transaction_of
from cachelayers.invalidation.triggers import follow_schema, room_for_change
from cachelayers.invalidation.units import active_unit, is_written_to, running_units
from cachelayers.utils.captures import is_own_read
from cachelayers.utils.counters import counts
from cachelayers.utils.endings import endings
from cachelayers.utils.execute_wrappers import mark_as_own
from cachelayers.utils.tracing import read_hook

# Triggers log the rows, whichever way they were written.
OWN_ROWS = (
    f"SELECT 1 FROM {LOG} WHERE position = pg_current_xact_id_if_assigned()::text::bigint LIMIT 1"
)


def has_unrecorded_writes(databases: Iterable[str]) -> bool:
    """Return whether an open transaction has written past the execute wrapper."""
    return any(has_written(connections[database]) for database in databases)


def has_written(connection: BaseDatabaseWrapper) -> bool:
    """Return whether a connection's open transaction has written, as far as the vendor tells."""
    transaction = transaction_of(connection)
    if not transaction.is_open():
        return False
    if transaction.is_of_test:
        return log_of(connection.alias).peek() != []
    if connection.vendor == "sqlite":
        return changes_of(connection) != recorded_of(connection) and has_logged(connection)
    if connection.vendor == "postgresql":
        try:
            return bool(fetch_rows(connection, OWN_ROWS))
        except DatabaseError:
            return True
    return False


def has_logged(connection: BaseDatabaseWrapper) -> bool:
    """Return whether the log has rows that only this transaction can have written.

    Writes to untracked tables do not matter, and SQLite counts the row of an INSERT with RETURNING
    only when it is fetched. SQLite has one writer at a time, so the ids of its rows in the log are
    above everything that was read before.
    """
    known = log_of(connection.alias).known
    if known is None:
        return True
    try:
        return bool(
            fetch_rows(connection, f"SELECT 1 FROM {LOG} WHERE id >= {known.watermark} LIMIT 1")
        )
    except DatabaseError:
        return True


# SQLite counts the rows that a connection has changed. Reading that number costs nothing.


def note_begin(connection: BaseDatabaseWrapper) -> None:
    """Remember the number of changes at the start of a transaction."""
    if connection.vendor == "sqlite":
        record_changes(connection, changes_of(connection))


def counts_changes(connection: BaseDatabaseWrapper) -> bool:
    """Return whether the changes of a statement have to be counted."""
    return connection.vendor == "sqlite" and connection.in_atomic_block


@contextmanager
def logged_changes(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Count the changes of the block as recorded."""
    if not counts_changes(connection):
        yield
        return
    before = changes_of(connection)
    try:
        yield
    finally:
        record_changes(connection, recorded_of(connection) + changes_of(connection) - before)


def changes_of(connection: BaseDatabaseWrapper) -> int:
    """Return how many rows the connection has changed since it was opened."""
    return int(connection.connection.total_changes)


def recorded_of(connection: BaseDatabaseWrapper) -> int:
    """Return how many of these changes precede the transaction or were recorded in it."""
    number, changes = connection.__dict__.get("_cachelayers_changes", (-1, -1))
    return int(changes) if number == transaction_of(connection).number else -1


def record_changes(connection: BaseDatabaseWrapper, changes: int) -> None:
    """Set the number of recorded changes of the present transaction."""
    number = transaction_of(connection).number
    cast(Any, connection)._cachelayers_changes = (number, changes)


# Modules whose cache reads need no tracking: our own, and sessions, which belong to one visitor.
UNDERSTOOD = ("cachelayers.", "django.contrib.sessions.")


def receive_plain_get(cache: str) -> None:
    """Mark what is computed here as untracked, because it uses a cached value of unknown origin.

    ``cache``: the alias.
    """
    if is_own_read() or caller_of_backend(sys._getframe(3)).startswith(UNDERSTOOD):
        return
    captures = listening_captures()
    for capture in captures:
        capture.is_untracked = True
    if captures:
        counts.add(cache, "untracked_reads")
        warn_of_plain_get_once(cache)


def caller_of_backend(frame: FrameType | None) -> str:
    """Return the name of the module that has called a cache method."""
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        # The methods call one another, and Django's async ones call them in a thread.
        if not module.startswith(("django.core.cache.", "cachelayers.backends.", "asgiref.")):
            return module
        frame = frame.f_back
    return ""


Execute = Callable[[Any, Any, bool, dict[str, Any]], Any]


def wrap_execute(
    execute: Execute, sql: Any, params: Any, many: bool, context: dict[str, Any]
) -> Any:
    """Run a statement, and track its reads and writes. Installed as a Django execute wrapper."""
    connection: BaseDatabaseWrapper = context["connection"]
    text = text_of(sql, connection)
    analysis = database_of(connection).analysis(connection, text)
    if analysis.effect is Effect.NONE:
        return execute(sql, params, many, context)
    if analysis.is_own_write:
        execute = followed_by_note(execute, analysis)
    if analysis.effect is Effect.READ:
        note_read(connection, analysis, text, params)
        if (hook := read_hook()) is None:
            return execute(sql, params, many, context)
        tables = [(connection.alias, table.name) for table in analysis.tables]
        with hook.reading(text, params, tables, is_untracked=analysis.is_untracked):
            return execute(sql, params, many, context)
    if analysis.effect is Effect.BEGIN:
        note_begin(connection)
        return execute(sql, params, many, context)
    if analysis.reads:
        note_read(connection, analysis, text, None if many else params)
    return perform_write(
        connection, analysis, params, many, lambda: execute(sql, params, many, context)
    )


def followed_by_note(execute: Execute, analysis: Analysis) -> Execute:
    """Return ``execute`` for a write: when it has been done, the process's knowledge is older."""

    def perform(sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        transaction = transaction_of(context["connection"])
        try:
            return execute(sql, params, many, context)
        finally:
            transaction.note_own_write()
            # SQLite commits a statement that returns rows when these have been fetched.
            if analysis.returns_rows and context["connection"].vendor == "sqlite":
                own_writes.begin(transaction)

    return perform


# The statements of the cache and of the log go past it.
mark_as_own(wrap_execute, own_changes=logged_changes)


def text_of(sql: Any, connection: BaseDatabaseWrapper) -> str:
    """Return a statement's text. psycopg also has objects for statements."""
    if isinstance(sql, str):
        return sql
    if isinstance(sql, bytes):
        return sql.decode(errors="replace")
    return str(sql.as_string(connection.connection) if hasattr(sql, "as_string") else sql)


def note_read(connection: BaseDatabaseWrapper, analysis: Analysis, text: str, params: Any) -> None:
    """Before a read: fix the unit's position, or add the tags to the captures."""
    if analysis.effect is Effect.READ and analysis.is_own_write:
        note_write(connection)
    if (capture := capture_here()) is not None:
        note_read_of_captures([capture], connection, analysis, text, params)
        return
    if analysis.gives_rows and (analysis.tables or analysis.doubt):
        unit = active_unit()
        for one in running_units() if unit is None else [unit]:
            one.has_read_unknown |= bool(analysis.doubt)
            if analysis.tables:
                one.note_read(connection, analysis.read_tags(params))
    if captures := listening_captures():
        note_read_of_captures(captures, connection, analysis, text, params)


def note_read_of_captures(
    captures: list[Capture],
    connection: BaseDatabaseWrapper,
    analysis: Analysis,
    text: str,
    params: Any,
) -> None:
    """Add the tags of a read to captures, or mark these as not storable."""
    tags = analysis.read_tags(params)
    if endings.wanted:
        endings.note_read(connection.alias, tags, analysis.why_whole)
    is_unstorable = bool(analysis.doubt) or (bool(tags) and is_written_to(connection))
    for capture in captures:
        capture.is_unstorable |= is_unstorable
        capture.is_untracked |= analysis.is_untracked
        capture.asks_clock |= analysis.asks_clock
        if analysis.is_logged and (tags or analysis.untracked_tables):
            untracked = [table_tag(name) for name in analysis.untracked_tables]
            capture.note_tags(connection.alias, [*tags, *untracked])
    if analysis.is_untracked or analysis.doubt or analysis.asks_clock:
        counts.add(connection.alias, "untracked_reads")
    if not analysis.doubt and any(capture.collects for capture in captures):
        for table in analysis.untracked_tables:
            note_untracked(connection.alias, table)
    if analysis.doubt:
        warn_once(connection, text, f"is not stored: {analysis.doubt}")
    elif analysis.asks_clock:
        warn_once(connection, text, f"is stored only until its timeout: it {Source.CLOCK.value}")


def note_write(connection: BaseDatabaseWrapper) -> None:
    """Remember that this thread's transaction, and its unit of work, have written."""
    transaction = transaction_of(connection)
    is_open = transaction.is_open()
    if is_open:
        transaction.mark_dirty()
    unit = active_unit()
    if unit is not None:
        unit.note_write(connection)
    if is_open:
        for capture in listening_captures():
            capture.is_unstorable = True


def perform_write(
    connection: BaseDatabaseWrapper,
    analysis: Analysis,
    params: Any,
    many: bool,
    execute: Callable[[], Any],
) -> Any:
    """Run a write, and log in the same transaction the tags that no trigger logs."""
    if analysis.is_own_write:
        note_write(connection)
    tags: list[str] = []
    if analysis.unlogged or analysis.is_logged_change:
        # executemany() also takes an iterator, which can be read only once.
        tags = analysis.write_tags(params if not many else list_of(params), many=many)
    if analysis.effect is Effect.SCHEMA:
        return change_schema(connection, analysis, tags, execute)
    if not tags and not counts_changes(connection):
        return execute()
    with logged_changes(connection):
        if not tags:
            return execute()
        with one_transaction(connection, analysis):
            write_tags(connection, tags)
            return execute()


def change_schema(
    connection: BaseDatabaseWrapper,
    analysis: Analysis,
    tags: list[str],
    execute: Callable[[], Any],
) -> Any:
    """Run a change of the schema, log it, and adapt the triggers.

    This does not begin a transaction: MySQL commits schema changes at once, and SQLite's schema
    editor is in a transaction already. Without a transaction the log's rows become visible before
    the change, so they are written once more after it.
    """
    is_one = transaction_of(connection).is_open() and connection.features.can_rollback_ddl
    if LOG in analysis.changed_names:
        tags = []  # the log itself is being changed
    followed = analysis.changed_names if analysis.is_followed else frozenset()
    with room_for_change(connection, followed):
        try:
            write_tags(connection, tags)
            result = execute()
        finally:
            database_of(connection).note_change(analysis.renewed_names)
        if followed:
            follow_schema(connection, followed)
    if not is_one:
        write_tags(connection, tags)
    return result


def list_of(params: Any) -> Any:
    """Return parameter sets that can be read twice. An iterator is left alone."""
    return params if isinstance(params, (list, tuple)) else [None]


def one_transaction(
    connection: BaseDatabaseWrapper, analysis: Analysis
) -> AbstractContextManager[None]:
    """Put a write and its log rows into one transaction, if the caller has none.

    Not on SQLite if the statement returns rows: a commit would discard the rows that are still to
    be fetched. There, triggers log in the same statement.
    """
    if transaction_of(connection).is_open():
        return nullcontext()
    if connection.vendor == "sqlite" and analysis.returns_rows:
        return nullcontext()
    return transaction.atomic(connection.alias)


def wrap_connection(sender: Any, connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    """Receive connection_created, also for the connection that creates test databases."""
    if connection.alias not in connections.settings:
        return
    transaction_of(connection)  # from now on the transaction is followed
    add_execute_wrapper(connection, wrap_execute)


def wrap_all_connections() -> None:
    """Install the execute wrapper on all present and future connections."""
    connection_created.connect(wrap_connection, dispatch_uid="cachelayers.wrap_connection")
    for connection in connections.all(initialized_only=True):
        wrap_connection(None, connection)
