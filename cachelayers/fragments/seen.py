"""Tell what a fragment depends on through what was read before it began: instances, lists, figures.

What is read while it is rendered is captured. But a view may have read a row long before, or have
counted the rows of a table; the fragment shows it without a statement of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from collections.abc import Set as AbstractSet
from types import FunctionType
from typing import Any

from django.contrib.auth.context_processors import PermWrapper
from django.contrib.messages.storage.base import BaseStorage
from django.db.models import Model, QuerySet
from django.template.loader_tags import BlockNode
from django.utils.functional import Promise

from cachelayers.fragments.places import USER
from cachelayers.fragments.secrets import TOKEN_NAMES
from cachelayers.invalidation.capture import Capture
from cachelayers.invalidation.rows import (
    add_all_seen,
    add_instance,
    without_laziness,
)
from cachelayers.lookup import add_given
from cachelayers.request_access import is_lazy

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
            is_clear &= add_instance(capture, plain)
        is_clear &= holds_no_data(name, value) or (
            name in told and is_told_by(arguments, value, plain)
        )
    if is_clear:
        return True
    if capture.unit.is_of_one_recall:
        return False
    add_all_seen(capture)
    return True


def is_told_by(arguments: Sequence[object], value: object, plain: object) -> bool:
    """Tell whether an argument that stands for a name says all of its value.

    The value itself does, and so does the key of a row. The `id` of anything else, such as the
    dictionary that `values()` has made of a row, says nothing of the rest.
    """
    return isinstance(plain, Model) or any(value is argument for argument in arguments)


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
    return add_given(capture, list(argument) if isinstance(argument, QuerySet) else argument)
