"""Know when a connection's transaction has ended. Used by units; Django sends no signal for it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, cast

from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.compat import call_after_transactions

BEGUN = frozenset({1, 2, 3})  # libpq's numbers: a statement runs, in a transaction, in a failed one


class Transaction:
    """The transactions of one connection, one after the other."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        """Count from now on."""
        self._connection = connection
        self.number = 0
        self._dirty_number = -1
        self._closed_at = float("-inf")  # of time.monotonic(): the last time that none was open
        self._entries: set[str] = set()
        self.is_open()

    def is_open(self) -> bool:
        """Tell whether statements take effect later than at once."""
        connection = self._connection
        is_open = connection.in_atomic_block or (
            # None: not connected yet, and `autocommit` says nothing before
            connection.connection is not None
            and (not connection.autocommit or is_begun_in_sql(connection))
        )
        if not is_open:
            self._closed_at = time.monotonic()
        return is_open

    def sees_as_of(self) -> float:
        """Return a time, by time.monotonic(): what was committed before it is seen by a read now.

        An open transaction may see what was there when it began, which was after the last time
        that none was open.
        """
        self.is_open()
        return self._closed_at

    def note_entries(self, names: Iterable[str]) -> None:
        """Remember entries of a cache that the open transaction has written."""
        self._entries.update(names)

    def has_written_entry(self, name: str) -> bool:
        """Tell whether the open transaction has written an entry."""
        return name in self._entries

    def is_still(self, number: int) -> bool:
        """Tell whether the transaction of a number goes on."""
        return self.number == number and self.is_open()

    @property
    def is_dirty(self) -> bool:
        """Tell whether the open transaction has written to tracked tables."""
        return self._dirty_number == self.number and self.is_open()

    def mark_dirty(self) -> None:
        """Remember that it has."""
        self._dirty_number = self.number

    def end(self) -> None:
        """Begin the next one."""
        self.number += 1
        self._closed_at = time.monotonic()
        self._entries = set()


def transaction_of(connection: BaseDatabaseWrapper) -> Transaction:
    """Return what is known of a connection's transactions; from its first call on it is watched."""
    known: Transaction | None = connection.__dict__.get("_cachelayers_transaction")
    if known is None:
        known = Transaction(connection)
        cast(Any, connection)._cachelayers_transaction = known
        call_after_transactions(connection, known.end)
    return known


def is_begun_in_sql(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether the driver knows of a transaction that Django does not: a BEGIN that was run.

    The driver of MySQL does not tell.
    """
    driver: Any = connection.connection
    if connection.vendor == "sqlite":
        return bool(driver.in_transaction)
    if connection.vendor == "postgresql":
        # psycopg's own object for it takes longer to make; psycopg2 has no other.
        status = getattr(driver, "pgconn", None) or driver.info
        return status.transaction_status in BEGUN
    return False
