"""Collect what a block of code reads, each with the log position at which it was read."""

from __future__ import annotations

import enum
from asyncio import _get_running_loop, current_task
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from threading import get_ident
from types import NoneType
from typing import Any

from django.db import DatabaseError
from django.db.models import Model
from django.utils.functional import LazyObject, empty

from cachelayers.invalidation.invalidate import tags_of_row
from cachelayers.invalidation.log import Dependency, Reading
from cachelayers.invalidation.reports import warn_of_draft_once, warn_of_old_permissions_once
from cachelayers.invalidation.tags import CLOCK, table_tag, without_many_rows
from cachelayers.invalidation.tracked import tracked_tables
from cachelayers.invalidation.units import Unit, living_unit
from cachelayers.utils.captures import running_captures

Location = tuple[int, int]  # thread, and task or 0


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
        self._location: Location | None = None  # where it captures
        self._positions: dict[str, Reading] = {}
        self._tags: dict[str, dict[str, None]] = {}

    def begin(self, outer: Capture | None) -> None:
        """Capture what is read here from now on; ``outer``: the one around it."""
        self.outer, self._location = outer, current_location()

    def is_current(self) -> bool:
        """Tell whether it captures in this thread and task; a copied context may name it too."""
        return self._location == current_location() and id(self) in running_captures

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

    def earlier_dependencies(self) -> list[Dependency]:
        """Return what was read until now: by the unit, and by the captures around this one."""
        found = self.unit.dependencies()
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
            capture.unit.add_dependencies(
                capture.dependencies(), is_shareable=not capture.is_unstorable
            )


def current_location() -> Location:
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
    return capture if capture is not None and capture.is_current() else None


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


# Where Django's users keep what they are allowed, and the table that it is read from.
MEMOS_OF_PERMISSIONS = frozenset({"_perm_cache", "_user_perm_cache", "_group_perm_cache"})
PERMISSIONS = "auth_permission"
PLAIN = frozenset({NoneType, bool, int, float, str, bytes})  # in which there is no row


def add_all_dependencies(capture: Capture) -> None:
    """Depend on all that was read until now."""
    unit = capture.unit
    capture.is_unstorable |= unit.has_read_uncommitted() or unit.may_depend_on_unknown()
    for dependency in capture.earlier_dependencies():
        capture.add_dependency(dependency)


def add_instance(capture: Capture, instance: Model, path: Sequence[Model] = ()) -> bool:
    """Depend on an instance's row, and on those read with it. Tell whether that is all it holds."""
    if any(instance is one for one in path):
        return True
    if is_draft(instance):
        mistrust_draft([capture])
        return False
    try:
        tags_by_database = tags_of_row(instance)
    except DatabaseError:  # it could not be asked what is a view
        capture.is_unstorable = True
        return False
    mistrust_old_permissions(capture, instance)
    # It may have been read in a transaction that was rolled back since.
    capture.is_unstorable |= capture.unit.has_read_uncommitted()
    for database, tags in tags_by_database.items():
        capture.note_tags(database, tags)
        for reading in capture.unit.positions_around(database):
            capture.add(database, reading, tags)  # it may have been read there, so earlier
    is_clear = attributes_of_row(type(instance)).issuperset(vars(instance))
    for name, found in list(instance._state.fields_cache.items()):
        related = without_laziness(found)
        if isinstance(related, Model):
            is_clear &= add_instance(capture, related, [*path, instance])
        else:  # none: of a foreign key the row says so, of a row elsewhere it does not
            is_clear &= name in foreign_keys_of(type(instance))
    return is_clear


def is_draft(instance: Model) -> bool:
    """Tell an instance whose values no database holds, as far as it says so itself."""
    return instance._state.adding or instance._state.db is None


def mistrust_old_permissions(capture: Capture, user: Model) -> None:
    """Keep nothing that is made of a user whose permissions were read when nobody noticed.

    As those of a user that a consumer of a websocket holds, since its unit of work is over.
    """
    if MEMOS_OF_PERMISSIONS.isdisjoint(vars(user)):
        return
    database = user._state.db
    if database is None or PERMISSIONS not in tracked_tables(database):
        return  # changes of permissions end nothing anyway
    tag = table_tag(PERMISSIONS)
    if not any(
        tag in one.tags for one in [*capture.dependencies(), *capture.earlier_dependencies()]
    ):
        capture.is_unstorable = True
        warn_of_old_permissions_once()


def mistrust_draft(captures: Iterable[Capture]) -> None:
    """Have nothing kept that is made of a draft: it may be for its editor's eyes only."""
    for capture in captures:
        capture.is_unstorable = True
    warn_of_draft_once()


@lru_cache(maxsize=1024)
def attributes_of_row(model: type[Model]) -> frozenset[str]:
    """Return the attributes of an instance that holds its row and nothing else."""
    return frozenset({"_state", *(field.attname for field in model._meta.concrete_fields)})


@lru_cache(maxsize=1024)
def foreign_keys_of(model: type[Model]) -> frozenset[str]:
    """Return the names of the fields by which a row says itself what it is related to."""
    return frozenset(field.name for field in model._meta.concrete_fields if field.is_relation)


def rows_in(value: object) -> Iterator[Model]:
    """Yield the instances in what has a spelling, and so an end: a container, what a list adds."""
    value = without_laziness(value)
    if isinstance(value, Model):
        yield value
        return
    if isinstance(value, (type, enum.Enum)):
        return  # a name in the code. What its class holds leads to all other code.
    parts: list[Any] = [object.__getstate__(value)]
    if isinstance(value, Mapping):
        parts += [*value.keys(), *value.values()]
    elif isinstance(value, (list, tuple, set, frozenset)):
        parts += value
    for part in parts:
        if type(part) not in PLAIN:
            yield from rows_in(part)


def without_laziness(value: Any) -> object:
    """Return what a lazy object stands for, or None for one that was not used yet.

    To ask a lazy object for its class would be to use it.
    """
    while issubclass(type(value), LazyObject):
        value = value._wrapped  # it may be another lazy object
    return None if value is empty else value
