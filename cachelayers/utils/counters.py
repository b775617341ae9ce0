"""Count what the caches of this process do. Written by every floor above, read by statistics.

What happens all the time is counted in cells: plain numbers that are added to without a lock, which
costs a thirtieth of a microsecond. The interpreter's own lock sees to it that no count is lost; in
a build without it two threads may lose one now and then.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from operator import add, sub
from typing import NamedTuple, Self

from cachelayers.utils.locks import ForkSafeLock

Name = tuple[str, str]  # cache alias, and layer alias or "" for the cache as a whole


class Figures(NamedTuple):
    """How often each thing has happened, and two times in seconds."""

    # Look-ups in a cache or in one of its layers, and what it was told to store.
    hits: int = 0
    misses: int = 0
    sets: int = 0
    evictions: int = 0
    errors: int = 0
    # What recalls got: a fresh or stale entry, one that they computed, one that another thread or
    # another process was computing just then.
    fresh: int = 0
    stale: int = 0
    computed: int = 0
    joined: int = 0
    waited: int = 0
    saved_seconds: float = 0.0  # what it once took to compute what was served fresh or stale
    computing_seconds: float = 0.0

    @property
    def hit_ratio(self) -> float | None:
        """Return which part of the look-ups found something; None: there were none."""
        looked_up = self.hits + self.misses
        return self.hits / looked_up if looked_up else None

    def plus(self, other: Figures) -> Figures:
        """Return both together."""
        return Figures(*map(add, self, other))

    def minus(self, other: Figures) -> Figures:
        """Return what is here and not there."""
        return Figures(*map(sub, self, other))


class Cell:
    """The figures of one cache or layer in this process, to be added to in place."""

    __slots__ = Figures._fields

    def __init__(self) -> None:
        """Start at zero."""
        self.reset()

    def reset(self) -> None:
        """Start again."""
        self.hits = self.misses = self.sets = self.evictions = self.errors = 0
        self.fresh = self.stale = self.computed = self.joined = self.waited = 0
        self.saved_seconds = self.computing_seconds = 0.0

    def figures(self) -> Figures:
        """Return them as they are now."""
        return Figures(*(getattr(self, name) for name in Figures._fields))


_cells: dict[Name, Cell] = {}
_cells_of_caches: dict[str, Cell] = {}  # the same, by the cache alone: each recall asks


def cell_of(cache: str, layer: str = "") -> Cell:
    """Return where a cache, or its layer, is counted: the same for all threads."""
    cell = _cells.get((cache, layer))
    if cell is None:
        cell = _cells.setdefault((cache, layer), Cell())
        if not layer:
            _cells_of_caches[cache] = cell
    return cell


def cell_of_cache(cache: str) -> Cell:
    """Return where a cache as a whole is counted."""
    return _cells_of_caches.get(cache) or cell_of(cache)


class Counts:
    """How often something rare happened, by cache alias and by name, since the process began."""

    def __init__(self) -> None:
        """Start at zero."""
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = ForkSafeLock()

    def add(self, alias: str, name: str, amount: int = 1) -> None:
        """Count ``amount`` more; only for what is rare, since it takes a lock."""
        with self._lock:
            self._counts[alias, name] += amount

    def of(self, alias: str, name: str) -> int:
        """Return how often ``name`` happened in ``alias``."""
        return self._counts[alias, name]

    def figures(self) -> dict[str, Figures]:
        """Return what has a place among the figures, by alias."""
        with self._lock:
            found = [(key, amount) for key, amount in self._counts.items()]
        summed: dict[str, Figures] = {}
        for (alias, name), amount in found:
            if name in Figures._fields:
                known = summed.get(alias, Figures())
                summed[alias] = known._replace(**{name: getattr(known, name) + amount})
        return summed

    def reset(self) -> None:
        """Start at zero again."""
        self._counts.clear()


counts = Counts()


def figures_of_process() -> Mapping[Name, Figures]:
    """Return everything that this process has counted. Hits of layers are hits of the cache too.

    So a hit is counted once, where it costs least: in the layer.
    """
    found = {name: cell.figures() for name, cell in list(_cells.items())}
    for (cache, layer), figures in list(found.items()):
        if layer:
            whole = found.get((cache, ""), Figures())
            found[cache, ""] = whole._replace(hits=whole.hits + figures.hits)
    for alias, figures in counts.figures().items():
        found[alias, ""] = found.get((alias, ""), Figures()).plus(figures)
    return found


class Heartbeat:
    """Wakes whoever writes the counts down. Looked at when a unit of work ends."""

    def __init__(self) -> None:
        """Sleep, until somebody says what is to be woken."""
        self.is_asleep = False
        self._wake: Callable[[], None] | None = None

    def connect(self, wake: Callable[[], None]) -> Self:
        """Have ``wake`` called when something may have been counted, while it is asleep."""
        self._wake, self.is_asleep = wake, True
        return self

    def beat(self) -> None:
        """Wake it; callers look at ``is_asleep`` before, which costs them less."""
        if self._wake is not None:
            self._wake()


heartbeat = Heartbeat()


def begin_anew_after_fork() -> None:
    """Count from zero: what the parent has counted, the parent writes."""
    for cell in _cells.values():
        cell.reset()
    counts.reset()


os.register_at_fork(after_in_child=begin_anew_after_fork)
