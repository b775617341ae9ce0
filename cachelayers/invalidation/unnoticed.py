"""Tell whether a transaction has written past Django's cursors: by the driver's own, or by COPY.

Then no wrapper has noticed, and what was read in it is not committed. Asked before an entry is
stored, so at most once for each value that was computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.invalidation.dialects import LOG
from cachelayers.invalidation.driver import rows_of
from cachelayers.invalidation.log import log_of
from cachelayers.invalidation.transactions import transaction_of

# Triggers have logged it, whoever has written.
OWN_ROWS = (
    f"SELECT 1 FROM {LOG} WHERE position = pg_current_xact_id_if_assigned()::text::bigint LIMIT 1"
)


def has_unnoticed_writes(databases: Iterable[str]) -> bool:
    """Tell whether this thread's open transaction in one of the databases has written unnoticed."""
    return any(has_written(connections[database]) for database in databases)


def has_written(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether a connection's open transaction has written, so far as its vendor tells."""
    if not transaction_of(connection).is_open():
        return False
    if connection.vendor == "sqlite":
        return changes_of(connection) != noticed_of(connection) and has_logged(connection)
    if connection.vendor == "postgresql":
        try:
            return bool(rows_of(connection, OWN_ROWS))
        except DatabaseError:
            return True
    return False


def has_logged(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether the log shows rows that no other process can have written.

    What a transaction has written to tables that are not tracked is none of our business, and what
    an INSERT with RETURNING has written is counted only when its rows are fetched. While somebody
    has written, nobody else can on SQLite, so the ids of his rows are above all that was read.
    """
    known = log_of(connection.alias).known
    if known is None:
        return True
    try:
        return bool(
            rows_of(connection, f"SELECT 1 FROM {LOG} WHERE id >= {known.watermark} LIMIT 1")
        )
    except DatabaseError:
        return True


# SQLite counts the rows that a connection has changed, and costs nothing to ask.


def note_begin(connection: BaseDatabaseWrapper) -> None:
    """Begin to count with a transaction."""
    if connection.vendor == "sqlite":
        remember(connection, changes_of(connection))


@contextmanager
def noticed_changes(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Count what the block changes as noticed."""
    if connection.vendor != "sqlite" or not connection.in_atomic_block:
        yield
        return
    before = changes_of(connection)
    try:
        yield
    finally:
        remember(connection, noticed_of(connection) + changes_of(connection) - before)


def changes_of(connection: BaseDatabaseWrapper) -> int:
    """Return how many rows the connection has changed since it was opened."""
    return int(connection.connection.total_changes)


def noticed_of(connection: BaseDatabaseWrapper) -> int:
    """Return how many of them were changed before the transaction, or noticed; or less."""
    number, changes = cast(Any, connection).__dict__.get("_cachelayers_changes", (-1, -1))
    return int(changes) if number == transaction_of(connection).number else -1


def remember(connection: BaseDatabaseWrapper, changes: int) -> None:
    """Remember it for the present transaction."""
    number = transaction_of(connection).number
    cast(Any, connection)._cachelayers_changes = (number, changes)
