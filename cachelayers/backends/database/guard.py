"""Run the cache's operations so that a database failure never becomes a failure of the site.

Stands between ``cache`` and ``table``: a failed read is a miss, a failed write is skipped, and the
entry that a failed write should have replaced is not served.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Final, TypeVar

from django.core.exceptions import SynchronousOnlyOperation

from cachelayers.backends.database.eviction import Evictor
from cachelayers.backends.database.faults import DATABASE_ERRORS, Fault, fault_of
from cachelayers.backends.database.table import EntryTable, Row
from cachelayers.entries import RowKey
from cachelayers.locations import is_file, place_of
from cachelayers.models import Entry
from cachelayers.test_runs import ForbiddenByTest
from cachelayers.utils.answers import in_a_thread
from cachelayers.utils.counters import counts
from cachelayers.utils.rate_limit import REPORT_EVERY_SECONDS, RateLimit
from cachelayers.utils.text import without_secrets
from cachelayers.utils.time_limits import SLOW_FAILURE_SECONDS, Pause

logger = logging.getLogger("cachelayers.backends.database")

MOST_DISTRUSTED = 10_000


class Report:
    """One kind of failure: counted each time, logged at most once a minute."""

    def __init__(self, alias: str, name: str, level: int) -> None:
        """``name``: of the counter."""
        self.alias, self.name, self.level = alias, name, level
        self._reports = RateLimit()
        self._unreported = 0

    def report(self, text: str, cause: BaseException | None = None) -> None:
        """Count the failure; log it if the last record is a minute old."""
        counts.add(self.alias, self.name)
        self._unreported += 1
        if not self._reports.is_due(self.name):
            return
        since, self._unreported = self._unreported, 0
        said = without_secrets(text)
        logger.log(self.level, "CACHES[%r]: %s (%d since the last report)", self.alias, said, since)
        if cause is not None:
            logger.debug("CACHES[%r]: the error in full", self.alias, exc_info=cause)


class Health:
    """Pauses, reports, and distrusted entries: those older than a write that failed."""

    def __init__(self, alias: str, database: str) -> None:
        self.alias, self.database = alias, database
        self.reads, self.writes = Pause(), Pause()
        self.faults = Report(alias, "errors", logging.ERROR)
        self.undecodable = Report(alias, "undecodable", logging.WARNING)
        # Ids of rows that could not be overwritten or deleted: this process does not serve them.
        self.distrusted: set[int] = set()
        self.distrusts_everything = False
        # True if any of the above applies; the only attribute that a healthy cache reads.
        self.is_troubled = False

    @property
    def distrusts_any(self) -> bool:
        """Return whether any entry in the table may be older than a failed write."""
        return self.distrusts_everything or bool(self.distrusted)

    def distrusts(self, row_id: int) -> bool:
        """Return whether a row may be older than a failed write."""
        return self.distrusts_everything or row_id in self.distrusted

    def distrust(self, row_ids: list[int]) -> None:
        """Stop serving these rows until they are deleted or overwritten."""
        if len(self.distrusted) + len(row_ids) > MOST_DISTRUSTED:
            self.distrust_everything()
        else:
            self.distrusted.update(row_ids)
            self.is_troubled = True

    def distrust_everything(self) -> None:
        """Stop serving the alias until it is cleared."""
        self.distrusts_everything = True
        self.distrusted.clear()
        self.is_troubled = True

    def trust_again(self, row_ids: list[int], *, everything: bool) -> None:
        """Serve deleted rows again, or the whole alias after it was cleared."""
        if everything:
            self.distrusts_everything = False
        self.distrusted.difference_update(row_ids)
        self.is_troubled = self.distrusts_any or bool(self.reads.until or self.writes.until)

    def note_success(self, pause: Pause) -> None:
        """End a pause."""
        pause.end()
        self.is_troubled = self.distrusts_any or bool(self.reads.until or self.writes.until)

    def note_failure(
        self, operation: str, error: BaseException, pause: Pause, *, seconds: float
    ) -> None:
        """Report a failed operation, and start a pause if the failure was slow.

        A pause of reads pauses writes too: otherwise each would wait for its own time-out.
        """
        if seconds >= SLOW_FAILURE_SECONDS:
            pause.begin(seconds)
            if pause is self.reads:
                self.writes.begin(seconds)
            self.is_troubled = True
        self.faults.report(
            f"{operation} failed in {place_of(self.database)}: {type(error).__name__}: {error}."
            " Until it works again reads are misses and writes are skipped.",
            error,
        )

    def note_missing_table(self, error: BaseException) -> None:
        self.faults.report(missing_table_text(self.alias, self.database), error)


def missing_table_text(alias: str, database: str) -> str:
    """Return the message for a missing table or file."""
    text = (
        f"the entries of CACHES[{alias!r}] belong into the table {Entry._meta.db_table!r} of"
        f" {place_of(database)}, which does not exist."
    )
    if is_file(database):
        return f"{text} The next operation creates it."
    return (
        f"{text} Until then reads are misses and writes are skipped."
        f" Create it with: python manage.py migrate cachelayers --database={database}"
    )


Answer = TypeVar("Answer")


class Failed(Enum):
    """An enumeration with one member, so that type checkers understand ``is not FAILED``."""

    FAILED = auto()


FAILED: Final = Failed.FAILED  # the result of a failed operation
READS = frozenset({"get", "get_many", "has_key"})
CLEANUP_SECONDS = 1.0


class Guard:
    """The operations of one cache alias, with their errors handled."""

    def __init__(self, table: EntryTable, health: Health, evictor: Evictor) -> None:
        self.table, self.health, self.evictor = table, health, evictor
        self._cleanup_at = self._replace_file_at = 0.0  # of time.monotonic()

    def attempt(
        self, name: str, operation: Callable[..., Answer], *arguments: object
    ) -> Answer | Failed:
        """Return the operation's result, or FAILED; raise errors of a test's own restrictions."""
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
            self._replace_lost_file(error)
            return FAILED
        if self.health.is_troubled:
            self.health.note_success(self._pause_of(name))
        return answer

    def is_distrusted(self, row_key: RowKey) -> bool:
        """Return whether the entry of this key may be older than a failed write."""
        return self.health.is_troubled and self.health.distrusts(row_key.id)

    def drop_older(self, row_keys: Sequence[RowKey]) -> None:
        """After a failed write: delete the older entries, or else distrust them."""
        ids = [row_key.id for row_key in row_keys]
        if self.attempt("delete", self.table.delete_ids, ids) is FAILED:
            self.health.distrust(ids)

    def after_write(self, rows: Sequence[Row]) -> None:
        """Run the evictor when it is due; never within a transaction, which would lock its rows."""
        written = sum(len(row.data) if row.data else 8 for row in rows)
        if self.evictor.is_due_after(len(rows), written) and not self.table.is_in_transaction():
            self.attempt("trim", self.evictor.advance, self.table, rows[-1].used)

    def _pause_of(self, name: str) -> Pause:
        """Return the pause that applies to an operation."""
        return self.health.reads if name in READS else self.health.writes

    def _must_skip(self, name: str) -> bool:
        """Return whether to skip an operation; delete distrusted rows if that is possible now."""
        if not self._pause_of(name).takes_try():
            return True
        if self.health.distrusts_any:
            self._delete_distrusted()
        return False

    def _delete_distrusted(self) -> None:
        """Delete the distrusted rows, in case the database has recovered.

        Not within a transaction: a rollback would restore them.
        """
        now = time.monotonic()
        if now < self._cleanup_at or self.health.writes.is_on or self.table.is_in_transaction():
            return
        self._cleanup_at = now + CLEANUP_SECONDS
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
        """Report a failure; replace a lost file."""
        if fault_of(error) is Fault.MISSING_TABLE:
            self.health.note_missing_table(error)
        else:
            self.health.note_failure(name, error, self._pause_of(name), seconds=seconds)

    def _replace_lost_file(self, error: BaseException) -> None:
        """Replace the cache's own SQLite file if it is missing or corrupt.

        After a failure, later operations wait before they try again.
        """
        fault, sessions = fault_of(error), self.table.sessions
        if not sessions.can_mend(fault) or time.monotonic() < self._replace_file_at:
            return
        try:
            sessions.mend(fault)
        except BlockingIOError:  # another process is replacing it
            self._replace_file_at = time.monotonic() + CLEANUP_SECONDS / 10
        except Exception:
            self._replace_file_at = time.monotonic() + REPORT_EVERY_SECONDS
            logger.exception("CACHES[%r]: its file could not be created.", self.health.alias)
