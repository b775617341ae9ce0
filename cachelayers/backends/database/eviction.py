"""The hand that keeps the table small: a slice of it is looked at every so many writes.

Ids are uniform hashes, so a slice of the table in the order of its ids is an honest sample of it:
from its density follow the number of rows and of bytes, without counting and without an index.
The hand rotates over the ids, so that in time it meets every expired row. Called by the cache
after writes.
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
# Without a bound only expired rows matter: where none are found the hand comes less often.
MOST_WRITES_BETWEEN_IDLE_SAMPLES = 1024
MOST_SAMPLES_AT_ONCE = 16
# With fewer rows the hand comes more often, or a small table would outgrow its bound in between.
SAMPLES_PER_GROWTH = 64
# Few: older ones tell of a time when there was less. 1,536 rows make an error of 3 percent.
MOST_SAMPLES_REMEMBERED = 6
AIM = 0.95  # of a bound: what is written until the hand has come round must fit in too
FILLING_UP = 0.7  # of a bound; below that the hand comes as seldom as without one
LARGEST_CUT = 0.5  # of a slice, so that one that is dense by chance is not emptied
MOST_READS_REMEMBERED = 512


class Sample(NamedTuple):
    """What was left of a slice after it was cut."""

    ids: int  # how many ids it spans, used or not
    rows: int
    bytes: int


class Evictor:
    """The rotation over one cache alias, shared by all threads of a process."""

    def __init__(
        self, alias: str, id_range: IdRange, *, max_bytes: int | None, max_entries: int | None
    ) -> None:
        """Start anywhere: the hands of several processes should not follow each other."""
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
        """Remember that a row was useful. Written with the next slice, never by the read itself."""
        if len(self._reads) < MOST_READS_REMEMBERED:
            self._reads.add(row_id)

    def is_due_after(self, rows_written: int, bytes_written: int) -> bool:
        """Count writes; tell whether it is time for a slice."""
        self._writes_left -= rows_written
        self._bytes_left -= bytes_written
        return self._writes_left <= 0 or self._bytes_left <= 0

    def advance(self, table: EntryTable, now_ms: int) -> None:
        """Look at as many slices as are due, unless another thread is at it."""
        if self.lock.is_held_here():  # by what a signal has interrupted
            return
        try:
            if self.lock.acquire(blocking=False):
                self._advance(table, now_ms)
        finally:  # at once, and whether it was had or not: a signal's exception may come anywhere
            try:  # noqa: SIM105 - a call of suppress() would be such a place
                self.lock.release()
            except RuntimeError:
                pass

    def _advance(self, table: EntryTable, now_ms: int) -> None:
        try:
            self._note_reads(table, now_ms)
            # A bulk write may owe several. No more than this: the next write comes soon enough.
            for _ in range(MOST_SAMPLES_AT_ONCE):
                self._evict_from_next_sample(table, now_ms)
                # Debts count on; what was left over of the other measure does not.
                self._writes_left = min(self._writes_left, 0) + self._writes_between_samples()
                self._bytes_left = min(self._bytes_left, 0) + self._bytes_between_samples()
                if not self.is_bounded or not self.is_due_after(0, 0):
                    break
        finally:
            # No debts: also where that failed, the next one is due after as many writes as usual.
            self._writes_left = max(self._writes_left, self._writes_between_samples())
            self._bytes_left = max(self._bytes_left, self._bytes_between_samples())

    def _note_reads(self, table: EntryTable, now_ms: int) -> None:
        """Write what was remembered of reads, so that every process's hand can see it."""
        if self._reads:
            reads, self._reads = self._reads, set()
            table.note_used(list(reads), now_ms)

    def _evict_from_next_sample(self, table: EntryTable, now_ms: int) -> None:
        """Delete what is expired in the next slice, and the least useful if there is too much."""
        rows, ids = self._take_next_sample(table)
        expired = [row for row in rows if row.expires <= now_ms]
        alive = [row for row in rows if row.expires > now_ms]
        self._remember(Sample(ids, len(alive), sum_of_bytes(alive)))
        victims = self._least_useful(alive, now_ms) if self.is_bounded else []
        if expired or victims:
            # Spares what was used since: a row that was refreshed meanwhile survives.
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
        """Return the rows of the next slice and how many ids it spans; move on behind it."""
        rows = table.sample(self._position, SLICE_ROWS)
        end = rows[-1].id if len(rows) == SLICE_ROWS else self.id_range.last
        ids = end - self._position + 1
        self._position = end + 1 if end < self.id_range.last else self.id_range.first
        return rows, ids

    def _remember(self, newest: Sample) -> None:
        """Keep the newest slices, up to one whole rotation."""
        self._samples.append(newest)
        while len(self._samples) > 1 and (
            len(self._samples) > MOST_SAMPLES_REMEMBERED
            or sum(known.ids for known in self._samples) > self.id_range.size
        ):
            self._samples.popleft()

    def _least_useful(self, alive: list[SampledRow], now_ms: int) -> list[SampledRow]:
        """Return the rows of the slice to delete: those used longest ago, none of this moment."""
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
        """Return how many rows the alias has."""
        return self._scaled_up(sum(known.rows for known in self._samples))

    def _estimated_bytes(self) -> float:
        """Return how many bytes the alias has."""
        return self._scaled_up(sum(known.bytes for known in self._samples))

    def _scaled_up(self, found: int) -> float:
        """Return how many the alias has, of what the slices known have ``found``, by density."""
        return found * self.id_range.size / sum(known.ids for known in self._samples)

    def _writes_between_samples(self) -> int:
        """Return how many writes may pass before the next slice.

        Far from its bound an alias may grow by a part of the bound before it is looked at again.
        """
        if not self._is_filling_up():
            growth = (self.max_entries or sys.maxsize) // SAMPLES_PER_GROWTH
            return min(max(growth, 1), self._idle_writes)
        return min(
            max(int(self._estimated_rows()) // SAMPLES_PER_GROWTH, 1), MOST_WRITES_BETWEEN_SLICES
        )

    def _is_filling_up(self) -> bool:
        """Tell whether the alias is near one of its bounds: yes, until the first slice is seen."""
        if not self.is_bounded or not self._samples:
            return self.is_bounded
        return (
            self._estimated_rows() > (self.max_entries or sys.maxsize) * FILLING_UP
            or self._estimated_bytes() > (self.max_bytes or sys.maxsize) * FILLING_UP
        )

    def _bytes_between_samples(self) -> float:
        """Return how much may be written before the next slice."""
        return float("inf") if self.max_bytes is None else self.max_bytes / SAMPLES_PER_GROWTH


def surplus(estimate: float, bound: int | None) -> float:
    """Return how much is too much."""
    return 0.0 if bound is None else estimate - bound * AIM


def sum_of_bytes(rows: list[SampledRow]) -> int:
    """Return how many bytes rows count."""
    return sum(row.bytes for row in rows)
