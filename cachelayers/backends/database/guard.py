"""Carry out an operation so that a database in trouble is never the site's trouble.

Between the cache and the table: a read that fails is a miss, a write that fails is skipped, and
what a failed write should have replaced is not served any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Final, TypeVar

from django.core.exceptions import SynchronousOnlyOperation

from cachelayers.answers import in_a_thread
from cachelayers.backends.database.faults import DATABASE_ERRORS, Fault, fault_of
from cachelayers.backends.database.hand import Hand
from cachelayers.backends.database.health import REPORT_EVERY_SECONDS, Health, logger
from cachelayers.backends.database.rebuild import replace_file
from cachelayers.backends.database.table import EntryTable, Row
from cachelayers.entries.keys import Place
from cachelayers.pauses import Pause
from cachelayers.test_runs import ForbiddenByTest

Answer = TypeVar("Answer")


class Failed(Enum):
    """An enumeration of one, because type checkers then know what ``is not FAILED`` leaves."""

    FAILED = auto()


FAILED: Final = Failed.FAILED  # what an operation that failed returns instead of its answer
READS = frozenset({"get", "get_many", "has_key"})
SETTLE_EVERY_SECONDS = 1.0


class Guard:
    """The operations of one cache alias, attempted."""

    def __init__(self, table: EntryTable, health: Health, hand: Hand) -> None:
        """Watch over a table."""
        self.table, self.health, self.hand = table, health, hand
        self._settle_at = self._replace_at = 0.0  # of time.monotonic()

    def attempt(
        self, name: str, operation: Callable[..., Answer], *arguments: object
    ) -> Answer | Failed:
        """Return what the operation returns, or FAILED; raise what a test forbids, as Django's."""
        if self.health.is_troubled and self._must_skip(name):
            return FAILED
        began = time.monotonic()
        try:
            try:
                answer = operation(*arguments)
            except SynchronousOnlyOperation:
                answer = in_a_thread(operation, *arguments)
        except ForbiddenByTest:
            raise
        except DATABASE_ERRORS as error:
            self._note_failure(name, error, time.monotonic() - began)
            self._begin_lost_file_anew(error)
            return FAILED
        if self.health.is_troubled:
            self.health.note_success(self._pause_of(name))
        return answer

    def is_distrusted(self, place: Place) -> bool:
        """Tell whether what the table has for this key may be older than it should be."""
        return self.health.is_troubled and self.health.distrusts(place.id)

    def drop_older(self, places: Sequence[Place]) -> None:
        """After a failed write: delete what it should have replaced, or else do not serve it."""
        ids = [place.id for place in places]
        if self.attempt("delete", self.table.delete_ids, ids) is FAILED:
            self.health.distrust(ids)

    def after_write(self, rows: Sequence[Row]) -> None:
        """Move the hand when it is time; never within a transaction, which would lock its rows."""
        written = sum(len(row.data) if row.data else 8 for row in rows)
        if self.hand.is_due_after(len(rows), written) and not self.table.is_in_transaction():
            self.attempt("trim", self.hand.advance, self.table, rows[-1].used)

    def _pause_of(self, name: str) -> Pause:
        """Return the pause that an operation falls under."""
        return self.health.reads if name in READS else self.health.writes

    def _must_skip(self, name: str) -> bool:
        """Tell whether an operation is not even to be tried now; settle what can be settled."""
        if not self._pause_of(name).takes_try():
            return True
        if self.health.distrusts_any:
            self._settle()
        return False

    def _settle(self) -> None:
        """Delete the distrusted rows, now that the database may be well again.

        Not within a transaction: a rollback would bring them back.
        """
        now = time.monotonic()
        if now < self._settle_at or self.health.writes.is_on or self.table.is_in_transaction():
            return
        self._settle_at = now + SETTLE_EVERY_SECONDS
        everything, ids = self.health.distrusts_everything, list(self.health.distrusted)
        try:
            if everything:
                self.table.delete_all(b"")
            else:
                self.table.delete_ids(ids)
        except DATABASE_ERRORS as error:
            seconds = time.monotonic() - now
            self.health.note_failure("delete", error, self.health.writes, seconds=seconds)
            return
        self.health.trust_again(ids, everything=everything)

    def _note_failure(self, name: str, error: BaseException, seconds: float) -> None:
        """Report a failure, and what is to be done where nobody has made the table yet."""
        if fault_of(error) is Fault.MISSING_TABLE:
            self.health.note_missing_table(error)
        else:
            self.health.note_failure(name, error, self._pause_of(name), seconds=seconds)

    def _begin_lost_file_anew(self, error: BaseException) -> None:
        """Make an SQLite file of the cache's own that is missing, corrupt or gone.

        Where that fails, it is not tried again at every operation.
        """
        fault = fault_of(error)
        if fault is Fault.NO_FILE and not self.table.is_file_missing():
            return
        sessions = self.table.sessions
        if fault not in {Fault.CORRUPT, Fault.NO_FILE} or not sessions.is_on_own_file():
            return
        if time.monotonic() < self._replace_at:
            return
        try:
            replace_file(self.table.database, sessions.file_in_use())
        except BlockingIOError:  # another process is at it
            self._replace_at = time.monotonic() + SETTLE_EVERY_SECONDS / 10
        except Exception:  # noqa: BLE001 - whatever migrations, files and databases raise
            self._replace_at = time.monotonic() + REPORT_EVERY_SECONDS
            logger.exception("CACHES[%r]: its file could not be made.", self.health.alias)
