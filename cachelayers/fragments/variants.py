"""The variant of a fragment: for which user, in which language, for which parts of the request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from functools import lru_cache
from threading import get_ident
from typing import Any, Final, NamedTuple, Protocol

from django.db.models import Model
from django.urls import base as urls
from django.utils import timezone, translation
from django.utils.translation import trans_real

from cachelayers.entries import (
    Unstable,
    canonical_all,
    canonical_form,
    canonical_instance,
    canonical_str,
    path_of_class,
    unwrap_lazy_object,
)
from cachelayers.fragments.canonical import (
    DEEPEST_RELATION,
    Canonicalizer,
    canonical_arguments,
    encoder_of_plain_rows,
    is_bare,
)
from cachelayers.fragments.markup import NAME
from cachelayers.invalidation.dependencies import attributes_of_row
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

LANGUAGE = "language"
TIME_ZONE = "time zone"
# What URLs are made by: the URLconf, the prefix of the script, and what the {% url %} tag asks the
# request for.
URLS = "urls"
VALUES_IN_URLS = frozenset({"request:current_app", "request:resolver_match", "match:namespace"})
NOTHING: Final = object()  # is active
Known = tuple[int, Any]  # by which thread, and what

# The dimensions that the block which is rendered in this context has asked for.
asked: ContextVar[set[str] | None] = ContextVar("cachelayers_locale", default=None)


class Noted:
    """Stands in front of the object that holds what is active, and notes who looks at it.

    Remembers what that holds: every key of a fragment that knows its language asks, and the holder,
    which takes a lock, would take a tenth of a hit. What it remembers of another thread it does not
    believe: which contexts a thread shares with another one is the holder's to say.
    """

    def __init__(self, holder: Any, dimension: str) -> None:
        """Stand in front of ``holder``, which goes on to hold what each thread has activated."""
        self._holder, self._dimension = holder, dimension
        self._known: ContextVar[Known | None] = ContextVar(f"cachelayers_{dimension}", default=None)

    @property
    def value(self) -> Any:
        """What is active: the one attribute that it has."""
        noting = asked.get()
        if noting is not None:
            noting.add(self._dimension)
        known = self._known.get()
        if known is None or known[0] != get_ident():
            known = self._remember(getattr(self._holder, "value", NOTHING))
        if known[1] is NOTHING:
            raise AttributeError("value")
        return known[1]

    @value.setter
    def value(self, value: Any) -> None:
        self._holder.value = value
        self._remember(value)

    @value.deleter
    def value(self) -> None:
        del self._holder.value
        self._remember(NOTHING)

    def _remember(self, value: Any) -> Known:
        """Remember what this thread has activated, in this context."""
        known = get_ident(), value
        self._known.set(known)
        return known


def note_locale() -> None:
    """See to it that it is noticed. Looked at each time: overridden settings renew the objects."""
    holders: tuple[tuple[Any, str, str], ...] = (
        (trans_real, "_active", LANGUAGE),
        (timezone, "_active", TIME_ZONE),
        (urls, "_urlconfs", URLS),
        (urls, "_prefixes", URLS),
    )
    for module, name, dimension in holders:
        holder = getattr(module, name)
        if not isinstance(holder, Noted):
            setattr(module, name, Noted(holder, dimension))


note_locale()  # before the first block is rendered too: hits ask as well


def current_language() -> str:
    """Return the active language."""
    return translation.get_language() or ""


def current_time_zone() -> str:
    """Return the active time zone; two of one name may differ."""
    return repr(timezone.get_current_timezone())


def current_urls() -> str:
    """Return what URLs are made by. A URLconf may be a module, a list or the path of a module."""
    urlconf = urls.get_urlconf()
    name = urlconf if isinstance(urlconf, str) else getattr(urlconf, "__name__", None)
    if urlconf is not None and name is None:
        raise Unstable("the URLconf has no name")
    unit = current_unit()
    request = None if unit is None else unit.request
    app = getattr(request, "current_app", None)
    match = getattr(request, "resolver_match", None)
    namespace = None if match is None else match.namespace
    return f"{urls.get_script_prefix()!r}{name!r}{app!r}{namespace!r}"


NOBODY = "N"
# What Django itself keeps in an instance. It follows from the rows, or from how a login was made.
MEMOS = frozenset({"_perm_cache", "_user_perm_cache", "_group_perm_cache", "backend", "_password"})


def identity_of(user: Any) -> str:
    """Return what tells one user from all others; Unstable where nothing does."""
    user = unwrap_lazy_object(user)
    if user is None:
        return NOBODY
    if isinstance(user, Model):
        if (text := encoder_of_plain_rows(type(user))(user)) is not None:
            return text
        own = attributes_of_row(type(user))
        # With its fields: middleware may have changed one for this request, such as is_staff.
        beginning = canonical_instance(user) + Canonicalizer(is_named=True).canonical_fields(user)
        if user._state.fields_cache:
            beginning += canonical_related(user)
    else:
        own = frozenset()
        beginning = canonical_str(path_of_class(type(user))) + canonical_key(user)
    attributes = getattr(user, "__dict__", {})
    if own.issuperset(attributes):
        return beginning
    canonicalizer = Canonicalizer()
    canonicalizer.meet(user)  # a function that is hung on the user may hold the user
    added = {name: attributes[name] for name in attributes.keys() - own - MEMOS}
    return beginning + canonicalizer.canonical_attributes(added) if added else beginning


def canonical_key(user: Any) -> str:
    """Spell the key of a user who is no row."""
    key = getattr(user, "pk", None)
    if key is None and getattr(user, "is_anonymous", False) is not True:
        raise Unstable("the user has no key")
    return canonical_form(key)


def canonical_related(user: Model) -> str:
    """Spell the rows that came with the user's, where something was added to them."""
    related = user._state.fields_cache
    return "".join(
        [
            canonical_str(name) + canonical_arguments([row])
            for name in sorted(related)
            if (row := unwrap_lazy_object(related[name])) is not None
            and not is_bare(row, DEEPEST_RELATION)
        ]
    )


USER = "user"


class Surroundings(Protocol):
    """Where a fragment is shown."""

    # The values of dimensions as they were before the block was rendered, which may change them.
    remembered: Mapping[str, str]

    def users(self) -> Iterable[Any]:
        """Return who may be meant by its user: those of its requests, and what is so called."""

    def form_of(self, name: str) -> str:
        """Return the spelling of what it has under a name; Unstable where that has none."""

    def requests(self) -> Sequence[Any]:
        """Return the requests that it is rendered for."""


class Anywhere:
    """A place of which only what is active is asked."""

    remembered: Mapping[str, str] = {}

    def users(self) -> Iterable[Any]:
        """Return nobody."""
        return ()

    def form_of(self, name: str) -> str:
        """Say that there is none."""
        raise Unstable(f"there is no {name!r}")

    def requests(self) -> Sequence[Any]:
        """Return none."""
        return ()


ANYWHERE = Anywhere()
Part = Callable[[Surroundings], str]
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


def surroundings_in(dimensions: frozenset[str], place: Surroundings) -> str:
    """Return the spelling of what a place is in the dimensions; Unstable for a nameless user."""
    if is_silent():
        return canonical_surroundings(dimensions, place)
    with unobserved():
        return canonical_surroundings(dimensions, place)


def canonical_surroundings(dimensions: frozenset[str], place: Surroundings) -> str:
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
        return f"R1:{read(requests[0], canonical_value)}"
    return canonical_all("R", [read(one, canonical_value) for one in requests])


@lru_cache(maxsize=4096)
def needs_surroundings(dimensions: frozenset[str]) -> bool:
    """Tell whether more must be asked than what is active."""
    return not ACTIVE.keys() >= dimensions


def part_of_active(name: str) -> Part:
    """Return what spells what is active."""
    read = ACTIVE[name]
    return lambda place: read() + "\0"


def part_of_users(name: str) -> Part:
    """Return what spells the users."""
    return lambda place: canonical_users([identity_of(user) for user in place.users()])


def canonical_users(identities: list[str]) -> str:
    """Return the spelling of all users, of what tells each."""
    return canonical_all("U", identities)


def part_of_name(name: str) -> Part:
    """Return what spells what a template has under a name."""
    path = name.removeprefix(NAME)
    return lambda place: place.form_of(path)


PARTS: dict[str, Callable[[str], Part]] = {
    kind_of(NAME): part_of_name,
    **dict.fromkeys(ACTIVE, part_of_active),
    USER: part_of_users,
}


def canonical_value(value: object) -> str:
    """Spell a value of a request; Unstable where nothing tells it from others."""
    return canonical_str(value) if type(value) is str else canonical_arguments([value])


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
