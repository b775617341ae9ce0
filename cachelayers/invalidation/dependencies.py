"""Collect the dependencies of a value while it is computed: its tags, with their log positions.

The execute wrapper adds to the running captures. The recall that began a capture stores them.
"""

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

from cachelayers.invalidation.invalidating import tags_of_row
from cachelayers.invalidation.log import Dependency, Reading
from cachelayers.invalidation.reports import warn_of_draft_once, warn_of_old_permissions_once
from cachelayers.invalidation.tags import (
    CLOCK,
    table_instead_of_row,
    table_tag,
    without_many_rows,
)
from cachelayers.invalidation.tracked import tracked_tables
from cachelayers.invalidation.units import Unit, active_unit
from cachelayers.utils.captures import running_captures

Location = tuple[int, int]  # of a thread, and of an asyncio task or 0


class Capture:
    """The dependencies collected so far. Several threads may add to one capture."""

    def __init__(self, unit: Unit, *, collects: bool = True, freshness: float = 0.0) -> None:
        """``unit`` gives the positions. Without ``collects``, only the ``is_...`` flags are set.

        ``freshness``: so old may be what nested recalls know of the log, in seconds.
        """
        self.unit = unit
        self.collects = collects
        self.freshness = freshness
        # The value was made from uncommitted data, or from data of an unknown position: do not
        # share it.
        self.is_unstorable = False
        # The value was made from untracked tables: only its timeout limits its age.
        self.is_untracked = False
        # The value depends on the time or on chance: only its timeout limits its age.
        self.asks_clock = False
        self.outer: Capture | None = None  # the capture around this one
        self._location: Location | None = None
        self._positions: dict[str, Reading] = {}
        self._tags: dict[str, dict[str, None]] = {}

    def begin(self, outer: Capture | None) -> None:
        """Collect the reads of this thread and task. ``outer``: the capture around this one."""
        self.outer, self._location = outer, current_location()

    def is_current(self) -> bool:
        """Return whether this capture was begun in this thread and task: contexts can be copied."""
        return self._location == current_location() and id(self) in running_captures

    def note_tags(self, database: str, tags: Iterable[str]) -> None:
        """Add tags whose data is about to be read."""
        if self.collects:
            try:
                self.add(database, self.unit.position(database), tags)
            except DatabaseError:
                self.is_unstorable = True

    def add(self, database: str, reading: Reading, tags: Iterable[str]) -> None:
        """Add tags with the position at which they were read. The oldest position counts.

        Positions of two incarnations cannot be compared: a backup was restored in between.
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

    def add_nested(self, inner: Capture) -> None:
        """Add the dependencies of a nested recall."""
        self.is_unstorable |= inner.is_unstorable
        if self.collects:
            self.is_untracked |= inner.is_untracked
            self.asks_clock |= inner.asks_clock
            for dependency in inner.dependencies():
                self.add_dependency(dependency)

    def add_dependency(self, dependency: Dependency) -> None:
        """Add a dependency of an entry that was found."""
        if self.collects:
            reading = Reading(dependency.incarnation, dependency.position)
            self.add(dependency.database, reading, dependency.tags)

    def earlier_dependencies(self) -> list[Dependency]:
        """Return what the unit and the captures around this one have read so far."""
        found = self.unit.dependencies()
        outer = self.outer
        while outer is not None:
            found += outer.dependencies()
            outer = outer.outer
        return found

    def dependencies(self) -> list[Dependency]:
        return [
            Dependency(database, *self._positions[database], without_many_rows(list(tags)))
            for database, tags in list(self._tags.items())
        ]

    def reads_many_rows(self, database: str, tag: str) -> bool:
        """Return whether an entry depends on a whole table only because it has too many rows."""
        tags = self._tags.get(database, {})
        return tag not in tags and any(table_instead_of_row(one) == tag for one in tags)


_capture: ContextVar[Capture | None] = ContextVar("cachelayers_capture", default=None)


@contextmanager
def capturing(capture: Capture) -> Iterator[None]:
    """Collect the reads of the block in ``capture``, and add them to the capture around it."""
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
            taker.add_nested(capture)
        if outer is None:
            capture.unit.add_dependencies(
                capture.dependencies(), is_shareable=not capture.is_unstorable
            )


def current_location() -> Location:
    """Return the current thread, and the current asyncio task if there is one."""
    # Without an event loop there is no task, and current_task() would raise an exception.
    task = None if _get_running_loop() is None else current_task()
    return get_ident(), 0 if task is None else id(task)


def current_capture() -> Capture | None:
    """Return the innermost running capture of this context."""
    capture = _capture.get()
    return capture if capture is not None and id(capture) in running_captures else None


def capture_here() -> Capture | None:
    """Return the capture that was begun in this thread and task, if there is one."""
    if not running_captures:  # as almost always
        return None
    capture = _capture.get()
    return capture if capture is not None and capture.is_current() else None


def listening_captures() -> list[Capture]:
    """Return the captures to which a read made here may belong.

    That is the capture of the context, if it was begun in this thread and task. Elsewhere the
    context was copied, maybe for an earlier computation, maybe on behalf of several (a batch of a
    DataLoader, a thread pool). Such a read may belong to any running capture, so all of them get
    it: an unneeded tag costs a miss, a missing tag a stale value.
    """
    if not running_captures:  # as almost always
        return []
    if (capture := capture_here()) is not None:
        return [capture]
    unit = active_unit()
    if _capture.get() is None and unit is not None and unit.is_independent:
        return []
    return list(running_captures.values())


# The attributes in which Django caches a user's permissions, and the table they are read from.
MEMOS_OF_PERMISSIONS = frozenset({"_perm_cache", "_user_perm_cache", "_group_perm_cache"})
PERMISSIONS = "auth_permission"
# They cannot contain a model instance.
PLAIN_TYPES = frozenset({NoneType, bool, int, float, str, bytes})


def add_all_dependencies(capture: Capture) -> None:
    """Add everything that was read so far by the unit and the captures around this one."""
    unit = capture.unit
    capture.is_unstorable |= unit.has_read_uncommitted() or unit.may_depend_on_unknown()
    for dependency in capture.earlier_dependencies():
        capture.add_dependency(dependency)


def add_instance(capture: Capture, instance: Model, path: Sequence[Model] = ()) -> bool:
    """Add an instance's row and the related rows it holds. Return whether it holds nothing else."""
    if any(instance is one for one in path):
        return True
    if is_draft(instance):
        refuse_draft([capture])
        return False
    try:
        tags_by_database = tags_of_row(instance)
    except DatabaseError:  # the database could not list its views
        capture.is_unstorable = True
        return False
    refuse_old_permissions(capture, instance)
    # The instance may have been read in a transaction that was rolled back since.
    capture.is_unstorable |= capture.unit.has_read_uncommitted()
    for database, tags in tags_by_database.items():
        capture.note_tags(database, tags)
        for reading in capture.unit.positions_around(database):
            capture.add(database, reading, tags)  # the row may have been read in an outer unit
    is_clear = attributes_of_row(type(instance)).issuperset(vars(instance))
    for name, found in list(instance._state.fields_cache.items()):
        related = without_laziness(found)
        if isinstance(related, Model):
            is_clear &= add_instance(capture, related, [*path, instance])
        else:  # None: a foreign key's column says so, the row of another table does not
            is_clear &= name in foreign_keys_of(type(instance))
    return is_clear


def is_draft(instance: Model) -> bool:
    """Return whether an instance says itself that its values were not read from a database."""
    return instance._state.adding or instance._state.db is None


def refuse_old_permissions(capture: Capture, user: Model) -> None:
    """Do not store a value made from a user whose permissions are older than the unit of work.

    A websocket consumer, for example, may hold a user after the unit of work that loaded it has
    ended.
    """
    if MEMOS_OF_PERMISSIONS.isdisjoint(vars(user)):
        return
    database = user._state.db
    if database is None or PERMISSIONS not in tracked_tables(database):
        return  # permissions are not tracked
    tag = table_tag(PERMISSIONS)
    if not any(
        tag in one.tags for one in [*capture.dependencies(), *capture.earlier_dependencies()]
    ):
        capture.is_unstorable = True
        warn_of_old_permissions_once()


def refuse_draft(captures: Iterable[Capture]) -> None:
    """Do not store values made from a draft: only its editor may be allowed to see it."""
    for capture in captures:
        capture.is_unstorable = True
    warn_of_draft_once()


@lru_cache(maxsize=1024)
def attributes_of_row(model: type[Model]) -> frozenset[str]:
    """Return the attributes of an instance that holds only its row."""
    return frozenset({"_state", *(field.attname for field in model._meta.concrete_fields)})


@lru_cache(maxsize=1024)
def foreign_keys_of(model: type[Model]) -> frozenset[str]:
    """Return the names of the foreign keys, whose value is part of the row."""
    return frozenset(field.name for field in model._meta.concrete_fields if field.is_relation)


def rows_in(value: object) -> Iterator[Model]:
    """Yield the model instances in a value that has a canonical form, and is therefore finite."""
    value = without_laziness(value)
    if isinstance(value, Model):
        yield value
        return
    if isinstance(value, (type, enum.Enum)):
        return  # a class or member is code, and its attributes lead to all other code
    parts: list[Any] = [object.__getstate__(value)]
    if isinstance(value, Mapping):
        parts += [*value.keys(), *value.values()]
    elif isinstance(value, (list, tuple, set, frozenset)):
        parts += value
    for part in parts:
        if type(part) not in PLAIN_TYPES:
            yield from rows_in(part)


def without_laziness(value: Any) -> object:
    """Return the object behind a lazy object, or None if it was not evaluated yet.

    isinstance() would evaluate a lazy object, because it asks for its class.
    """
    while issubclass(type(value), LazyObject):
        value = value._wrapped  # it may be another lazy object
    return None if value is empty else value
