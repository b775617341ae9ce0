"""Tell what a fragment depends on through what was read before it began: instances, lists, figures.

What is read while it is rendered is captured. But a view may have read a row long before, or have
counted the rows of a table; the fragment shows it without a statement of its own.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from types import FunctionType
from typing import Any

from django.contrib.auth.context_processors import PermWrapper
from django.contrib.messages.storage.base import BaseStorage
from django.db.models import Model, QuerySet
from django.template.loader_tags import BlockNode
from django.utils.functional import LazyObject, Promise, empty

from cachelayers.entries.spelling import Unstable, spell
from cachelayers.fragments.places import USER
from cachelayers.fragments.secrets import TOKEN_NAMES, is_lazy
from cachelayers.invalidation.capture import Capture
from cachelayers.invalidation.invalidate import tags_of_row

CONSTANTS = frozenset({"True", "False", "None", "STATIC_URL", "MEDIA_URL"})
# In a key whenever they are asked for: see locale.
NAMES_OF_LANGUAGE = frozenset({"LANGUAGE_CODE", "LANGUAGE_BIDI"})
NAMES_OF_TIME_ZONE = frozenset({"TIME_ZONE"})


class Seen:
    """The names that a block has asked for, of those that were there before it began."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.values: dict[str, Any] = {}

    def note(self, name: str, value: Any) -> None:
        """Note that a name was asked for."""
        self.values.setdefault(name, value)


class NotedNames(MutableMapping[str, Any]):
    """One of a context's dictionaries, which notes what is asked for."""

    def __init__(self, names: MutableMapping[str, Any], seen: Seen) -> None:
        """Stand in front of ``names``."""
        self._names = names
        self._seen = seen

    def __getitem__(self, name: str) -> Any:
        value = self._names[name]
        self._seen.note(name, value)
        return value

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __setitem__(self, name: str, value: Any) -> None:
        self._names[name] = value

    def __delitem__(self, name: str) -> None:
        del self._names[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def unnoted(names: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return what stands behind those that fragments around have put there."""
    while isinstance(names, NotedNames):
        names = names._names
    return names


def add_dependencies(
    capture: Capture,
    seen: Mapping[str, Any],
    told: AbstractSet[str],
    arguments: Sequence[object],
    dimensions: AbstractSet[str],
) -> bool:
    """Have a capture depend on what a block has shown without reading it.

    An argument is told by the key, and the rows in it by their tags. Anything else a view may have
    made of all that was read until then, so the fragment depends on that: a string, a list, but
    also a query that is made only now, since what it asks for may have been read. Returns False
    where that cannot be known, because nobody has noticed what was read. ``told``: names that are
    arguments.
    """
    is_clear = USER not in dimensions
    for argument in arguments:
        is_clear &= add_argument(capture, argument)
    for name, value in seen.items():
        plain = without_laziness(value)
        if isinstance(plain, Model):
            is_clear &= add_instance(capture, plain, [])
        is_clear &= name in told or holds_no_data(name, value)
    if is_clear:
        return True
    if capture.unit.is_of_one_recall:
        return False
    capture.is_unstorable |= capture.unit.has_seen_unshareable
    for dependency in capture.seen_before():
        capture.add_dependency(dependency)
    return True


def holds_no_data(name: str, value: Any) -> bool:
    """Tell what Django itself or the site's code puts there from what a view has read."""
    if name in CONSTANTS | TOKEN_NAMES | NAMES_OF_LANGUAGE | NAMES_OF_TIME_ZONE:
        return is_lazy(value) or isinstance(value, (str, bool, type(None), Promise))
    if name == "user" and is_lazy(value):
        return True  # once it is used, the fragment depends on all that was read
    plain = without_laziness(value)
    if name == "block":
        return isinstance(plain, BlockNode)
    if isinstance(plain, (PermWrapper, BaseStorage)):
        return True  # so it is with the first, and what uses the second is not kept
    # A closure, or a default, may hold what was read when the function was made.
    return isinstance(plain, FunctionType) and not (
        plain.__closure__ or plain.__defaults__ or plain.__kwdefaults__
    )


def add_argument(capture: Capture, argument: object) -> bool:
    """Depend on the rows in an argument. Tell whether the key and these say all of it."""
    argument = without_laziness(argument)
    if isinstance(argument, Model):
        return add_instance(capture, argument, [])
    if isinstance(argument, QuerySet):
        argument = list(argument)
    try:
        spell(argument)
        rows = list(rows_in(argument))
    except (Unstable, RecursionError):
        return False  # its text is in the key, which need not say what it is made of
    are_clear = [add_instance(capture, row, []) for row in rows]
    return all(are_clear)


def rows_in(value: object) -> Iterator[Model]:
    """Yield the instances in what has a spelling, and so an end: a container, what a list adds."""
    value = without_laziness(value)
    if isinstance(value, Model):
        yield value
        return
    if isinstance(value, (type, enum.Enum)):
        return  # a name in the code. What its class holds leads to all other code.
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from rows_in(key)
            yield from rows_in(item)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from rows_in(item)
    if (added := object.__getstate__(value)) is not None:
        yield from rows_in(added)


def add_instance(capture: Capture, instance: Model, path: list[Model]) -> bool:
    """Depend on an instance's row, and on those read with it. Tell whether that is all it holds."""
    if any(instance is one for one in path):
        return True
    for database, tags in tags_of_row(instance).items():
        capture.note_tags(database, tags)
        for reading in capture.unit.positions_around(database):
            capture.add(database, reading, tags)  # it may have been read there, so earlier
    is_clear = vars(instance).keys() <= attributes_of_row(type(instance))
    for related in list(instance._state.fields_cache.values()):
        if isinstance(related, Model):
            is_clear &= add_instance(capture, related, [*path, instance])
    return is_clear


@lru_cache(maxsize=1024)
def attributes_of_row(model: type[Model]) -> AbstractSet[str]:
    """Return the attributes of an instance that holds its row and nothing else."""
    return {"_state", *(field.attname for field in model._meta.concrete_fields)}


def without_laziness(value: Any) -> object:
    """Return what a lazy object stands for, or None for one that was not used yet.

    To ask a lazy object for its class would be to use it.
    """
    if not issubclass(type(value), LazyObject):
        return value
    return None if value._wrapped is empty else value._wrapped
