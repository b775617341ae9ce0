"""Evict entries to keep the table within its bounds: after some writes, look at a sample of rows.

Ids are uniform hashes, so consecutive rows are a fair sample: their density gives the number of
rows and bytes, without COUNT and without an index. The evictor walks through the range of ids, and
so reaches every expired row in time. The guard calls it after writes.
"""

from __future__ import annotations

import random
import sys
from collections import deque
from typing import NamedTuple

from cachelayers.backends.database.table import EntryTable, SampledRow
from cachelayers.entries import IdRange
from cachelayers.utils.counters import counts
from cachelayers.utils.locks import ForkSafeLock

SLICE_ROWS = 256
MOST_WRITES_BETWEEN_SLICES = 64
# Without a bound only expired rows matter: if a sample has none, the next one is taken later.
MOST_WRITES_BETWEEN_IDLE_SAMPLES = 1024
MOST_SAMPLES_AT_ONCE = 16
# A small table is sampled more often, else it would outgrow its bound between two samples.
SAMPLES_PER_GROWTH = 64
# Few, because older samples show an older size. 1,536 rows give an error of 3 percent.
MOST_SAMPLES_REMEMBERED = 6
AIM = 0.95  # of a bound: writes until the whole range was sampled must fit in too
FILLING_UP = 0.7  # of a bound; below that, samples are as rare as without a bound
LARGEST_CUT = 0.5  # of a sample, so that one that is dense by chance is not emptied
MOST_READS_REMEMBERED = 512


class Sample(NamedTuple):
    """The rows and bytes left in a sample after eviction."""

    ids: int  # the number of ids it spans, used or not
    rows: int
    bytes: int


class Evictor:
    """The rotation over the id range of one alias, shared by all threads of a process."""

    def __init__(
        self, alias: str, id_range: IdRange, *, max_bytes: int | None, max_entries: int | None
    ) -> None:
        """Start at a random id, so that several processes do not follow each other."""
        self.alias, self.id_range = alias, id_range
        self.max_bytes, self.max_entries = max_bytes, max_entries
        self.is_bounded = max_bytes is not None or max_entries is not None
        self._position = random.randrange(id_range.first, id_range.last + 1)  # noqa: S311
        self._samples: deque[Sample] = deque()
        self._idle_writes = MOST_WRITES_BETWEEN_SLICES
        self._writes_left = 1 if self.is_bounded else MOST_WRITES_BETWEEN_SLICES
        self._bytes_left = self._bytes_between_samples()
        self._reads: set[int] = set()
        self.lock = ForkSafeLock()

    def note_read(self, row_id: int) -> None:
        """Remember a read of a row. The next sample writes it, not the read itself."""
        if len(self._reads) < MOST_READS_REMEMBERED:
            self._reads.add(row_id)

    def is_due_after(self, rows_written: int, bytes_written: int) -> bool:
        """Count writes; return whether a sample is due."""
        self._writes_left -= rows_written
        self._bytes_left -= bytes_written
        return self._writes_left <= 0 or self._bytes_left <= 0

    def advance(self, table: EntryTable, now_ms: int) -> None:
        """Evict from as many samples as are due, unless another thread is doing so."""
        if self.lock.is_held_here():  # by the code that a signal has interrupted
            return
        try:
            if self.lock.acquire(blocking=False):
                self._advance(table, now_ms)
        finally:  # in a try that begins before the lock is taken: a signal may raise anywhere
            try:  # noqa: SIM105 - a call of suppress() would be such a place
                self.lock.release()
            except RuntimeError:
                pass

    def _advance(self, table: EntryTable, now_ms: int) -> None:
        try:
            self._note_reads(table, now_ms)
            # A bulk write may make several due. The limit is enough: the next write comes soon.
            for _ in range(MOST_SAMPLES_AT_ONCE):
                self._evict_from_next_sample(table, now_ms)
                # Overdue writes count on; unused allowance of the other measure does not.
                self._writes_left = min(self._writes_left, 0) + self._writes_between_samples()
                self._bytes_left = min(self._bytes_left, 0) + self._bytes_between_samples()
                if not self.is_bounded or not self.is_due_after(0, 0):
                    break
        finally:
            # After a failure too, the next sample is due after the usual number of writes.
            self._writes_left = max(self._writes_left, self._writes_between_samples())
            self._bytes_left = max(self._bytes_left, self._bytes_between_samples())

    def _note_reads(self, table: EntryTable, now_ms: int) -> None:
        """Write the remembered reads, so that the evictors of all processes see them."""
        if self._reads:
            reads, self._reads = self._reads, set()
            table.note_used(list(reads), now_ms)

    def _evict_from_next_sample(self, table: EntryTable, now_ms: int) -> None:
        """Delete expired rows of the next sample, and the least used ones if over the bound."""
        rows, ids = self._take_next_sample(table)
        expired = [row for row in rows if row.expires <= now_ms]
        alive = [row for row in rows if row.expires > now_ms]
        self._remember(Sample(ids, len(alive), sum_of_bytes(alive)))
        victims = self._least_useful(alive, now_ms) if self.is_bounded else []
        if expired or victims:
            # Spares rows that were used or refreshed since.
            table.delete_unused([row.id for row in (*expired, *victims)], now_ms)
        if victims:
            left = self._samples.pop()
            bytes_left = left.bytes - sum_of_bytes(victims)
            self._samples.append(Sample(ids, left.rows - len(victims), bytes_left))
            counts.add(self.alias, "evictions", len(victims))
        self._idle_writes = min(self._idle_writes * 2, MOST_WRITES_BETWEEN_IDLE_SAMPLES)
        if expired:
            self._idle_writes = MOST_WRITES_BETWEEN_SLICES

    def _take_next_sample(self, table: EntryTable) -> tuple[list[SampledRow], int]:
        """Return the rows of the next sample and the number of ids it spans; advance behind it."""
        rows = table.sample(self._position, SLICE_ROWS)
        end = rows[-1].id if len(rows) == SLICE_ROWS else self.id_range.last
        ids = end - self._position + 1
        self._position = end + 1 if end < self.id_range.last else self.id_range.first
        return rows, ids

    def _remember(self, newest: Sample) -> None:
        """Keep the newest samples, up to one whole rotation."""
        self._samples.append(newest)
        while len(self._samples) > 1 and (
            len(self._samples) > MOST_SAMPLES_REMEMBERED
            or sum(known.ids for known in self._samples) > self.id_range.size
        ):
            self._samples.popleft()

    def _least_useful(self, alive: list[SampledRow], now_ms: int) -> list[SampledRow]:
        """Return the rows to delete: the least recently used ones, but none used just now."""
        rows_over = surplus(self._estimated_rows(), self.max_entries)
        bytes_over = surplus(self._estimated_bytes(), self.max_bytes)
        victims: list[SampledRow] = []
        most = round(len(alive) * LARGEST_CUT)
        for row in sorted(alive, key=lambda row: row.used)[:most]:
            if row.used >= now_ms or (rows_over <= 0 and bytes_over <= 0):
                break
            victims.append(row)
            rows_over -= 1
            bytes_over -= row.bytes
        return victims

    def _estimated_rows(self) -> float:
        return self._scaled_up(sum(known.rows for known in self._samples))

    def _estimated_bytes(self) -> float:
        return self._scaled_up(sum(known.bytes for known in self._samples))

    def _scaled_up(self, found: int) -> float:
        """Extrapolate from the samples to the alias's whole id range."""
        return found * self.id_range.size / sum(known.ids for known in self._samples)

    def _writes_between_samples(self) -> int:
        """Return how many writes may pass before the next sample.

        Far below its bound, an alias may grow by a part of the bound first.
        """
        if not self._is_filling_up():
            growth = (self.max_entries or sys.maxsize) // SAMPLES_PER_GROWTH
            return min(max(growth, 1), self._idle_writes)
        return min(
            max(int(self._estimated_rows()) // SAMPLES_PER_GROWTH, 1), MOST_WRITES_BETWEEN_SLICES
        )

    def _is_filling_up(self) -> bool:
        """Return whether the alias is near one of its bounds; True until the first sample."""
        if not self.is_bounded or not self._samples:
            return self.is_bounded
        return (
            self._estimated_rows() > (self.max_entries or sys.maxsize) * FILLING_UP
            or self._estimated_bytes() > (self.max_bytes or sys.maxsize) * FILLING_UP
        )

    def _bytes_between_samples(self) -> float:
        """Return how many bytes may be written before the next sample."""
        return float("inf") if self.max_bytes is None else self.max_bytes / SAMPLES_PER_GROWTH


def surplus(estimate: float, bound: int | None) -> float:
    return 0.0 if bound is None else estimate - bound * AIM


def sum_of_bytes(rows: list[SampledRow]) -> int:
    return sum(row.bytes for row in rows)
