"""Spell the variant of a fragment: for whom, in which language, for which parts of the request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Protocol

from cachelayers.entries.spelling import spell, spell_all, spell_str
from cachelayers.fragments.arguments import spell_arguments
from cachelayers.fragments.locale import (
    LANGUAGE,
    TIME_ZONE,
    URLS,
    current_language,
    current_time_zone,
    current_urls,
)
from cachelayers.fragments.users import identity_of
from cachelayers.invalidation.units import current_unit
from cachelayers.request_access import (
    REQUEST_KINDS,
    inner_requests,
    kind_of,
    reader_of,
    unobserved,
)

USER = "user"


class Place(Protocol):
    """Where a fragment is shown."""

    # The values of dimensions as they were before the block was rendered, which may change them.
    remembered: Mapping[str, str]

    def users(self) -> Iterable[Any]:
        """Return who may be meant by its user: those of its requests, and what is so called."""

    def requests(self) -> Iterable[Any]:
        """Return the requests that it is rendered for."""


class Anywhere:
    """A place of which only what is active is asked."""

    remembered: Mapping[str, str] = {}

    def users(self) -> Iterable[Any]:
        """Return nobody."""
        return ()

    def requests(self) -> Iterable[Any]:
        """Return none."""
        return ()


ANYWHERE = Anywhere()
Part = Callable[[Place], str]
# What these say is active in the thread or context; no place is asked.
ACTIVE: Mapping[str, Callable[[], str]] = {
    LANGUAGE: current_language,
    TIME_ZONE: current_time_zone,
    URLS: current_urls,
}


def place_in(dimensions: frozenset[str], place: Place) -> str:
    """Return the spelling of what a place is in the dimensions; Unstable for a nameless user."""
    remembered = place.remembered
    if not remembered:
        return "".join([name + part(place) for name, part in parts_of(dimensions)])
    return "".join(
        [
            name + (part(place) if (found := remembered.get(name[:-1])) is None else found)
            for name, part in parts_of(dimensions)
        ]
    )


@lru_cache(maxsize=4096)
def parts_of(dimensions: frozenset[str]) -> list[tuple[str, Part]]:
    """Return what spells each dimension, in an order that is always the same."""
    return [(f"{name}\0", PARTS[kind_of(name)](name)) for name in sorted(dimensions)]


def needs_place(dimensions: frozenset[str]) -> bool:
    """Tell whether more must be asked than what is active."""
    return not ACTIVE.keys() >= dimensions


def part_of_active(name: str) -> Part:
    """Return what spells what is active."""
    read = ACTIVE[name]
    return lambda place: read() + "\0"


def part_of_users(name: str) -> Part:
    """Return what spells the users."""
    return lambda place: spelled_users([identity_of(user) for user in place.users()])


def spelled_users(identities: list[str]) -> str:
    """Return the spelling of all users, of what tells each."""
    return spell_all("U", identities)


def part_of_requests(name: str) -> Part:
    """Return what spells a value of each request."""
    read = reader_of(name)

    def part(place: Place) -> str:
        with unobserved():
            return spell_all("R", [read(one, spell_value) for one in place.requests()])

    return part


PARTS: dict[str, Callable[[str], Part]] = {
    **dict.fromkeys(ACTIVE, part_of_active),
    USER: part_of_users,
    **dict.fromkeys(REQUEST_KINDS, part_of_requests),
}


def spell_value(value: object) -> str:
    """Spell a value of a request; Unstable for what only has a text."""
    if type(value) is str:
        return spell_str(value)
    spell(value)
    return spell_arguments([value])


def current_locale() -> dict[str, str]:
    """Return what is active, as a place remembers it."""
    return {name: read() + "\0" for name, read in ACTIVE.items()}


def user_of(request: Any) -> Any:
    """Return a request's user, without looking at a lazy one."""
    with unobserved():
        return getattr(request, "user", None)


def users_of(named: Any, request: Any, view: Any) -> list[Any]:
    """Return what a template knows as "user", and the users of the requests that it may get at."""
    unit = current_unit()
    found = [named]
    for each in (request, getattr(view, "request", None), unit and unit.request):
        user = user_of(each)
        if not any(user is one for one in found):
            found.append(user)
    return found


def requests_of(request: Any, view: Any) -> list[Any]:
    """Return the requests that a template may get at, with those that they wrap."""
    unit = current_unit()
    found: list[Any] = []
    for each in (request, getattr(view, "request", None), unit and unit.request):
        for one in inner_requests(each):
            if not any(one is other for other in found):
                found.append(one)
    return found
