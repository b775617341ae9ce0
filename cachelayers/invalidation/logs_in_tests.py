"""Check entries against what one test has written, within the transaction that Django rolls back.

`cachelayers.testing` begins the block. The log itself cannot tell the order of changes within one
transaction: on PostgreSQL all of them have one position, and each tag is logged once. Within the
block, positions are counted here instead, and mean nothing outside of it.
"""

from __future__ import annotations

import re
import time
from asyncio import _get_running_loop
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import Any
from uuid import uuid4

from django.db import DatabaseError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.invalidation.dialects import LOG
from cachelayers.invalidation.execute_wrapper import text_of
from cachelayers.invalidation.incarnations import LogUnreadable, dialect_of
from cachelayers.invalidation.log import (
    Dependency,
    Known,
    ProcessLog,
    Reading,
    logs_replaced,
    write_tags_in_time,
)
from cachelayers.invalidation.own_statements import fetch_in_time
from cachelayers.invalidation.transactions import (
    TransactionOfTest,
    test_transactions,
    transaction_of,
)
from cachelayers.invalidation.units import outside_units
from cachelayers.test_runs import ForbiddenByTest
from cachelayers.utils.execute_wrappers import mark_as_own

# Comments, which a wrapper may have added to a statement of Django's.
BEFORE_VERB = re.compile(r"\A(?:\s+|/\*.*?\*/|--[^\n]*)*", re.DOTALL)
OWN = "pg_current_xact_id_if_assigned()::text::bigint"


class LogOfBlock(ProcessLog):
    """A log whose positions count the readings in one block."""

    may_be_pruned = False

    def begin(self) -> Known:
        """Begin a new incarnation: no earlier entry is valid."""
        self.known = Known(uuid4().hex, known_from=0, watermark=1, floor=0)
        return self.known

    def note(self, tags: Sequence[str]) -> Reading:
        """Remember tags that have changed since the last reading, and return the present one."""
        known = self.known or self.begin()
        if tags:
            known.last.update(dict.fromkeys(tags, known.watermark))
            known.watermark += 1
        self.refreshed_at = time.monotonic()
        return Reading(known.incarnation, known.watermark)


class LogOfTransaction(LogOfBlock):
    """What the transaction of a test has logged, for the connection of that transaction alone."""

    def __init__(self, test: TransactionOfTest) -> None:
        super().__init__(test.connection.alias)
        self.test = test
        self._start: int | None = None
        self._read_rows: set[tuple[int, str]] = set()
        self._savepoints: dict[str, int] = {}  # the watermark at which each has begun
        self._taken: set[str] = set()  # tags whose rows refresh() has deleted

    def refresh(self) -> Reading:
        """Read the rows that are new. Those of other transactions are new once they are visible."""
        connection = self._connection()
        rows = self._new_rows()
        self._read_rows.update(rows)
        if rows and connection.vendor == "postgresql":
            # A tag is logged once in a transaction. It is logged again if its row is gone.
            statement = f"DELETE FROM {LOG} WHERE position = {OWN} RETURNING position, tag"
            own = [tuple(row) for row in fetch_in_time(self.database, statement, [])]
            self._read_rows.difference_update(own)
            self._taken.update(tag for _, tag in own)
        return self.note([tag for _, tag in rows])

    def peek(self) -> list[str] | None:
        """Return the tags that refresh() would read."""
        self._connection()
        return [tag for _, tag in self._new_rows()]

    def put_back(self) -> None:
        """Log again what refresh() has deleted: outside of tests, the transaction may commit."""
        if not self._taken or not self._is_here() or self.test.connection.needs_rollback:
            return
        try:
            write_tags_in_time(self.test.connection, sorted(self._taken))
        except DatabaseError:
            transaction.set_rollback(True, self.database)

    def is_unchanged_since(self, incarnation: str, position: int, tags: Sequence[str]) -> bool:
        return self._may_use_entries() and super().is_unchanged_since(incarnation, position, tags)

    def is_invalidated(self, dependency: Dependency) -> bool:
        return not self._may_use_entries() or super().is_invalidated(dependency)

    def follow_savepoints(
        self,
        execute: Callable[..., Any],
        sql: Any,
        params: Any,
        many: bool,
        context: dict[str, Any],
    ) -> Any:
        """Run a statement. An execute wrapper.

        After ROLLBACK TO, entries are valid only if nothing was read from the log since that
        savepoint. Otherwise, the block begins a new incarnation.
        """
        try:
            return execute(sql, params, many, context)
        finally:
            text = text_of(sql, self.test.connection)
            words = BEFORE_VERB.sub("", text, count=1).split(maxsplit=4)
            verb = words[0].upper() if words else ""
            if verb == "SAVEPOINT":
                self._savepoints[words[-1]] = self._watermark()
            elif verb == "ROLLBACK" and self._savepoints.get(words[-1]) != self._watermark():
                self._start = None
                self.begin()

    def _watermark(self) -> int:
        return 0 if self.known is None else self.known.watermark

    def _is_here(self) -> bool:
        return transaction_of(connections[self.database]).is_of_test

    def _may_use_entries(self) -> bool:
        """Return whether code here reads the test's data: an event loop does so in its thread."""
        return self._is_here() or _get_running_loop() is not None

    def _connection(self) -> BaseDatabaseWrapper:
        """Return the test's connection. Raise LogUnreadable in other threads, or after its end."""
        if not self._is_here():
            raise LogUnreadable(
                f"DATABASES[{self.database!r}]: caching() works in the thread and the transaction"
                " in which it has begun. Elsewhere, nothing is cached within its block."
            )
        return self.test.connection

    def _new_rows(self) -> list[tuple[int, str]]:
        """Return rows that were not read yet. The order of positions says nothing about it."""
        dialect = dialect_of(self.test.connection)
        if self._start is None:
            [[start]] = fetch_in_time(self.database, f"SELECT {dialect.watermark}", [])
            self._start = int(start)
            self._read_rows.clear()
        rows = fetch_in_time(
            self.database,
            f"SELECT {dialect.position}, tag FROM {LOG} WHERE {dialect.position} >= %s",
            [self._start],
        )
        return [(position, tag) for position, tag in rows if (position, tag) not in self._read_rows]


class LogWithoutTransaction(LogOfBlock):
    """The log of a database in which the test has no transaction.

    Where the test forbids queries, nobody reads or writes the database, and invalidations are
    remembered here.
    """

    _is_forbidden = False

    def refresh(self) -> Reading:
        try:
            reading = super().refresh()
        except ForbiddenByTest:
            if not self._is_forbidden:
                self._is_forbidden = True
                self.begin()
            return self.note([])
        self._is_forbidden = False
        return reading

    def takes(self, tags: Sequence[str]) -> bool:
        with suppress(DatabaseError):
            self.refresh()
        if self._is_forbidden:
            self.note(tags)
        return self._is_forbidden


@contextmanager
def counted_as_committed() -> Iterator[None]:
    """Have what this thread's open transactions have written count as committed in the block.

    That holds for their present depth of atomic blocks. Within an inner one that has written,
    nothing is read or stored, as usual. Units of work that have begun before are not used.
    """
    tests = {alias: found for alias in connections if (found := open_transaction(alias))}
    logs: dict[str, ProcessLog] = {alias: LogWithoutTransaction(alias) for alias in connections}
    with ExitStack() as stack:
        stack.enter_context(outside_units())
        stack.enter_context(transactions_counted(tests))
        for alias, test in tests.items():
            logs[alias] = log = LogOfTransaction(test)
            stack.callback(log.put_back)
            stack.enter_context(test.connection.execute_wrapper(follower_of(log)))
        stack.enter_context(logs_replaced(logs))
        yield


def open_transaction(alias: str) -> TransactionOfTest | None:
    """Return the transaction that this thread has open in a database."""
    connection = connections[alias]
    its = transaction_of(connection)
    depth = len(connection.savepoint_ids)
    return TransactionOfTest(connection, its.number, depth) if its.is_open() else None


@contextmanager
def transactions_counted(tests: Mapping[str, TransactionOfTest]) -> Iterator[None]:
    """Have transactions count as committed in the block, and others of these databases not."""
    outer = dict(test_transactions)
    test_transactions.update(tests)
    try:
        yield
    finally:
        test_transactions.clear()
        test_transactions.update(outer)


def follower_of(log: LogOfTransaction) -> Callable[..., Any]:
    """Return the execute wrapper of a log, past which the cache's own statements go."""

    def follow(execute: Any, sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        return log.follow_savepoints(execute, sql, params, many, context)

    mark_as_own(follow, own_changes=lambda connection: nullcontext())
    return follow
