"""Collect what a block of code reads: tags per database, with the position they were read at.

The wrapper around every statement adds to it; recall stores it with the value.
"""

from __future__ import annotations

from asyncio import _get_running_loop, current_task
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import get_ident

from django.db import DatabaseError

from cachelayers.computes import running_captures
from cachelayers.invalidation.log import Dependency, Reading
from cachelayers.invalidation.tags import CLOCK, without_many_rows
from cachelayers.invalidation.units import Unit, living_unit

Place = tuple[int, int]  # thread, and task or 0


class Capture:
    """What was read so far. Filled by several threads, where the block starts some."""

    def __init__(self, unit: Unit, *, collects: bool = True) -> None:
        """``unit`` gives the positions; without ``collects`` only mistrust is noted."""
        self.unit = unit
        self.collects = collects
        # It was made from what is not committed, or when is not known: nobody else may see it.
        self.is_unstorable = False
        # It was made from tables that are not tracked: only its timeout bounds its age.
        self.is_untracked = False
        # It was made of the time, or of chance: only a timeout bounds its age too.
        self.asks_clock = False
        self.outer: Capture | None = None  # the one around it, while it captures
        self._place: Place | None = None  # where it captures
        self._positions: dict[str, Reading] = {}
        self._tags: dict[str, dict[str, None]] = {}

    def begin(self, outer: Capture | None) -> None:
        """Capture what is read here from now on; ``outer``: the one around it."""
        self.outer, self._place = outer, here()

    def is_here(self) -> bool:
        """Tell whether it captures in this thread and task; a copied context may name it too."""
        return self._place == here() and id(self) in running_captures

    def note_tags(self, database: str, tags: Iterable[str]) -> None:
        """Depend on tags whose data is about to be read."""
        if self.collects:
            try:
                self.add(database, self.unit.position(database), tags)
            except DatabaseError:
                self.is_unstorable = True

    def add(self, database: str, reading: Reading, tags: Iterable[str]) -> None:
        """Depend on tags as they were at a position; of several positions the oldest counts.

        Those of two incarnations cannot be compared: a backup was restored in between.
        """
        known = self._positions.setdefault(database, reading)
        if reading.incarnation != known.incarnation:
            self.is_unstorable = True
        elif reading.watermark < known.watermark:
            self._positions[database] = reading
        known_tags = self._tags.setdefault(database, {})
        for tag in tags:
            known_tags[tag] = None
        self.asks_clock |= CLOCK in known_tags

    def take_over(self, inner: Capture) -> None:
        """Depend on what a nested recall depends on."""
        self.is_unstorable |= inner.is_unstorable
        if self.collects:
            self.is_untracked |= inner.is_untracked
            self.asks_clock |= inner.asks_clock
            for dependency in inner.dependencies():
                self.add_dependency(dependency)

    def add_dependency(self, dependency: Dependency) -> None:
        """Depend on what an entry depends on that was found."""
        if self.collects:
            reading = Reading(dependency.incarnation, dependency.position)
            self.add(dependency.database, reading, dependency.tags)

    def seen_before(self) -> list[Dependency]:
        """Return what was read until now: by the unit, and by the captures around this one."""
        found = self.unit.seen()
        outer = self.outer
        while outer is not None:
            found += outer.dependencies()
            outer = outer.outer
        return found

    def dependencies(self) -> list[Dependency]:
        """Return all of it."""
        return [
            Dependency(database, *self._positions[database], without_many_rows(list(tags)))
            for database, tags in list(self._tags.items())
        ]


_capture: ContextVar[Capture | None] = ContextVar("cachelayers_capture", default=None)


@contextmanager
def capturing(capture: Capture) -> Iterator[None]:
    """Have ``capture`` notice what the block reads, and hand it on to the one around it."""
    outer, takers = current_capture(), listening_captures()
    capture.begin(outer)
    token = _capture.set(capture)
    running_captures[id(capture)] = capture
    try:
        yield
    finally:
        del running_captures[id(capture)]
        _capture.reset(token)
        for taker in takers:
            taker.take_over(capture)
        if outer is None:
            capture.unit.note_seen(capture.dependencies(), is_shareable=not capture.is_unstorable)


def here() -> Place:
    """Return the thread, and in async code the task, that this runs in."""
    # Without an event loop there is no task to ask for, and asking takes an exception.
    task = None if _get_running_loop() is None else current_task()
    return get_ident(), 0 if task is None else id(task)


def current_capture() -> Capture | None:
    """Return the innermost capture of this context, if it still captures."""
    capture = _capture.get()
    return capture if capture is not None and id(capture) in running_captures else None


def capture_here() -> Capture | None:
    """Return the capture of this very thread and task, if one listens."""
    if not running_captures:  # as almost always
        return None
    capture = _capture.get()
    return capture if capture is not None and capture.is_here() else None


def listening_captures() -> list[Capture]:
    """Return the captures that what is read here may belong to.

    The capture of the context, where it captures in this very thread and task. Elsewhere the
    context was copied, maybe for an earlier compute, maybe on behalf of several: a batch of a
    DataLoader, a pool of threads. Such a place cannot be told from one that has nothing to do with
    any capture, so it counts for all that run: a tag too many costs a miss, a tag too few a stale
    value.
    """
    if not running_captures:  # as almost always
        return []
    if (capture := capture_here()) is not None:
        return [capture]
    unit = living_unit()
    if _capture.get() is None and unit is not None and unit.is_independent:
        return []
    return list(running_captures.values())
