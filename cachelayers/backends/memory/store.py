"""Entries in this process's memory, bounded by S3-FIFO. Used by the memory cache.

Yang, Zhang, Qiu, Yue and Rashmi, "FIFO queues are all you need for cache eviction", SOSP 2023:
new entries pass a small queue, and only those that were read there more than once come into the
main one. What is read once, as by a scan, is gone soon and displaces nothing. A ghost queue
remembers the keys that have just left the small one: who comes back goes to the main queue.

A read takes no lock and moves nothing: it raises a counter, and a lost count does no harm.
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
from typing import Any, Final, TypeVar

from django.utils.safestring import SafeString

from cachelayers.entries import pack_as_tuples
from cachelayers.utils.counters import Cell

# Exact types: an instance of a subclass may carry what can be changed.
IMMUTABLE = frozenset(
    {
        *(type(None), bool, int, float, complex, str, bytes, SafeString),
        *(decimal.Decimal, uuid.UUID, dt.date, dt.time, dt.timedelta),
    }
)
MOST_ITEMS = 1_000  # of tuples that are looked through; a larger one is cheaper to pickle


# A value as it is kept, whether that is its pickle, and how many bytes of memory it takes. A plain
# tuple: a named one takes longer to make than a small value to store.
Frozen = tuple[Any, bool, int]
Content = tuple[Any, bool, float]  # value, whether it is pickled, when it expires by time.time()


def freeze(value: Any) -> Frozen:
    """Return the value as it is to be kept; raise what pickle raises for what has no pickle."""
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


def thaw(content: Content) -> Any:
    """Return what a reader gets of a stored value; raise whatever unpickling raises."""
    value, is_pickled, _ = content
    return pickle.loads(value) if is_pickled else value  # noqa: S301 - our own memory


def size_of_immutable(value: Any, items_left: list[int]) -> int | None:
    """Return the bytes of a value that nobody can change, or None for what somebody can."""
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


SMALL_PART: Final = 0.1  # of the bounds, for the queue of the new ones
MOST_READS: Final = 3  # that are counted
READS_TO_STAY: Final = 2
MOST_DEAD: Final = 1_000  # records in the queues whose entry was deleted, beyond the live ones
# Of a record, its tuple, its name's text object, its places in the dictionary and the queue.
RECORD_BYTES: Final = 300

T = TypeVar("T")
Change = Callable[[Content], tuple[Frozen, float] | None]


class Record:
    """One entry, as the queues have it; readers see one tuple, so never half of a change."""

    __slots__ = ("bytes", "content", "is_in_main", "name", "reads")

    def __init__(self, name: str, content: Content, size: int, in_main: bool):
        """``in_main``: in the main queue, not in the small one."""
        self.name = name
        self.content: Content | None = content  # None: deleted
        self.bytes = size
        self.reads = 0
        self.is_in_main = in_main


class Queue:
    """Records in the order of their arrival, with what the live ones take."""

    def __init__(self) -> None:
        """Begin empty."""
        self.records: deque[Record] = deque()
        self.bytes = 0
        self.entries = 0

    def append(self, record: Record) -> None:
        """Put a record at the end."""
        self.records.append(record)
        self.bytes += record.bytes
        self.entries += 1

    def forget(self, record: Record) -> None:
        """No longer count a record, which may stay in the order for a while."""
        self.bytes -= record.bytes
        self.entries -= 1


class Ghosts:
    """The hashes of keys that left the small queue lately: as many as there are entries."""

    def __init__(self) -> None:
        """Begin without any."""
        self._order: deque[int] = deque()
        self._members: set[int] = set()

    def add(self, name: str, most: int) -> None:
        """Remember a key; forget the oldest beyond so many."""
        number = hash(name)
        if number not in self._members:
            self._members.add(number)
            self._order.append(number)
        while len(self._order) > most:
            self._members.discard(self._order.popleft())

    def __contains__(self, name: str) -> bool:
        """Tell whether a key has left lately."""
        return hash(name) in self._members


class MemoryStore:
    """All entries under one name in this process. Thread-safe; readers use ``records``."""

    def __init__(self, max_bytes: int, max_entries: int | None, cell: Cell | None = None) -> None:
        """Begin empty. ``cell``: where evictions are counted."""
        self._cell = Cell() if cell is None else cell
        self.max_bytes, self.max_entries = max_bytes, max_entries
        self._bounds: dict[str, tuple[int, int | None]] = {}
        self.records: dict[str, Record] = {}  # never replaced: readers hold on to it
        self.evictions = 0
        self._small, self._main, self._ghosts = Queue(), Queue(), Ghosts()
        self._dead = 0
        # One that its thread may take again: a signal handler comes in the middle of a change. What
        # it wants to change is done when that is over.
        self.lock = threading.RLock()
        self._is_changing = False
        self._later: deque[Callable[[], Any]] = deque()
        # Not while records and queues may differ: what such a handler raises ends a change there.
        self._is_whole = True
        _stores.add(self)

    @property
    def bytes(self) -> int:
        """Return what all entries take."""
        return self._small.bytes + self._main.bytes

    def bound(self, alias: str, max_bytes: int, max_entries: int | None) -> None:
        """Take the bounds of one of the caches that share this store: the smallest count."""
        with self.lock:
            self._bounds[alias] = max_bytes, max_entries
            entries = [one for _, one in self._bounds.values() if one is not None]
            self.max_bytes = min(one for one, _ in self._bounds.values())
            self.max_entries = min(entries, default=None)
        self._change(self._evict, None)

    def put(self, name: str, frozen: Frozen, expires: float) -> bool:
        """Store a value; return whether it has its place: it may be larger than the store."""
        with self.lock:
            if self._is_changing:
                self._later.append(partial(self._put, name, frozen, expires))
                return True
            self._is_changing = True
            try:
                if self._later or not self._is_whole:
                    self._catch_up()
                return self._put(name, frozen, expires)
            finally:
                try:
                    if self._later:
                        self._catch_up()
                finally:
                    self._is_changing = False

    def put_many(self, items: Mapping[str, Frozen], expires: float) -> list[str]:
        """Store values; return the names of those that are larger than the store."""
        return self._change(lambda: self._put_many(items, expires), [])

    def add(self, name: str, frozen: Frozen, expires: float, now: float) -> bool:
        """Store a value where there is no live entry."""
        return self._change(
            lambda: self.live(name, now) is None and self._put(name, frozen, expires), False
        )

    def change(
        self,
        name: str,
        now: float,
        change: Change,
    ) -> Frozen | None:
        """Replace a live entry by what ``change`` makes of it, as one step.

        None: there is none, or none of which ``change`` could make anything.
        """
        return self._change(lambda: self._replace(name, now, change), None)

    def touch(self, name: str, expires: float, now: float) -> bool:
        """Give a live entry another expiry."""
        return self._change(lambda: self._touch(name, expires, now), False)

    def delete(self, names: Iterable[str], now: float) -> int:
        """Delete entries; return how many were alive."""
        names = list(names)
        return self._change(lambda: self._delete(names, now), 0)

    def clear(self) -> None:
        """Delete everything."""
        self._change(self._clear, None)

    def read(self, name: str, now: float) -> Content | None:
        """Return the content of a live entry, which thereby was read once more."""
        record = self.records.get(name)
        if record is None or (content := record.content) is None or content[2] <= now:
            return None
        if record.reads < MOST_READS:
            record.reads += 1
        return content

    def live(self, name: str, now: float) -> Content | None:
        """Return the content of an entry that has not expired."""
        record = self.records.get(name)
        content = None if record is None else record.content
        return content if content is not None and content[2] > now else None

    def _change(self, work: Callable[[], T], otherwise: T) -> T:
        """Change entries, alone; ``otherwise``: what is said of a change that is done later."""
        with self.lock:
            if self._is_changing:
                self._later.append(work)
                return otherwise
            self._is_changing = True
            try:
                if self._later or not self._is_whole:
                    self._catch_up()
                return work()
            finally:
                try:
                    if self._later:
                        self._catch_up()
                finally:  # without a call, before which such an exception could come
                    self._is_changing = False

    def _catch_up(self) -> None:
        """Queue anew what an interrupted change has left, and do what was wanted meanwhile."""
        if not self._is_whole:
            self._small, self._main, self._ghosts = Queue(), Queue(), Ghosts()
            self._dead = 0
            for record in self.records.values():
                self._queue_of(record).append(record)
            self._is_whole = True
        while self._later:
            self._later.popleft()()

    def _put_many(self, items: Mapping[str, Frozen], expires: float) -> list[str]:
        return [name for name, frozen in items.items() if not self._put(name, frozen, expires)]

    def _replace(self, name: str, now: float, change: Change) -> Frozen | None:
        content = self.live(name, now)
        changed = None if content is None else change(content)
        if changed is None:
            return None
        self._put(name, *changed)
        return changed[0]

    def _touch(self, name: str, expires: float, now: float) -> bool:
        content = self.live(name, now)
        if content is None:
            return False
        self.records[name].content = (content[0], content[1], expires)
        return True

    def _delete(self, names: Iterable[str], now: float) -> int:
        found = 0
        for name in names:
            found += self.live(name, now) is not None
            self._remove(name)
        return found

    def _clear(self) -> None:
        self._is_whole = False
        self.records.clear()
        self._small, self._main, self._ghosts = Queue(), Queue(), Ghosts()
        self._dead = 0
        self._is_whole = True

    def _put(self, name: str, frozen: Frozen, expires: float) -> bool:
        value, is_pickled, size = frozen
        size += len(name) + RECORD_BYTES
        if size > self.max_bytes:
            self._remove(name)  # what is there is older
            return False
        self._is_whole = False
        record = self.records.get(name)
        if record is None:
            record = Record(name, (value, is_pickled, expires), size, name in self._ghosts)
            self.records[name] = record
            (self._main if record.is_in_main else self._small).append(record)
        else:
            record.content = (value, is_pickled, expires)
            (self._main if record.is_in_main else self._small).bytes += size - record.bytes
            record.bytes = size
        if self._small.bytes + self._main.bytes > self.max_bytes or (
            self.max_entries is not None and len(self.records) > self.max_entries
        ):
            self._evict()
        self._is_whole = True
        return True

    def _queue_of(self, record: Record) -> Queue:
        return self._main if record.is_in_main else self._small

    def _remove(self, name: str) -> None:
        if name not in self.records:
            return
        self._is_whole = False
        record = self.records.pop(name)
        record.content = None
        self._queue_of(record).forget(record)
        self._dead += 1
        if self._dead > MOST_DEAD + len(self.records):
            self._drop_dead()
        self._is_whole = True

    def _drop_dead(self) -> None:
        for queue in (self._small, self._main):
            queue.records = deque(one for one in queue.records if one.content is not None)
        self._dead = 0

    def _evict(self) -> None:
        """Make room, until the store is within its bounds."""
        self._is_whole = False
        now = time.time()
        while (over := self.bytes > self.max_bytes) or (
            self.max_entries is not None and len(self.records) > self.max_entries
        ):
            if over:
                small_is_full = self._small.bytes > SMALL_PART * self.max_bytes
            else:
                small_is_full = self._small.entries > SMALL_PART * len(self.records)
            if self._small.entries and (small_is_full or not self._main.entries):
                self._evict_from_small(now)
            else:
                self._evict_from_main(now)
        self._is_whole = True

    def _evict_from_small(self, now: float) -> None:
        """Move the oldest to the main queue if it was read, else let it go."""
        record = self._small.records.popleft()
        if record.content is None:
            self._dead -= 1
        elif record.reads >= READS_TO_STAY and record.content[2] > now:
            self._small.forget(record)
            record.reads, record.is_in_main = 0, True
            self._main.append(record)
        else:
            self._let_go(record)
            self._ghosts.add(record.name, len(self.records))

    def _evict_from_main(self, now: float) -> None:
        """Let the oldest go, unless it was read since it last came by."""
        record = self._main.records.popleft()
        if record.content is None:
            self._dead -= 1
        elif record.reads and record.content[2] > now:
            record.reads -= 1
            self._main.records.append(record)
        else:
            self._let_go(record)

    def _let_go(self, record: Record) -> None:
        del self.records[record.name]
        self._queue_of(record).forget(record)
        record.content = None
        self.evictions += 1
        self._cell.evictions += 1


_stores: weakref.WeakSet[MemoryStore] = weakref.WeakSet()
_held_for_fork: list[MemoryStore] = []


def hold_stores_before_fork() -> None:
    """Wait until no other thread is in the middle of a change, which a child would inherit."""
    for store in list(_stores):
        store.lock.acquire()
        _held_for_fork.append(store)


def release_stores_after_fork() -> None:
    """Let the parent's threads and the child's only one go on.

    The forking thread holds all these locks, and it is the one that goes on in the child too.
    """
    while _held_for_fork:
        _held_for_fork.pop().lock.release()


os.register_at_fork(
    before=hold_stores_before_fork,
    after_in_parent=release_stores_after_fork,
    after_in_child=release_stores_after_fork,
)
