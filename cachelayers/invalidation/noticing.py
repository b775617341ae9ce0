"""Notice every statement that goes through Django: fix positions, collect tags, log writes.

Installed in front of all wrappers of every connection as it is made.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from cachelayers.invalidation.capture import Capture, capture_here, listening_captures
from cachelayers.invalidation.dialects import LOG
from cachelayers.invalidation.footprints import Effect, Footprint, database_of
from cachelayers.invalidation.functions import Source
from cachelayers.invalidation.log import write_tags
from cachelayers.invalidation.reports import warn_once
from cachelayers.invalidation.tags import table_tag
from cachelayers.invalidation.transactions import transaction_of
from cachelayers.invalidation.triggers import follow_schema
from cachelayers.invalidation.units import is_written_to, living_unit, running_units
from cachelayers.invalidation.unnoticed import counts_changes, note_begin, noticed_changes
from cachelayers.samples import UNTRACKED, Work, current_work, note_query
from cachelayers.stats import counts

Execute = Callable[[Any, Any, bool, dict[str, Any]], Any]


def notice(execute: Execute, sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    """Run a statement, and see to what it means for the cache. A Django execute wrapper."""
    connection: BaseDatabaseWrapper = context["connection"]
    text = text_of(sql, connection)
    footprint = database_of(connection).footprint(connection, text)
    if footprint.effect is Effect.NONE:
        return execute(sql, params, many, context)
    if footprint.effect is Effect.READ:
        note_read(connection, footprint, text, params)
        if (work := current_work()) is not None:
            return time_read(
                work,
                connection,
                footprint,
                text,
                params,
                lambda: execute(sql, params, many, context),
            )
        return execute(sql, params, many, context)
    if footprint.effect is Effect.BEGIN:
        note_begin(connection)
        return execute(sql, params, many, context)
    if footprint.reads:
        note_read(connection, footprint, text, None if many else params)
    return perform_write(
        connection, footprint, params, many, lambda: execute(sql, params, many, context)
    )


# Our own statements on the log go past it.
notice.is_cachelayers_notice = True  # type: ignore[attr-defined]


def time_read(
    work: Work,
    connection: BaseDatabaseWrapper,
    footprint: Footprint,
    text: str,
    params: Any,
    execute: Callable[[], Any],
) -> Any:
    """Run a read of a request that is watched, and time it."""
    at, began = time.time(), time.perf_counter()
    try:
        return execute()
    finally:
        tables = {(connection.alias, table.name) for table in footprint.tables}
        if footprint.is_untracked:
            tables.add(UNTRACKED)
        note_query(work, text, params, tables, at, time.perf_counter() - began)


def text_of(sql: Any, connection: BaseDatabaseWrapper) -> str:
    """Return a statement's text; psycopg has objects for statements too."""
    if isinstance(sql, str):
        return sql
    if isinstance(sql, bytes):
        return sql.decode(errors="replace")
    return str(sql.as_string(connection.connection) if hasattr(sql, "as_string") else sql)


def note_read(
    connection: BaseDatabaseWrapper, footprint: Footprint, text: str, params: Any
) -> None:
    """Before a read: fix the unit's position, or add to what the captures depend on."""
    if footprint.effect is Effect.READ and footprint.is_own_write:
        note_write(connection)
    if (capture := capture_here()) is not None:
        note_read_of_captures([capture], connection, footprint, text, params)
        return
    if footprint.gives_rows and (footprint.tables or footprint.doubt):
        unit = living_unit()
        for one in running_units() if unit is None else [unit]:
            one.has_seen_unknown |= bool(footprint.doubt)
            if footprint.tables:
                one.note_read(connection, footprint.read_tags(params))
    if captures := listening_captures():
        note_read_of_captures(captures, connection, footprint, text, params)


def note_read_of_captures(
    captures: list[Capture],
    connection: BaseDatabaseWrapper,
    footprint: Footprint,
    text: str,
    params: Any,
) -> None:
    """Before a read within recalls: what they make depends on it, or cannot be kept."""
    tags = footprint.read_tags(params)
    is_unstorable = bool(footprint.doubt) or (bool(tags) and is_written_to(connection))
    for capture in captures:
        capture.is_unstorable |= is_unstorable
        capture.is_untracked |= footprint.is_untracked
        capture.asks_clock |= footprint.asks_clock
        if footprint.is_logged and (tags or footprint.untracked_tables):
            untracked = [table_tag(name) for name in footprint.untracked_tables]
            capture.note_tags(connection.alias, [*tags, *untracked])
    if footprint.is_untracked or footprint.doubt or footprint.asks_clock:
        counts.add(connection.alias, "untracked_reads")
    if footprint.doubt:
        warn_once(connection, text, f"is not kept: {footprint.doubt}")
    elif footprint.asks_clock:
        warn_once(connection, text, f"is kept for its timeout only: it {Source.CLOCK.value}")


def note_write(connection: BaseDatabaseWrapper) -> None:
    """Remember that this thread's transaction, and its unit of work, have written."""
    transaction = transaction_of(connection)
    is_open = transaction.is_open()
    if is_open:
        transaction.mark_dirty()
    unit = living_unit()
    if unit is not None:
        unit.note_write(connection)
    if is_open:
        for capture in listening_captures():
            capture.is_unstorable = True


def perform_write(
    connection: BaseDatabaseWrapper,
    footprint: Footprint,
    params: Any,
    many: bool,
    execute: Callable[[], Any],
) -> Any:
    """Run a write, and log what no trigger logs, in the same transaction."""
    if footprint.is_own_write:
        note_write(connection)
    tags: list[str] = []
    if footprint.unlogged or footprint.is_logged_change:
        # executemany() may be given an iterator, which can be read once only.
        tags = footprint.write_tags(params if not many else list_of(params), many=many)
    if footprint.effect is Effect.SCHEMA:
        return change_schema(connection, footprint, tags, execute)
    if not tags and not counts_changes(connection):
        return execute()
    with noticed_changes(connection):
        if not tags:
            return execute()
        with one_transaction(connection, footprint):
            write_tags(connection, tags)
            return execute()


def change_schema(
    connection: BaseDatabaseWrapper,
    footprint: Footprint,
    tags: list[str],
    execute: Callable[[], Any],
) -> Any:
    """Run a change of the schema, with its rows in the log and triggers that fit it.

    Not in one transaction that is begun here: MySQL commits a change at once, SQLite's editor is
    in one already. Where it is in none, its rows in the log are there before it is: once more.
    """
    is_one = transaction_of(connection).is_open() and connection.features.can_rollback_ddl
    if LOG in footprint.changed_names:
        tags = []  # nothing can be logged in a log that is only half made
    try:
        write_tags(connection, tags)
        result = execute()
    finally:
        database_of(connection).note_change(footprint.renewed_names)
    if footprint.is_followed:
        follow_schema(connection, footprint.changed_names)
    if not is_one:
        write_tags(connection, tags)
    return result


def list_of(params: Any) -> Any:
    """Return parameter sets that can be read twice; an iterator is not looked at."""
    return params if isinstance(params, (list, tuple)) else [None]


def one_transaction(
    connection: BaseDatabaseWrapper, footprint: Footprint
) -> AbstractContextManager[None]:
    """Make a write and its rows in the log one, where the caller has no transaction.

    Not for a write on SQLite whose rows are still to be fetched: a commit would take them away.
    There, triggers log in the same statement.
    """
    if transaction_of(connection).is_open():
        return nullcontext()
    if connection.vendor == "sqlite" and footprint.returns_rows:
        return nullcontext()
    return transaction.atomic(connection.alias)


def watch_connection(sender: Any, connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    """Receive connection_created, also from the nameless connection that makes databases."""
    if connection.alias not in connections.settings:
        return
    transaction_of(connection)  # from now on it is known when a transaction may have begun
    if notice not in connection.execute_wrappers:
        # First: `with connection.execute_wrapper(...)` takes the last one away at its end.
        connection.execute_wrappers.insert(0, notice)


def watch_all_connections() -> None:
    """Notice what happens on connections that are made from now on, and on those there are."""
    connection_created.connect(watch_connection, dispatch_uid="cachelayers.watch_connection")
    for connection in connections.all(initialized_only=True):
        watch_connection(None, connection)
