"""Delete what the log need not hold any more. Run by prune_cache, and a little by the way.

No reader can trip over it: a row goes only if a newer one of its tag stays, or if the floor rises
above it in the same transaction; and whoever looks a tag up reads the floor in the same statement.
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
ONE_IN = 500  # units of work that have read the log prune a step


class Pruned(NamedTuple):
    """How many rows have gone."""

    redundant: int = 0
    old: int = 0


def prune(database: str) -> Pruned:
    """Delete all that may go, in short transactions."""
    redundant = old = 0
    while True:
        step = prune_step(connections[database])
        redundant, old = redundant + step.redundant, old + step.old
        if sum(step) == 0:
            return Pruned(redundant, old)


def prune_occasionally(database: str) -> None:
    """Prune a step once in a while; not within a transaction, whose locks would last."""
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
    """Tell whether the settings call a database another one's copy: that is pruned with it."""
    return mirrored_by(connection) is not None


def prune_step(connection: BaseDatabaseWrapper) -> Pruned:
    """Delete some of what may go, in one transaction."""
    settings = package_settings()
    dialect = dialect_of(connection)
    with transaction.atomic(connection.alias):
        if connection.vendor == "sqlite":
            # Its lock first: who reads and then writes is refused if others write meanwhile.
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
    """Return the keys of rows that a newer one of the same tag makes redundant.

    Both below the watermark: a newer one above it may not be seen by whoever reads now.
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
    """Return position and key of rows that are older than any entry may get."""
    statement = (
        f"SELECT {dialect.position}, {columns(dialect)} FROM {LOG} WHERE {dialect.position} < %s"
        f" AND at < {NOW_MS[connection.vendor]} - %s ORDER BY {columns(dialect)}"
        f" LIMIT {ROWS_PER_STEP}"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, [watermark, int(seconds * 1000)])
        return list(cursor.fetchall())


def columns(dialect: Dialect, table: str = "") -> str:
    """Return the names of the columns that no two rows have alike."""
    return ", ".join(f"{table}{column}" for column in dialect.key)


def raise_floor(connection: BaseDatabaseWrapper, floor: int) -> None:
    """Declare entries below a position invalid."""
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {STATE} SET floor = %s WHERE floor < %s", [floor, floor])


def delete_rows(
    connection: BaseDatabaseWrapper, dialect: Dialect, keys: Sequence[Sequence[Any]]
) -> int:
    """Delete rows by their keys, in order: two that prune at once then meet no deadlock."""
    if keys:
        place = f"({', '.join(['%s'] * len(dialect.key))})"
        places = ", ".join([place] * len(keys))
        with connection.cursor() as cursor:
            cursor.execute(
                f"DELETE FROM {LOG} WHERE ({columns(dialect)}) IN ({places})",
                [value for key in sorted(map(tuple, keys)) for value in key],
            )
    return len(keys)
