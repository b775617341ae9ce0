"""Tell what a fragment depends on through what was read before it began: instances, lists, figures.

What is read while it is rendered is captured. But a view may have read a row long before, or have
counted the rows of a table; the fragment shows it without a statement of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from types import FunctionType
from typing import Any, NamedTuple

from django.db.models import Manager, Model, QuerySet
from django.utils.functional import LazyObject, empty

from cachelayers.invalidation.capture import Capture
from cachelayers.invalidation.invalidate import tags_of_row

# What Django itself puts there: it is of the request, not of the database, or is watched apart.
NAMES_OF_DJANGO = frozenset(
    {"True", "False", "None", "block", "forloop", "request", "user", "perms", "messages"}
    | {"csrf_token", "csrf_input", "csp_nonce", "debug", "sql_queries", "DEFAULT_MESSAGE_LEVELS"}
    | {"LANGUAGES", "LANGUAGE_CODE", "LANGUAGE_BIDI", "TIME_ZONE", "STATIC_URL", "MEDIA_URL"}
)


class Sight(NamedTuple):
    """A value that a block has asked for by name."""

    value: Any
    is_read_later: bool  # a query that had not been made then


class Seen:
    """The names that a block has asked for, of those that were there before it began."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.values: dict[str, Sight] = {}

    def note(self, name: str, value: Any) -> None:
        """Note that a name was asked for, before anything is done with its value."""
        if name not in self.values:
            self.values[name] = Sight(value, is_read_later(value))


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


def add_dependencies(
    capture: Capture, seen: Mapping[str, Sight], arguments: Sequence[object]
) -> None:
    """Have a capture depend on what a block has shown without reading it.

    What is an argument is told by the key, and an instance among them by its row's tags. Anything
    else a view may have made of all that was read until then, so the fragment depends on that.
    """
    is_clear = True
    for argument in arguments:
        for instance in instances_in(argument):
            is_clear &= add_instance(capture, instance, [])
    for name, sight in seen.items():
        if name not in NAMES_OF_DJANGO and not is_told_by(arguments, sight.value):
            is_clear &= sight.is_read_later
        value = without_laziness(sight.value)
        if isinstance(value, Model):
            is_clear &= add_instance(capture, value, [])
    if not is_clear:
        capture.is_unstorable |= capture.unit.has_seen_unshareable
        for dependency in capture.unit.seen():
            capture.add_dependency(dependency)


def is_read_later(value: object) -> bool:
    """Tell whether a value reads from the database only when it is used, and has not been yet."""
    value = without_laziness(value)
    if isinstance(value, QuerySet):
        return value._result_cache is None
    if isinstance(value, FunctionType):
        return not value.__closure__  # else it may hold what was read when it was made
    return isinstance(value, Manager)


def is_told_by(arguments: Iterable[object], value: object) -> bool:
    """Tell whether a key that is made of arguments says which value it is."""
    plain = without_laziness(value)
    key = plain.pk if isinstance(plain, Model) else None
    return any(
        value is argument or (key is not None and type(argument) is type(key) and argument == key)
        for argument in arguments
    )


def instances_in(argument: object) -> Iterator[Model]:
    """Yield the rows that an argument consists of."""
    argument = without_laziness(argument)
    if isinstance(argument, Model):
        yield argument
    elif isinstance(argument, (list, tuple, set, frozenset, QuerySet)):
        yield from (item for item in argument if isinstance(item, Model))


def add_instance(capture: Capture, instance: Model, path: list[Model]) -> bool:
    """Depend on an instance's row, and on those read with it. Tell whether that is all it holds."""
    if any(instance is one for one in path):
        return True
    for database, tags in tags_of_row(instance).items():
        capture.note_tags(database, tags)
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
