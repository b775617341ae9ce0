"""Count the operations of this process's caches.

Backends and recalls write the counts, and `statistics` reads them. Frequent operations are counted
in cells: plain numbers that are incremented without a lock, in a thirtieth of a microsecond. The
interpreter's lock prevents lost counts; in a free-threaded build, two threads may sometimes lose
one.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from operator import add, sub
from typing import NamedTuple, Self

from cachelayers.conf import implied_layer
from cachelayers.utils.locks import ForkSafeLock

Name = tuple[str, str]  # cache alias, and layer alias or "" for the cache as a whole

# In the table of statistics, stands for a cache if the rest of the name is an untracked table.
UNTRACKED_TABLES = "?"
LONGEST_NAME = 100  # of that table's columns


class Figures(NamedTuple):
    """The number of each operation, and two times in seconds."""

    # Look-ups in a cache or one of its layers, and writes.
    hits: int = 0
    misses: int = 0
    sets: int = 0
    evictions: int = 0
    errors: int = 0
    # Results of recalls: a fresh or stale entry, a value that they computed, or one that another
    # thread (joined) or another process (waited) computed at that moment.
    fresh: int = 0
    stale: int = 0
    computed: int = 0
    joined: int = 0
    waited: int = 0
    saved_seconds: float = 0.0  # the computing time of values served fresh or stale
    computing_seconds: float = 0.0

    @property
    def hit_ratio(self) -> float | None:
        """Return the share of look-ups that found something, or None if there were none."""
        looked_up = self.hits + self.misses
        return self.hits / looked_up if looked_up else None

    def plus(self, other: Figures) -> Figures:
        return Figures(*map(add, self, other))

    def minus(self, other: Figures) -> Figures:
        return Figures(*map(sub, self, other))


class Cell:
    """The figures of one cache or layer in this process, incremented in place."""

    __slots__ = Figures._fields

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.hits = self.misses = self.sets = self.evictions = self.errors = 0
        self.fresh = self.stale = self.computed = self.joined = self.waited = 0
        self.saved_seconds = self.computing_seconds = 0.0

    def figures(self) -> Figures:
        return Figures(*(getattr(self, name) for name in Figures._fields))


_cells: dict[Name, Cell] = {}
_cells_of_caches: dict[str, Cell] = {}  # the same, by cache only: each recall reads it


def cell_of(cache: str, layer: str = "") -> Cell:
    """Return the cell of a cache or of its layer. All threads share it."""
    cell = _cells.get((cache, layer))
    if cell is None:
        cell = _cells.setdefault((cache, layer), Cell())
        if not layer:
            _cells_of_caches[cache] = cell
    return cell


def cell_of_cache(cache: str) -> Cell:
    """Return the cell of a cache as a whole."""
    return _cells_of_caches.get(cache) or cell_of(cache)


class Counts:
    """The number of rare events since the process began, by cache alias and by name."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = ForkSafeLock()

    def add(self, alias: str, name: str, amount: int = 1) -> None:
        """Add ``amount``. Only for rare events, because it takes a lock."""
        with self._lock:
            self._counts[alias, name] += amount

    def of(self, alias: str, name: str) -> int:
        """Return how often ``name`` happened in ``alias``."""
        return self._counts[alias, name]

    def all(self) -> dict[tuple[str, str], int]:
        """Return all counts, by alias and name."""
        with self._lock:
            return dict(self._counts)

    def figures(self) -> dict[str, Figures]:
        """Return the counts whose names are fields of Figures, by alias."""
        summed: dict[str, Figures] = {}
        for (alias, name), amount in self.all().items():
            if name in Figures._fields:
                known = summed.get(alias, Figures())
                summed[alias] = known._replace(**{name: getattr(known, name) + amount})
        return summed

    def reset(self) -> None:
        self._counts.clear()


counts = Counts()
# Reads of tables whose changes do not invalidate, by alias of DATABASES and by table.
untracked_reads = Counts()


def figures_of_process() -> Mapping[Name, Figures]:
    """Return all figures of this process.

    A hit is counted once, in the layer; the cache's hits include those of its layers.
    """
    found = {name: cell.figures() for name, cell in list(_cells.items())}
    for (cache, layer), figures in list(found.items()):
        if layer:
            whole = found.get((cache, ""), Figures())
            found[cache, ""] = whole._replace(hits=whole.hits + figures.hits)
    for alias, figures in counts.figures().items():
        implied = implied_layer(alias)
        name = (implied.cache, implied.name) if implied else (alias, "")
        found[name] = found.get(name, Figures()).plus(figures)
    return found


def figures_to_write() -> Mapping[Name, Figures]:
    """Return all figures of this process for the table of statistics.

    Reads of untracked tables are misses there.
    """
    untracked = {
        (UNTRACKED_TABLES, f"{database}:{table}"[:LONGEST_NAME]): Figures(misses=reads)
        for (database, table), reads in untracked_reads.all().items()
    }
    return {**figures_of_process(), **untracked}


class Heartbeat:
    """Wakes the writer of the statistics. Checked when a unit of work ends."""

    def __init__(self) -> None:
        self.is_asleep = False
        self._wake: Callable[[], None] | None = None

    def connect(self, wake: Callable[[], None]) -> Self:
        """Call ``wake`` at the next beat."""
        self._wake, self.is_asleep = wake, True
        return self

    def beat(self) -> None:
        """Wake the writer. Callers check ``is_asleep`` first, which is cheaper."""
        if self._wake is not None:
            self._wake()


heartbeat = Heartbeat()


def begin_anew_after_fork() -> None:
    """Reset the counts in a child: the parent writes its own."""
    for cell in _cells.values():
        cell.reset()
    counts.reset()
    untracked_reads.reset()


os.register_at_fork(after_in_child=begin_anew_after_fork)
