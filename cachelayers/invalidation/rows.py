"""Depend on rows that were read before: instances, what came with them, all that a unit has seen.

What is read in a compute is noticed as it is read. What a view hands in is not: it is looked at.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from types import NoneType
from typing import Any

from django.db import DatabaseError
from django.db.models import Model
from django.utils.functional import LazyObject, empty

from cachelayers.invalidation.capture import Capture
from cachelayers.invalidation.invalidate import tags_of_row
from cachelayers.invalidation.reports import warn_of_draft_once, warn_of_old_permissions_once
from cachelayers.invalidation.tags import table_tag
from cachelayers.invalidation.tracked import tracked_tables

# Where Django's users keep what they are allowed, and the table that it is read from.
MEMOS_OF_PERMISSIONS = frozenset({"_perm_cache", "_user_perm_cache", "_group_perm_cache"})
PERMISSIONS = "auth_permission"
PLAIN = frozenset({NoneType, bool, int, float, str, bytes})  # in which there is no row


def add_all_seen(capture: Capture) -> None:
    """Depend on all that was read until now."""
    unit = capture.unit
    capture.is_unstorable |= unit.has_seen_uncommitted() or unit.may_show_unknown()
    for dependency in capture.seen_before():
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
    capture.is_unstorable |= capture.unit.has_seen_uncommitted()
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
    if not any(tag in one.tags for one in [*capture.dependencies(), *capture.seen_before()]):
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
