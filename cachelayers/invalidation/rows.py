"""Depend on rows that were read before: instances, what came with them, all that a unit has seen.

What is read in a compute is noticed as it is read. What a view hands in is not: it is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Any

from django.db.models import Model
from django.utils.functional import LazyObject, empty

from cachelayers.invalidation.capture import Capture
from cachelayers.invalidation.invalidate import tags_of_row

DEEPEST = 20  # levels of containers; what is deeper is not looked at


def add_instances(capture: Capture, instances: Sequence[Model]) -> None:
    """Depend on instances; where one holds more than its row, on all that was read until now."""
    are_clear = [add_instance(capture, instance) for instance in instances]
    if not all(are_clear):
        add_all_seen(capture)


def add_all_seen(capture: Capture) -> None:
    """Depend on all that was read until now."""
    capture.is_unstorable |= capture.unit.has_seen_unshareable
    for dependency in capture.seen_before():
        capture.add_dependency(dependency)


def add_instance(capture: Capture, instance: Model, path: Sequence[Model] = ()) -> bool:
    """Depend on an instance's row, and on those read with it. Tell whether that is all it holds."""
    if any(instance is one for one in path):
        return True
    for database, tags in tags_of_row(instance).items():
        capture.note_tags(database, tags)
        for reading in capture.unit.positions_around(database):
            capture.add(database, reading, tags)  # it may have been read there, so earlier
    is_clear = vars(instance).keys() <= attributes_of_row(type(instance))
    for name, related in list(instance._state.fields_cache.items()):
        if isinstance(related, Model):
            is_clear &= add_instance(capture, related, [*path, instance])
        else:  # none: of a foreign key the row says so, of a row elsewhere it does not
            is_clear &= name in foreign_keys_of(type(instance))
    return is_clear


@lru_cache(maxsize=1024)
def attributes_of_row(model: type[Model]) -> AbstractSet[str]:
    """Return the attributes of an instance that holds its row and nothing else."""
    return {"_state", *(field.attname for field in model._meta.concrete_fields)}


@lru_cache(maxsize=1024)
def foreign_keys_of(model: type[Model]) -> AbstractSet[str]:
    """Return the names of the fields by which a row says itself what it is related to."""
    return {field.name for field in model._meta.concrete_fields if field.is_relation}


def rows_in(value: object, depth: int = DEEPEST) -> Iterator[Model]:
    """Yield the instances in a container, at every depth."""
    if isinstance(value, type):
        return  # its attributes lead to all models
    if isinstance(value, Model):
        yield value
    elif depth and isinstance(value, Mapping):
        for key, item in value.items():
            yield from rows_in(key, depth - 1)
            yield from rows_in(item, depth - 1)
    elif depth and isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from rows_in(item, depth - 1)
    if depth and (added := getattr(value, "__dict__", None)) and not isinstance(value, Model):
        yield from rows_in(dict(added), depth - 1)


def without_laziness(value: Any) -> object:
    """Return what a lazy object stands for, or None for one that was not used yet.

    To ask a lazy object for its class would be to use it.
    """
    if not issubclass(type(value), LazyObject):
        return value
    return None if value._wrapped is empty else value._wrapped
