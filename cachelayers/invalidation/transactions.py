"""Follow a connection's transactions and note when they end; Django sends no signal for that.

Units of work and the execute wrapper use it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, NamedTuple, cast
from weakref import WeakSet

from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.compat import call_after_transactions

BEGUN = frozenset({1, 2, 3})  # libpq's states: active, in a transaction, in a failed one


class TransactionOfTest(NamedTuple):
    """The open transaction of a test, which counts as committed up to a depth of atomic blocks."""

    connection: BaseDatabaseWrapper
    number: int
    depth: int

    def inner_block(self) -> object:
        """Return what identifies the outermost atomic block within it; None: there is none."""
        blocks = self.connection.savepoint_ids
        return (blocks[self.depth] or WITHOUT_SAVEPOINT) if len(blocks) > self.depth else None


WITHOUT_SAVEPOINT = object()
# By database, within a block of cachelayers.testing. Almost always empty, which is cheap to check.
test_transactions: dict[str, TransactionOfTest] = {}


class OwnWrites:
    """When this process has last written what the logs show, on any connection.

    A log that was read before does not show it. It is not kept by database: several aliases may
    lead to the same one.
    """

    def __init__(self) -> None:
        self._at = float("-inf")  # by time.monotonic()
        # Those whose write may still have to be committed. The end of one that was begun in SQL is
        # not noticed: then that lasts until the connection reads the log, or has another one.
        self._open: WeakSet[Transaction] = WeakSet()

    def note(self) -> None:
        """Note that a write has been committed."""
        self._at = max(self._at, time.monotonic())

    def begin(self, transaction: Transaction) -> None:
        """Note a write that is not committed yet."""
        self._open.add(transaction)

    def end(self, transaction: Transaction) -> None:
        """Note that a connection's transaction has ended."""
        if transaction in self._open:
            self.note()  # first: other threads look meanwhile
            self._open.discard(transaction)

    def precede(self, at: float) -> bool:
        """Return whether all of them were committed before a time."""
        return at > self._at and not self._open


own_writes = OwnWrites()


class Transaction:
    """The transactions of one connection, one after the other."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        self.number = 0
        self._dirty_number = -1
        self._dirty_block: object = None  # in a test: the atomic block that has written
        self._closed_at = float("-inf")  # by time.monotonic(): when none was open last
        self._entries: set[str] = set()
        self.is_open()

    def is_open(self) -> bool:
        """Return whether statements now are part of a transaction."""
        connection = self._connection
        is_open = connection.in_atomic_block or (
            # before it is connected, `autocommit` means nothing
            connection.connection is not None
            and (not connection.autocommit or is_begun_in_sql(connection))
        )
        if not is_open:
            self._closed_at = time.monotonic()
        return is_open

    def sees_as_of(self) -> float:
        """Return a time, by time.monotonic(): a read now sees all commits before it.

        An open transaction may see the state of its beginning, which is after the last time that
        none was open.
        """
        self.is_open()
        return self._closed_at

    def note_entries(self, names: Iterable[str]) -> None:
        """Remember cache entries that the open transaction has written."""
        self._entries.update(names)

    def has_written_entry(self, name: str) -> bool:
        """Return whether the open transaction has written an entry."""
        return name in self._entries

    def is_still(self, number: int) -> bool:
        """Return whether the transaction with this number is still open."""
        return self.number == number and self.is_open()

    @property
    def is_dirty(self) -> bool:
        """Return whether the open transaction has written to tracked tables."""
        if test_transactions and (test := test_transactions.get(self._connection.alias)):
            return self._is_dirty_in_test(test)
        return self._dirty_number == self.number and self.is_open()

    def _is_dirty_in_test(self, test: TransactionOfTest) -> bool:
        """Return whether an atomic block within the test's transaction is open and has written.

        Other threads' connections do not see what the test has written, so they must not use its
        entries.
        """
        if not self.is_of_test:
            return True
        block = test.inner_block()
        return block is not None and block == self._dirty_block

    @property
    def is_of_test(self) -> bool:
        """Return whether the open transaction is a test's that counts as committed."""
        test = test_transactions.get(self._connection.alias) if test_transactions else None
        return (
            test is not None
            and test.connection is self._connection
            and self.is_still(test.number)
            and len(self._connection.savepoint_ids) >= test.depth
        )

    def mark_dirty(self) -> None:
        """Remember that the open transaction has written to tracked tables."""
        self._dirty_number = self.number
        self.note_own_write()
        if test := test_transactions.get(self._connection.alias):
            self._dirty_block = test.inner_block()

    def note_own_write(self) -> None:
        """Remember, for the whole process, a statement that has changed what the log shows."""
        if self.is_open():
            own_writes.begin(self)
        else:
            own_writes.note()

    def end(self) -> None:
        own_writes.end(self)
        self.number += 1
        self._closed_at = time.monotonic()
        self._entries = set()


def transaction_of(connection: BaseDatabaseWrapper) -> Transaction:
    """Return the Transaction of a connection. The first call begins to follow it.

    `on_commit` does not help: it has no counterpart for a rollback, and tests count its callbacks.
    """
    known: Transaction | None = connection.__dict__.get("_cachelayers_transaction")
    if known is None:
        known = Transaction(connection)
        cast(Any, connection)._cachelayers_transaction = known
        call_after_transactions(connection, known.end)
    return known


def is_begun_in_sql(connection: BaseDatabaseWrapper) -> bool:
    """Return whether the driver knows of a transaction that was begun with SQL, past Django.

    MySQL's driver does not tell.
    """
    driver: Any = connection.connection
    if connection.vendor == "sqlite":
        return bool(driver.in_transaction)
    if connection.vendor == "postgresql":
        # psycopg's own status object is slower to create; psycopg2 has no other.
        status = getattr(driver, "pgconn", None) or driver.info
        return status.transaction_status in BEGUN
    return False
