"""Keep the log's state: one row that names the log's incarnation and where it was begun.

The state names the server and the database in which the log began. After a dump, a copied file, a
fixture or replication, the state may belong to another log, or a second one may stand beside ours.
Its positions mean nothing here, so a new incarnation begins. `log`, the triggers after `migrate`
and clear_cache call this module.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any
from uuid import uuid4

from django.db import OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.conf import package_settings
from cachelayers.invalidation.dialects import STATE, Dialect, dialect_for
from cachelayers.invalidation.own_statements import fetch_in_time
from cachelayers.invalidation.transactions import transaction_of

SAFE_IN_JSON = 2**53  # ids above lose digits in JavaScript


class LogUnreadable(OperationalError):
    """The log cannot be read here: no entry can be checked, and nothing is stored."""


_knows_server: dict[tuple[str, ...], bool] = {}  # by server, database and user


def dialect_of(connection: BaseDatabaseWrapper) -> Dialect:
    """Return the dialect of a connection's log."""
    late_commit_seconds = package_settings().LATE_COMMIT_SECONDS
    if connection.vendor != "postgresql":
        return dialect_for(connection.vendor, late_commit_seconds)
    whole = dialect_for(connection.vendor, late_commit_seconds)
    where = tuple(str(connection.settings_dict[name]) for name in ("HOST", "PORT", "NAME", "USER"))
    known = _knows_server.get(where)
    if known is None and hasattr(whole, "may_ask_server"):
        known = _knows_server[where] = bool(
            fetch_in_time(connection.alias, whole.may_ask_server, [])[0][0]
        )
    if known is False:
        return dialect_for(connection.vendor, late_commit_seconds, knows_server=False)
    return whole


def is_in_snapshot(connection: BaseDatabaseWrapper) -> bool:
    """Return whether statements may see an older state than the present one."""
    return transaction_of(connection).is_open()


def mirrored_by(connection: BaseDatabaseWrapper) -> str | None:
    """Return the alias of the database that this one replicates, as far as the settings tell."""
    mirror: str | None = connection.settings_dict["TEST"]["MIRROR"]
    return mirror


def origin_of(connection: BaseDatabaseWrapper, origin: str) -> str:
    """Return the origin of a log that begins here. ``origin``: as far as SQL tells."""
    if connection.vendor != "sqlite":
        return origin
    # A file that replaces another one has another inode number.
    with suppress(OSError):
        return f"sqlite:{os.stat(connection.settings_dict['NAME']).st_ino}"  # noqa: PTH116
    return "sqlite:"


def ensure_state(connection: BaseDatabaseWrapper) -> None:
    """Give the log a state of its own. `flush` empties the table of the state too."""
    replace_state(connection.alias, "")


def begin_anew(connection: BaseDatabaseWrapper) -> None:
    """Give the log a new incarnation, which makes every entry invalid."""
    replace_state(connection.alias, None)


def replace_state(database: str, was: str | None) -> None:
    """Begin a new incarnation after ``was``, unless another process has. None: in any case.

    The floor is 0: an older floor would lift the watermark above ids that are still to come.
    """
    connection = connections[database]
    if connection.vendor != "sqlite" and is_in_snapshot(connection):
        # The caller's transaction may be rolled back, and may not see what other processes have
        # begun.
        with ThreadPoolExecutor(1, "cachelayers-log") as thread:
            thread.submit(replace_in_thread, database, was).result()
        return
    dialect = dialect_of(connection)
    with transaction.atomic(database), locked(connection, dialect) as cursor:
        if was is None or not is_settled(connection, cursor, dialect, was):
            cursor.execute(f"DELETE FROM {STATE}")
            if dialect.forget_rows:
                cursor.execute(dialect.forget_rows)
            cursor.execute(f"SELECT {dialect.new_origin}")
            origin = origin_of(connection, cursor.fetchall()[0][0])
            # A random id: the state in a dump of another log neither replaces this one nor
            # conflicts with it.
            number = random.randrange(2, SAFE_IN_JSON)  # noqa: S311 - not a secret
            cursor.execute(dialect.new_state, [number, uuid4().hex, origin])
            transaction_of(connection).note_own_write()


def replace_in_thread(database: str, was: str | None) -> None:
    """Call replace_state() in a thread, which has its own connection."""
    try:
        replace_state(database, was)
    finally:
        connections[database].close()


@contextmanager
def locked(connection: BaseDatabaseWrapper, dialect: Dialect) -> Iterator[Any]:
    """Keep others from replacing the state. Yields a cursor."""
    with connection.cursor() as cursor:
        cursor.execute(dialect.lock)
        try:
            yield cursor
        finally:
            if dialect.unlock:
                cursor.execute(dialect.unlock)


def is_settled(connection: BaseDatabaseWrapper, cursor: Any, dialect: Dialect, was: str) -> bool:
    """Return whether there is exactly one state, begun here, and not that of ``was``."""
    cursor.execute(f"SELECT s.incarnation, s.origin, {dialect.current_origin} FROM {STATE} s")
    states = cursor.fetchall()
    if len(states) != 1:
        return False
    [(incarnation, origin, current)] = states
    return bool(incarnation != was and origin == origin_of(connection, current))
