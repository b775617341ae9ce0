"""Know what a block looked up by name around it: these values are a part of its key.

Each is spelled once for each use of a tag, when it is first asked for: what the block does with it
changes nothing of who may see it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from django.contrib.auth.context_processors import PermWrapper
from django.contrib.messages.storage.base import BaseStorage
from django.db.models import Model
from django.utils.functional import LazyObject, Promise

from cachelayers.entries.spelling import Unstable
from cachelayers.fragments.arguments import Speller
from cachelayers.fragments.secrets import is_name_of_secret, is_wrapper
from cachelayers.invalidation.rows import without_laziness
from cachelayers.request_access import is_request as is_one_of_django

CONSTANTS = frozenset({"True", "False", "None"})
LOOP = "forloop."
ALL_NAMES = "*"  # stands for the names that there are
ABSENT: Final = object()  # is the value of a name that nobody gives


class UnstableName(Unstable):
    """What stands under a name has no spelling; the text says all, but for its end."""

    def __init__(self, name: str, reason: object) -> None:
        """Say which name, and what to do."""
        super().__init__(
            f"it shows {name!r}, and {reason}. Give the fragment what it shows of that under a name"
            " of its own, such as a text, a number or a row"
        )


class Spelled(NamedTuple):
    """What stands under a name."""

    text: str
    rows: Sequence[Model] = ()  # that are in it
    is_all: bool = True  # whether the text says all that it is


NOTHING = Spelled("-")
NOTICED = Spelled("?")  # in another way


class Names:
    """The values of names around a block, each spelled when it is first asked for."""

    def __init__(self, find: Callable[[str], Any]) -> None:
        """``find``: returns a name's value, or ABSENT."""
        self._find = find
        self._known: dict[str, Spelled | UnstableName] = {}

    def note(self, name: str) -> None:
        """Spell what stands under a name before the block does something with it."""
        if name not in self._known:
            value = self._find(name)
            self._known[name] = (
                NOTICED if is_known_otherwise(name, value) else spell_name(name, value)
            )

    def spelled(self, name: str) -> Spelled:
        """Return the spelling of what stands under a name; UnstableName where there is none."""
        found = self._known.get(name)
        if found is None:
            self.note(name)
            found = self._known[name]
        if isinstance(found, UnstableName):
            raise found
        return found


def spell_name(name: str, value: Any) -> Spelled | UnstableName:
    """Return the spelling of a value, or why there is none."""
    if value is ABSENT:
        return NOTHING
    speller = Speller(is_named=True)
    try:
        text = speller.spell(value)
    except Unstable as error:
        return UnstableName(name, error)
    except RecursionError:
        return UnstableName(name, "it is nested too deeply")
    return Spelled(text, speller.rows, speller.is_all)


def is_known_otherwise(name: str, value: Any) -> bool:
    """Tell what is noticed in ways of its own: the request, its user, its secrets, constants."""
    if name in CONSTANTS or name == "user":
        return True
    if is_name_of_secret(name) and issubclass(type(value), (LazyObject, Promise)):
        return True  # its first use is noticed
    if is_request(value):
        return True
    plain = without_laziness(value)
    return isinstance(plain, BaseStorage) or (name == "perms" and isinstance(plain, PermWrapper))


def is_request(value: Any) -> bool:
    """Tell a request, or what an API framework has put around one."""
    return is_one_of_django(value) or is_wrapper(value)


def value_in(dictionaries: Sequence[Mapping[str, Any]], name: str) -> Any:
    """Return what a context has under a name, or the loop in it under a path; or ABSENT."""
    if name == ALL_NAMES:
        return sorted({str(one) for dictionary in dictionaries for one in dictionary})
    first, *others = name.rstrip(".").split(".") if name.startswith(LOOP) else [name]
    for dictionary in reversed(dictionaries):
        if first in dictionary:
            value: Any = dictionary[first]
            for other in others:
                value = value[other] if isinstance(value, dict) and other in value else ABSENT
            return value
    return ABSENT
