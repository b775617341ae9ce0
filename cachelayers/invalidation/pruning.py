"""Delete the rows that the log does not need any more.

prune_cache runs it, and units of work run single steps of it. Readers are safe: a row is deleted
only if a newer row of its tag stays, or if the floor rises above it in the same transaction. Each
look-up of a tag reads the floor in the same statement.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from django.db import DatabaseError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.conf import package_settings
from cachelayers.invalidation.dialects import LOG, NOW_MS, STATE, Dialect
from cachelayers.invalidation.incarnations import dialect_of, is_in_snapshot, mirrored_by
from cachelayers.invalidation.log import logger
from cachelayers.invalidation.own_statements import limited_transaction

ROWS_PER_STEP = 1_000  # a step is one short transaction
ONE_IN = 500  # one unit of work in so many runs a step after it has read the log


class Pruned(NamedTuple):
    """How many rows were deleted."""

    redundant: int = 0
    old: int = 0


def prune(database: str) -> Pruned:
    """Delete all rows that are not needed, in short transactions."""
    redundant = old = 0
    while True:
        step = prune_step(connections[database])
        redundant, old = redundant + step.redundant, old + step.old
        if sum(step) == 0:
            return Pruned(redundant, old)


def prune_occasionally(database: str) -> None:
    """Run a step once in a while, outside of transactions, which would keep its locks."""
    if random.randrange(ONE_IN):  # noqa: S311 - not a secret
        return
    connection = connections[database]
    if is_replica(connection) or is_in_snapshot(connection):
        return
    try:
        with limited_transaction(connection):
            prune_step(connection)
    except DatabaseError as error:
        logger.warning("The log of DATABASES[%r] was not pruned: %s", database, error)


def is_replica(connection: BaseDatabaseWrapper) -> bool:
    """Return whether the settings call a database a mirror. It is pruned with its primary."""
    return mirrored_by(connection) is not None


def prune_step(connection: BaseDatabaseWrapper) -> Pruned:
    """Delete some rows in one transaction."""
    settings = package_settings()
    dialect = dialect_of(connection)
    with transaction.atomic(connection.alias):
        if connection.vendor == "sqlite":
            # Take the lock first: SQLite refuses a transaction that reads and then writes if others
            # write.
            with connection.cursor() as cursor:
                cursor.execute(dialect.lock)
        watermark = read_watermark(connection, dialect)
        redundant = delete_rows(connection, dialect, find_redundant(connection, dialect, watermark))
        oldest = find_old(connection, dialect, watermark, settings.LONGEST_TIMEOUT)
        if oldest:
            raise_floor(connection, max(position for position, *_ in oldest) + 1)
        return Pruned(redundant, delete_rows(connection, dialect, [key for _, *key in oldest]))


def read_watermark(connection: BaseDatabaseWrapper, dialect: Dialect) -> int:
    """Return the position below which every transaction has ended."""
    with connection.cursor() as cursor:
        cursor.execute(dialect.first_refresh)
        rows = cursor.fetchall()
    return int(rows[0][2]) if rows else 0


def find_redundant(
    connection: BaseDatabaseWrapper, dialect: Dialect, watermark: int
) -> list[Sequence[Any]]:
    """Return the keys of rows that a newer row of the same tag makes redundant.

    Both rows are below the watermark: present readers may not see a newer row above it.
    """
    position = dialect.position
    statement = (
        f"SELECT {columns(dialect, 'l.')} FROM {LOG} l WHERE l.{position} < %s AND EXISTS ("
        f"SELECT 1 FROM {LOG} n WHERE n.tag = l.tag AND n.{position} > l.{position}"
        f" AND n.{position} < %s) ORDER BY {columns(dialect, 'l.')} LIMIT {ROWS_PER_STEP}"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, [watermark, watermark])
        return list(cursor.fetchall())


def find_old(
    connection: BaseDatabaseWrapper, dialect: Dialect, watermark: int, seconds: float
) -> list[Sequence[Any]]:
    """Return the position and key of rows that are older than any entry can be."""
    statement = (
        f"SELECT {dialect.position}, {columns(dialect)} FROM {LOG} WHERE {dialect.position} < %s"
        f" AND at < {NOW_MS[connection.vendor]} - %s ORDER BY {columns(dialect)}"
        f" LIMIT {ROWS_PER_STEP}"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, [watermark, int(seconds * 1000)])
        return list(cursor.fetchall())


def columns(dialect: Dialect, table: str = "") -> str:
    """Return the names of the columns that are unique together."""
    return ", ".join(f"{table}{column}" for column in dialect.key)


def raise_floor(connection: BaseDatabaseWrapper, floor: int) -> None:
    """Make entries below a position invalid."""
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {STATE} SET floor = %s WHERE floor < %s", [floor, floor])


def delete_rows(
    connection: BaseDatabaseWrapper, dialect: Dialect, keys: Sequence[Sequence[Any]]
) -> int:
    """Delete rows by their keys, in order, so that concurrent runs do not deadlock."""
    if keys:
        place = f"({', '.join(['%s'] * len(dialect.key))})"
        places = ", ".join([place] * len(keys))
        with connection.cursor() as cursor:
            cursor.execute(
                f"DELETE FROM {LOG} WHERE ({columns(dialect)}) IN ({places})",
                [value for key in sorted(map(tuple, keys)) for value in key],
            )
    return len(keys)
