"""What this process knows of the trouble a cache's database is in. Shared by all its threads.

Called by the cache whenever an operation fails, and before each one.
"""

from __future__ import annotations

import logging
import time

from cachelayers.masking import without_secrets
from cachelayers.models import Entry
from cachelayers.pauses import SLOW_FAILURE_SECONDS, Pause
from cachelayers.stats import counts

logger = logging.getLogger("cachelayers.backends.database")

REPORT_EVERY_SECONDS = 60.0
MOST_DISTRUSTED = 10_000


class Report:
    """One kind of trouble: counted each time, logged at most once a minute."""

    def __init__(self, alias: str, name: str, level: int) -> None:
        """``name`` is what it is counted under."""
        self.alias, self.name, self.level = alias, name, level
        self._next_at = float("-inf")
        self._unreported = 0

    def tell(self, text: str, cause: BaseException | None = None) -> None:
        """Count it; log it if the last record is a minute old."""
        counts.add(self.alias, self.name)
        self._unreported += 1
        now = time.monotonic()
        if now < self._next_at:
            return
        self._next_at = now + REPORT_EVERY_SECONDS
        since, self._unreported = self._unreported, 0
        said = without_secrets(text)
        logger.log(self.level, "CACHES[%r]: %s (%d since the last report)", self.alias, said, since)
        if cause is not None:
            logger.debug("CACHES[%r]: the error in full", self.alias, exc_info=cause)


class Health:
    """Pauses, reports, and the entries whose stored value is older than it should be."""

    def __init__(self, alias: str, database: str) -> None:
        """Begin in good health."""
        self.alias, self.database = alias, database
        self.reads, self.writes = Pause(), Pause()
        self.faults = Report(alias, "errors", logging.ERROR)
        self.undecodable = Report(alias, "undecodable", logging.WARNING)
        # Ids of rows that could not be overwritten or deleted: this process does not serve them.
        self.distrusted: set[int] = set()
        self.distrusts_everything = False
        # Whether any of the above is in force: all that a cache in good health looks at.
        self.is_troubled = False

    @property
    def distrusts_any(self) -> bool:
        """Tell whether anything in the table may be older than it should be."""
        return self.distrusts_everything or bool(self.distrusted)

    def distrusts(self, row_id: int) -> bool:
        """Tell whether a row may be older than it should be."""
        return self.distrusts_everything or row_id in self.distrusted

    def distrust(self, row_ids: list[int]) -> None:
        """Serve these rows no more until they could be deleted, or written again."""
        if len(self.distrusted) + len(row_ids) > MOST_DISTRUSTED:
            self.distrust_everything()
        else:
            self.distrusted.update(row_ids)
            self.is_troubled = True

    def distrust_everything(self) -> None:
        """Serve nothing until the alias could be cleared."""
        self.distrusts_everything = True
        self.distrusted.clear()
        self.is_troubled = True

    def trust_again(self, row_ids: list[int], *, everything: bool) -> None:
        """Serve rows again that are deleted now, or the whole alias, which is empty."""
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
        """Report a failed operation, and pause its like if it was slow to fail.

        Where reads are, writes are too: each would be waited for in vain by itself.
        """
        if seconds >= SLOW_FAILURE_SECONDS:
            pause.begin(seconds)
            if pause is self.reads:
                self.writes.begin(seconds)
            self.is_troubled = True
        self.faults.tell(
            f"{operation} failed in DATABASES[{self.database!r}]: {type(error).__name__}: {error}."
            " Until it works again reads are misses and writes are skipped.",
            error,
        )

    def note_missing_table(self, error: BaseException) -> None:
        """Report that nobody has made the table yet."""
        self.faults.tell(missing_table_text(self.alias, self.database), error)


def missing_table_text(alias: str, database: str) -> str:
    """Return what is said of a table, or a whole file, that nobody has made yet."""
    return (
        f"the entries of CACHES[{alias!r}] belong into the table {Entry._meta.db_table!r} of"
        f" DATABASES[{database!r}], which does not exist. Until then reads are misses and writes"
        f" are skipped. Create it with: python manage.py migrate cachelayers --database={database}"
    )
