"""Spell what the place that a fragment is shown in is: for whom, in which language."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from cachelayers.entries.spelling import Unstable, spell
from cachelayers.fragments.locale import (
    LANGUAGE,
    TIME_ZONE,
    current_language,
    current_time_zone,
)
from cachelayers.fragments.markup import NAME
from cachelayers.invalidation.units import current_unit

USER = "user"
ACTIVE = frozenset({LANGUAGE, TIME_ZONE})  # is the same everywhere in a template


class Locale(NamedTuple):
    """What was active before a block was rendered: it may activate another."""

    language: str
    time_zone: str


class Place(Protocol):
    """Where a fragment is shown."""

    locale: Locale | None

    def users(self) -> Iterable[Any]:
        """Return who may be meant by its user: those of its requests, and what is so called."""

    def spelling_of(self, name: str) -> str:
        """Return the spelling of what it has under a name; Unstable where that has none."""


class Anywhere:
    """A place of which only what is active is asked."""

    locale: Locale | None = None

    def users(self) -> Iterable[Any]:
        """Return nobody."""
        return ()

    def spelling_of(self, name: str) -> str:
        """Say that there is none."""
        raise Unstable(f"there is no {name!r}")


ANYWHERE = Anywhere()


def place_in(dimensions: frozenset[str], place: Place) -> str:
    """Return the spelling of what a place is in the dimensions; Unstable for a nameless user."""
    # The order is always this one, and each part ends with what is in no language or time zone.
    found, locale = "", place.locale
    if LANGUAGE in dimensions:
        found = current_language() if locale is None else locale.language
    found += "\0"
    if TIME_ZONE in dimensions:
        found += current_time_zone() if locale is None else locale.time_zone
    if USER in dimensions:
        found += "".join([f"\0{identity_of(user)}" for user in place.users()])
    return found + "".join(
        [f"\0{name}\0{place.spelling_of(name)}" for name in names_in(dimensions)]
    )


@lru_cache(maxsize=4096)
def names_in(dimensions: frozenset[str]) -> list[str]:
    """Return the names that dimensions are of, in an order that is always the same."""
    return sorted(one.removeprefix(NAME) for one in dimensions if one.startswith(NAME))


def needs_place(dimensions: frozenset[str]) -> bool:
    """Tell whether more must be asked than what is active."""
    return not dimensions <= ACTIVE


def current_locale() -> Locale:
    """Return what is active."""
    return Locale(current_language(), current_time_zone())


def identity_of(user: Any) -> str:
    """Return what tells one user from all others."""
    if user is None:
        return ""
    key = getattr(user, "pk", None)
    if key is None:
        if getattr(user, "is_anonymous", False) is True:
            return "anonymous"
        raise Unstable("the user has no key")
    cls = user.__class__  # of what a lazy object stands for
    database = getattr(getattr(user, "_state", None), "db", None)
    return f"{cls.__module__}.{cls.__qualname__}:{database}:{spell(key)}"


def user_of(request: Any) -> Any:
    """Return a request's user, without looking at a lazy one."""
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
