"""Entries in this process's memory, bounded by S3-FIFO. Used by MemoryCache.

Yang, Zhang, Qiu, Yue and Rashmi, "FIFO queues are all you need for cache eviction", SOSP 2023: a
new entry enters a small queue, and moves to the main queue if it is read there more than once. So a
scan, which reads each entry once, displaces nothing. A ghost queue remembers the keys that have
just left the small queue: such a key goes to the main queue at once.

A read takes no lock and moves nothing: it raises a counter, and a lost increment does no harm.
"""

from __future__ import annotations

import datetime as dt
import decimal
import os
import pickle
import threading
import time
import uuid
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from sys import getsizeof
from typing import Any, Final, NamedTuple, TypeVar

from django.utils.safestring import SafeString

from cachelayers.entries import pack_as_tuples
from cachelayers.utils.counters import Cell

# Exact types: an instance of a subclass may have mutable attributes.
IMMUTABLE = frozenset(
    {
        *(type(None), bool, int, float, complex, str, bytes, SafeString),
        *(decimal.Decimal, uuid.UUID, dt.date, dt.time, dt.timedelta),
    }
)
MOST_ITEMS = 1_000  # in a tuple that is checked for immutability; a larger one is cheaper to pickle


# A value in its stored form, whether that is its pickle, and its size in bytes. A plain tuple:
# making a named one takes longer than storing a small value.
FrozenValue = tuple[Any, bool, int]
MemoryEntry = tuple[Any, bool, float]  # value, whether it is pickled, expiry by time.time()


def freeze(value: Any) -> FrozenValue:
    """Return the stored form of a value; raise pickle's errors for one that has no pickle."""
    if type(value) in IMMUTABLE:
        return value, False, getsizeof(value)
    if type(value) is list:
        value = pack_as_tuples(value)
    if type(value) is tuple:
        size = size_of_immutable(value, [MOST_ITEMS])
        if size is not None:
            return value, False, size
    data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    return data, True, getsizeof(data)


def thaw(entry: MemoryEntry) -> Any:
    """Return the value of a stored form; raise any error of unpickling."""
    value, is_pickled, _ = entry
    return pickle.loads(value) if is_pickled else value  # noqa: S301 - our own memory


def size_of_immutable(value: Any, items_left: list[int]) -> int | None:
    """Return the size of an immutable value in bytes; None: it is mutable."""
    if type(value) in IMMUTABLE:
        return getsizeof(value)
    if type(value) is not tuple:
        return None
    items_left[0] -= len(value)
    if items_left[0] < 0:
        return None
    total = getsizeof(value)
    for item in value:
        size = size_of_immutable(item, items_left)
        if size is None:
            return None
        total += size
    return total


SMALL_PART: Final = 0.1  # of the bounds, for the small queue
MOST_READS: Final = 3  # the largest count
READS_TO_STAY: Final = 2
MOST_DELETED: Final = 1_000  # deleted records in the queues, beyond the number of live ones
# A record, its tuple, its name's string object, its slots in the dictionary and the queue.
RECORD_BYTES: Final = 300

T = TypeVar("T")
Change = Callable[[MemoryEntry], tuple[FrozenValue, float] | None]


class MemoryRecord:
    """One entry in the queues. Readers get one tuple, so never a half-made change."""

    __slots__ = ("bytes", "entry", "is_in_main", "name", "reads")

    def __init__(self, name: str, entry: MemoryEntry, size: int, in_main: bool):
        """``in_main``: in the main queue, not in the small one."""
        self.name = name
        self.entry: MemoryEntry | None = entry  # None: deleted
        self.bytes = size
        self.reads = 0
        self.is_in_main = in_main


class Queue:
    """Records in the order of their arrival, and the bytes and number of the live ones."""

    def __init__(self) -> None:
        self.records: deque[MemoryRecord] = deque()
        self.bytes = 0
        self.entries = 0

    def append(self, record: MemoryRecord) -> None:
        self.records.append(record)
        self.bytes += record.bytes
        self.entries += 1

    def discount(self, record: MemoryRecord) -> None:
        """Stop counting a record, which may stay in the order for a while."""
        self.bytes -= record.bytes
        self.entries -= 1


class Ghosts:
    """The hashes of keys that left the small queue last: as many as there are entries."""

    def __init__(self) -> None:
        self._order: deque[int] = deque()
        self._members: set[int] = set()

    def add(self, name: str, most: int) -> None:
        """Add a key; remove the oldest ones beyond ``most``."""
        number = hash(name)
        if number not in self._members:
            self._members.add(number)
            self._order.append(number)
        while len(self._order) > most:
            self._members.discard(self._order.popleft())

    def __contains__(self, name: str) -> bool:
        return hash(name) in self._members


class Bounds(NamedTuple):
    """The bounds of one cache."""

    max_bytes: int
    max_entries: int | None
    max_value_bytes: int  # of an entry with its key and Python's overhead


class MemoryStore:
    """All entries under one name in this process. Thread-safe; readers use ``records``."""

    def __init__(
        self,
        max_bytes: int,
        max_entries: int | None,
        max_value_bytes: int | None = None,
        cell: Cell | None = None,
    ) -> None:
        """``cell``: counts evictions."""
        self._cell = Cell() if cell is None else cell
        self.max_bytes, self.max_entries = max_bytes, max_entries
        self.max_value_bytes = min(max_bytes, max_value_bytes or max_bytes)
        self._bounds: dict[str, Bounds] = {}
        self.records: dict[str, MemoryRecord] = {}  # never replaced: readers keep a reference to it
        self.evictions = 0
        self.small, self.main, self.ghosts = Queue(), Queue(), Ghosts()
        self.deleted = 0
        # Reentrant: a signal handler may run in the middle of a change. The change that it asks for
        # is made after that one.
        self.lock = threading.RLock()
        self._is_changing = False
        self._postponed: deque[Callable[[], Any]] = deque()
        # False while records and queues may differ: an exception of a signal handler ends the
        # change there.
        self._is_consistent = True
        _stores.add(self)

    @property
    def bytes(self) -> int:
        return self.small.bytes + self.main.bytes

    def set_bounds(self, alias: str, bounds: Bounds) -> None:
        """Set the bounds of one of the caches that share this store: the smallest ones apply."""
        with self.lock:
            self._bounds[alias] = bounds
            known = self._bounds.values()
            self.max_bytes = min(one.max_bytes for one in known)
            entries = [one.max_entries for one in known if one.max_entries is not None]
            self.max_entries = min(entries, default=None)
            largest = min(one.max_value_bytes for one in known)
            self.max_value_bytes = min(self.max_bytes, largest)
        self._change(self._evict, None)

    def put(self, name: str, frozen: FrozenValue, expires: float) -> bool:
        """Store a value; return False if it is too large."""
        with self.lock:
            if self._is_changing:
                self._postponed.append(partial(self._put, name, frozen, expires))
                return True
            self._is_changing = True
            try:
                if self._postponed or not self._is_consistent:
                    self._catch_up()
                return self._put(name, frozen, expires)
            finally:
                try:
                    if self._postponed:
                        self._catch_up()
                finally:
                    self._is_changing = False

    def put_many(self, items: Mapping[str, FrozenValue], expires: float) -> list[str]:
        """Store values; return the names of those that are larger than the store."""
        return self._change(lambda: self._put_many(items, expires), [])

    def add(self, name: str, frozen: FrozenValue, expires: float, now: float) -> bool:
        """Store a value if there is no live entry."""
        return self._change(
            lambda: self.live(name, now) is None and self._put(name, frozen, expires), False
        )

    def change(
        self,
        name: str,
        now: float,
        change: Change,
    ) -> FrozenValue | None:
        """Replace the content of a live entry by ``change(content)``, atomically.

        None: there is no live entry, or ``change`` returned None.
        """
        return self._change(lambda: self._replace(name, now, change), None)

    def touch(self, name: str, expires: float, now: float) -> bool:
        return self._change(lambda: self._touch(name, expires, now), False)

    def delete(self, names: Iterable[str], now: float) -> int:
        """Delete entries; return how many were alive."""
        names = list(names)
        return self._change(lambda: self._delete(names, now), 0)

    def clear(self) -> None:
        self._change(self._clear, None)

    def read(self, name: str, now: float) -> MemoryEntry | None:
        """Return the content of a live entry, and count the read."""
        record = self.records.get(name)
        if record is None or (entry := record.entry) is None or entry[2] <= now:
            return None
        if record.reads < MOST_READS:
            record.reads += 1
        return entry

    def live(self, name: str, now: float) -> MemoryEntry | None:
        """Return the content of an entry that has not expired."""
        record = self.records.get(name)
        entry = None if record is None else record.entry
        return entry if entry is not None and entry[2] > now else None

    def _change(self, work: Callable[[], T], if_postponed: T) -> T:
        """Make a change alone; return ``if_postponed`` if it is postponed."""
        with self.lock:
            if self._is_changing:
                self._postponed.append(work)
                return if_postponed
            self._is_changing = True
            try:
                if self._postponed or not self._is_consistent:
                    self._catch_up()
                return work()
            finally:
                try:
                    if self._postponed:
                        self._catch_up()
                finally:  # without a call, before which such an exception could be raised
                    self._is_changing = False

    def _catch_up(self) -> None:
        """Rebuild the queues after an interrupted change, and make the postponed changes."""
        if not self._is_consistent:
            self.small, self.main, self.ghosts = Queue(), Queue(), Ghosts()
            self.deleted = 0
            for record in self.records.values():
                self._queue_of(record).append(record)
            self._is_consistent = True
        while self._postponed:
            self._postponed.popleft()()

    def _put_many(self, items: Mapping[str, FrozenValue], expires: float) -> list[str]:
        return [name for name, frozen in items.items() if not self._put(name, frozen, expires)]

    def _replace(self, name: str, now: float, change: Change) -> FrozenValue | None:
        entry = self.live(name, now)
        changed = None if entry is None else change(entry)
        if changed is None:
            return None
        self._put(name, *changed)
        return changed[0]

    def _touch(self, name: str, expires: float, now: float) -> bool:
        entry = self.live(name, now)
        if entry is None:
            return False
        self.records[name].entry = (entry[0], entry[1], expires)
        return True

    def _delete(self, names: Iterable[str], now: float) -> int:
        found = 0
        for name in names:
            found += self.live(name, now) is not None
            self._remove(name)
        return found

    def _clear(self) -> None:
        self._is_consistent = False
        self.records.clear()
        self.small, self.main, self.ghosts = Queue(), Queue(), Ghosts()
        self.deleted = 0
        self._is_consistent = True

    def _put(self, name: str, frozen: FrozenValue, expires: float) -> bool:
        value, is_pickled, size = frozen
        size += len(name) + RECORD_BYTES
        if size > self.max_value_bytes:
            self._remove(name)  # the existing entry is older
            return False
        self._is_consistent = False
        record = self.records.get(name)
        if record is None:
            record = MemoryRecord(name, (value, is_pickled, expires), size, name in self.ghosts)
            self.records[name] = record
            (self.main if record.is_in_main else self.small).append(record)
        else:
            record.entry = (value, is_pickled, expires)
            (self.main if record.is_in_main else self.small).bytes += size - record.bytes
            record.bytes = size
        if self.small.bytes + self.main.bytes > self.max_bytes or (
            self.max_entries is not None and len(self.records) > self.max_entries
        ):
            self._evict()
        self._is_consistent = True
        return True

    def _queue_of(self, record: MemoryRecord) -> Queue:
        return self.main if record.is_in_main else self.small

    def _remove(self, name: str) -> None:
        if name not in self.records:
            return
        self._is_consistent = False
        record = self.records.pop(name)
        record.entry = None
        self._queue_of(record).discount(record)
        self.deleted += 1
        if self.deleted > MOST_DELETED + len(self.records):
            self._drop_deleted()
        self._is_consistent = True

    def _drop_deleted(self) -> None:
        for queue in (self.small, self.main):
            queue.records = deque(one for one in queue.records if one.entry is not None)
        self.deleted = 0

    def _evict(self) -> None:
        """Evict until the store is within its bounds."""
        self._is_consistent = False
        now = time.time()
        while (over := self.bytes > self.max_bytes) or (
            self.max_entries is not None and len(self.records) > self.max_entries
        ):
            if over:
                small_is_full = self.small.bytes > SMALL_PART * self.max_bytes
            else:
                small_is_full = self.small.entries > SMALL_PART * len(self.records)
            if self.small.entries and (small_is_full or not self.main.entries):
                self._evict_from_small(now)
            else:
                self._evict_from_main(now)
        self._is_consistent = True

    def _evict_from_small(self, now: float) -> None:
        """Move the oldest record to the main queue if it was read, else evict it."""
        record = self.small.records.popleft()
        if record.entry is None:
            self.deleted -= 1
        elif record.reads >= READS_TO_STAY and record.entry[2] > now:
            self.small.discount(record)
            record.reads, record.is_in_main = 0, True
            self.main.append(record)
        else:
            self._evict_record(record)
            self.ghosts.add(record.name, len(self.records))

    def _evict_from_main(self, now: float) -> None:
        """Evict the oldest record, unless it was read since it was last at the front."""
        record = self.main.records.popleft()
        if record.entry is None:
            self.deleted -= 1
        elif record.reads and record.entry[2] > now:
            record.reads -= 1
            self.main.records.append(record)
        else:
            self._evict_record(record)

    def _evict_record(self, record: MemoryRecord) -> None:
        del self.records[record.name]
        self._queue_of(record).discount(record)
        record.entry = None
        self.evictions += 1
        self._cell.evictions += 1


_stores: weakref.WeakSet[MemoryStore] = weakref.WeakSet()
_held_for_fork: list[MemoryStore] = []


def hold_stores_before_fork() -> None:
    """Wait for running changes of other threads, which a child would inherit half-made."""
    for store in list(_stores):
        store.lock.acquire()
        _held_for_fork.append(store)


def release_stores_after_fork() -> None:
    """Let the parent's threads and the child's only thread go on.

    The forking thread holds all the locks, and runs on in both processes.
    """
    while _held_for_fork:
        _held_for_fork.pop().lock.release()


os.register_at_fork(
    before=hold_stores_before_fork,
    after_in_parent=release_stores_after_fork,
    after_in_child=release_stores_after_fork,
)
