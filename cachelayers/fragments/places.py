"""Spell the variant of a fragment: for whom, in which language, for which parts of the request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from cachelayers.entries.spelling import Unstable, spell_all, spell_str
from cachelayers.fragments.arguments import spell_arguments
from cachelayers.fragments.locale import (
    LANGUAGE,
    TIME_ZONE,
    URLS,
    current_language,
    current_time_zone,
    current_urls,
)
from cachelayers.fragments.markup import NAME
from cachelayers.fragments.users import identity_of
from cachelayers.invalidation.units import current_unit
from cachelayers.request_access import (
    REQUEST_KINDS,
    Reader,
    inner_requests,
    is_silent,
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

    def spelling_of(self, name: str) -> str:
        """Return the spelling of what it has under a name; Unstable where that has none."""

    def requests(self) -> Sequence[Any]:
        """Return the requests that it is rendered for."""


class Anywhere:
    """A place of which only what is active is asked."""

    remembered: Mapping[str, str] = {}

    def users(self) -> Iterable[Any]:
        """Return nobody."""
        return ()

    def spelling_of(self, name: str) -> str:
        """Say that there is none."""
        raise Unstable(f"there is no {name!r}")

    def requests(self) -> Sequence[Any]:
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


class Dimension(NamedTuple):
    """How a dimension is spelled: by what is active, by the place, or by its requests."""

    name: str
    label: str
    part: Part | None
    read: Reader | None


def place_in(dimensions: frozenset[str], place: Place) -> str:
    """Return the spelling of what a place is in the dimensions; Unstable for a nameless user."""
    if is_silent():
        return spell_place(dimensions, place)
    with unobserved():
        return spell_place(dimensions, place)


def spell_place(dimensions: frozenset[str], place: Place) -> str:
    """Return the spelling, where nothing is reported that is read for it."""
    requests: Sequence[Any] | None = None
    found, remembered = "", place.remembered
    for name, label, part, read in ordered(dimensions):
        value = remembered.get(name)
        if value is None and part is not None:
            value = part(place)
        elif value is None and read is not None:
            if requests is None:
                requests = place.requests()
            value = value_in(requests, read)
        found += f"{label}{value}"
    return found


@lru_cache(maxsize=4096)
def ordered(dimensions: frozenset[str]) -> list[Dimension]:
    """Return how dimensions are spelled, in an order that is always the same."""
    return [dimension_of(name) for name in sorted(dimensions)]


def dimension_of(name: str) -> Dimension:
    """Return how a dimension is spelled, by its kind: the part of its name before a colon."""
    kind = kind_of(name)
    if kind in REQUEST_KINDS:
        return Dimension(name, f"{name}\0", None, reader_of(name))
    return Dimension(name, f"{name}\0", PARTS[kind](name), None)


def value_in(requests: Sequence[Any], read: Reader) -> str:
    """Spell a value of requests."""
    if len(requests) == 1:
        return f"R1:{read(requests[0], spell_value)}"
    return spell_all("R", [read(one, spell_value) for one in requests])


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


def part_of_name(name: str) -> Part:
    """Return what spells what a template has under a name."""
    path = name.removeprefix(NAME)
    return lambda place: place.spelling_of(path)


PARTS: dict[str, Callable[[str], Part]] = {
    kind_of(NAME): part_of_name,
    **dict.fromkeys(ACTIVE, part_of_active),
    USER: part_of_users,
}


def spell_value(value: object) -> str:
    """Spell a value of a request; Unstable where nothing tells it from others."""
    return spell_str(value) if type(value) is str else spell_arguments([value])


def current_locale() -> dict[str, str]:
    """Return what is active, as a place remembers it."""
    return {name: read() + "\0" for name, read in ACTIVE.items()}


def user_of(request: Any) -> Any:
    """Return a request's user, without looking at a lazy one."""
    if is_silent():
        return getattr(request, "user", None)
    with unobserved():
        return getattr(request, "user", None)


def users_of(named: Any, request: Any, view: Any) -> list[Any]:
    """Return what a template knows as "user", and the users of the requests that it may get at."""
    found = [named]
    for each in asked_for(request, view):
        user = user_of(each)
        if not any(user is one for one in found):
            found.append(user)
    return found


def requests_of(request: Any, view: Any) -> list[Any]:
    """Return the requests that a template may get at, with those that they wrap."""
    found: list[Any] = []
    for each in asked_for(request, view):
        for one in inner_requests(each):
            if not any(one is other for other in found):
                found.append(one)
    return found


def asked_for(request: Any, view: Any) -> list[Any]:
    """Return the requests that a template knows, and that which the unit of work answers."""
    unit = current_unit()
    of_unit = None if unit is None else unit.request
    of_view = None if view is None else getattr(view, "request", None)
    if (of_unit is request or of_unit is None) and (of_view is request or of_view is None):
        return [request]
    return [request, of_view, of_unit]
