"""The dimensions that select a fragment's variant: user, language, time zone, URLs, request values.

`serving` asks here for their values when it builds a key. The holders of Django's active language,
time zone and URLconf are wrapped so that a rendered block's reads of them are recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from functools import lru_cache
from threading import get_ident
from typing import Any, Final, NamedTuple, Protocol

from django.db.models import Model
from django.urls import base as urls
from django.utils import timezone, translation

from cachelayers.canonical import (
    Unstable,
    canonical_all,
    canonical_form,
    canonical_instance,
    canonical_str,
    path_of_class,
    unwrap_lazy_object,
)
from cachelayers.compat import LANGUAGE, TIME_ZONE, URLS, stand_in_front_of_active
from cachelayers.fragments.canonical import (
    DEEPEST_RELATION,
    Canonicalizer,
    canonical_arguments,
    encoder_of_plain_rows,
    is_bare,
)
from cachelayers.fragments.markup import NAME
from cachelayers.invalidation import attributes_of_row, current_unit
from cachelayers.request_access import (
    REQUEST_KINDS,
    Reader,
    inner_requests,
    is_silent,
    kind_of,
    reader_of,
    unobserved,
)

VALUES_IN_URLS = frozenset({"request:current_app", "request:resolver_match", "match:namespace"})
NOTHING: Final = object()  # is active
LastRead = tuple[int, Any]  # the thread, and the value

# The dimensions that the block rendered in this context has read.
asked: ContextVar[set[str] | None] = ContextVar("cachelayers_locale", default=None)


class TrackedHolder:
    """Wraps the object that holds an active language, time zone or URLconf, and records reads.

    It remembers the value, because each key asks for the language, and Django's holder takes a
    lock, which costs a tenth of a hit. It does not trust a value remembered by another thread: only
    the holder knows which contexts share a thread.
    """

    def __init__(self, holder: Any, dimension: str) -> None:
        """``holder`` continues to hold the value of each thread."""
        self._holder, self._dimension = holder, dimension
        self._last_read: ContextVar[LastRead | None] = ContextVar(
            f"cachelayers_{dimension}", default=None
        )

    @property
    def value(self) -> Any:
        """The active value; Django uses no other attribute."""
        dimensions = asked.get()
        if dimensions is not None:
            dimensions.add(self._dimension)
        last_read = self._last_read.get()
        if last_read is None or last_read[0] != get_ident():
            last_read = self._remember(getattr(self._holder, "value", NOTHING))
        if last_read[1] is NOTHING:
            raise AttributeError("value")
        return last_read[1]

    @value.setter
    def value(self, value: Any) -> None:
        self._holder.value = value
        self._remember(value)

    @value.deleter
    def value(self) -> None:
        del self._holder.value
        self._remember(NOTHING)

    def _remember(self, value: Any) -> LastRead:
        last_read = get_ident(), value
        self._last_read.set(last_read)
        return last_read


def track_locale() -> None:
    """Wrap the holders, before a hit reads them too."""
    stand_in_front_of_active(TrackedHolder)


def current_language() -> str:
    return translation.get_language() or ""


def current_time_zone() -> str:
    """Return the active time zone; two with the same name may differ."""
    return repr(timezone.get_current_timezone())


def current_urls() -> str:
    """Return what URLs depend on. A URLconf may be a module, a list or a module's path."""
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
# Values that Django caches in an instance. They follow from the rows or from the login.
MEMOS = frozenset({"_perm_cache", "_user_perm_cache", "_group_perm_cache", "backend", "_password"})


def identity_of(user: Any) -> str:
    """Return the canonical form of a user. Raises Unstable."""
    user = unwrap_lazy_object(user)
    if user is None:
        return NOBODY
    if isinstance(user, Model):
        if (text := encoder_of_plain_rows(type(user))(user)) is not None:
            return text
        own = attributes_of_row(type(user))
        # With the fields: middleware may have changed one for this request, such as is_staff.
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
    canonicalizer.meet(user)  # a function stored on the user may refer back to the user
    added = {name: attributes[name] for name in attributes.keys() - own - MEMOS}
    return beginning + canonicalizer.canonical_attributes(added) if added else beginning


def canonical_key(user: Any) -> str:
    """Return the form of the primary key of a user who is not a database row."""
    key = getattr(user, "pk", None)
    if key is None and getattr(user, "is_anonymous", False) is not True:
        raise Unstable("the user has no key")
    return canonical_form(key)


def canonical_related(user: Model) -> str:
    """Return the form of the user's related rows to which something was added."""
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
    """What a fragment is rendered with: request, users and names."""

    # The values of dimensions before the block was rendered, which may change them.
    remembered: Mapping[str, str]

    def users(self) -> Iterable[Any]:
        """Return the users of its requests, and the variable "user"."""

    def form_of(self, name: str) -> str:
        """Return the canonical form of a name's value. Raises Unstable."""

    def requests(self) -> Sequence[Any]: ...


Component = Callable[[Surroundings], str]
# Dimensions whose value is active in the thread or context; they need no surroundings.
ACTIVE: Mapping[str, Callable[[], str]] = {
    LANGUAGE: current_language,
    TIME_ZONE: current_time_zone,
    URLS: current_urls,
}


class Dimension(NamedTuple):
    """How to read a dimension: by a component of the key, or from the requests."""

    name: str
    label: str
    component: Component | None
    read: Reader | None


def surroundings_in(dimensions: frozenset[str], surroundings: Surroundings) -> str:
    """Return the canonical form of the dimensions' values. Raises Unstable."""
    if is_silent():
        return canonical_surroundings(dimensions, surroundings)
    with unobserved():
        return canonical_surroundings(dimensions, surroundings)


def canonical_surroundings(dimensions: frozenset[str], surroundings: Surroundings) -> str:
    """Return the canonical form. Call it where reads are not observed."""
    requests: Sequence[Any] | None = None
    found, remembered = "", surroundings.remembered
    for name, label, component, read in ordered(dimensions):
        value = remembered.get(name)
        if value is None and component is not None:
            value = component(surroundings)
        elif value is None and read is not None:
            if requests is None:
                requests = surroundings.requests()
            value = value_in(requests, read)
        found += f"{label}{value}"
    return found


@lru_cache(maxsize=4096)
def ordered(dimensions: frozenset[str]) -> list[Dimension]:
    """Return how to read dimensions, in a stable order."""
    return [dimension_of(name) for name in sorted(dimensions)]


def dimension_of(name: str) -> Dimension:
    """Return how to read a dimension, by its kind: its name up to the colon."""
    kind = kind_of(name)
    if kind in REQUEST_KINDS:
        return Dimension(name, f"{name}\0", None, reader_of(name))
    return Dimension(name, f"{name}\0", COMPONENTS[kind](name), None)


def value_in(requests: Sequence[Any], read: Reader) -> str:
    """Return the canonical form of a value of each request."""
    if len(requests) == 1:
        return f"R1:{read(requests[0], canonical_value)}"
    return canonical_all("R", [read(one, canonical_value) for one in requests])


@lru_cache(maxsize=4096)
def needs_surroundings(dimensions: frozenset[str]) -> bool:
    """Tell whether a dimension needs more than the active values."""
    return not ACTIVE.keys() >= dimensions


def component_of_active(name: str) -> Component:
    read = ACTIVE[name]
    return lambda surroundings: read() + "\0"


def component_of_users(name: str) -> Component:
    return lambda surroundings: canonical_users(
        [identity_of(user) for user in surroundings.users()]
    )


def canonical_users(identities: list[str]) -> str:
    return canonical_all("U", identities)


def component_of_name(name: str) -> Component:
    path = name.removeprefix(NAME)
    return lambda surroundings: surroundings.form_of(path)


COMPONENTS: dict[str, Callable[[str], Component]] = {
    kind_of(NAME): component_of_name,
    **dict.fromkeys(ACTIVE, component_of_active),
    USER: component_of_users,
}


def canonical_value(value: object) -> str:
    """Return the canonical form of a request's value. Raises Unstable."""
    return canonical_str(value) if type(value) is str else canonical_arguments([value])


def current_locale() -> dict[str, str]:
    """Return the active values, as Surroundings remember them."""
    return {name: read() + "\0" for name, read in ACTIVE.items()}


def user_of(request: Any) -> Any:
    """Return a request's user, without evaluating a lazy one."""
    if is_silent():
        return getattr(request, "user", None)
    with unobserved():
        return getattr(request, "user", None)


def users_of(named: Any, request: Any, view: Any) -> list[Any]:
    """Return the variable "user", and the users of all requests that the template can reach."""
    found = [named]
    for each in asked_for(request, view):
        user = user_of(each)
        if not any(user is one for one in found):
            found.append(user)
    return found


def requests_of(request: Any, view: Any) -> list[Any]:
    """Return the requests that the template can reach, with the requests that they wrap."""
    found: list[Any] = []
    for each in asked_for(request, view):
        for one in inner_requests(each):
            if not any(one is other for other in found):
                found.append(one)
    return found


def asked_for(request: Any, view: Any) -> list[Any]:
    """Return the requests of the template, of the view and of the unit of work."""
    unit = current_unit()
    of_unit = None if unit is None else unit.request
    of_view = None if view is None else getattr(view, "request", None)
    if (of_unit is request or of_unit is None) and (of_view is request or of_view is None):
        return [request]
    return [request, of_view, of_unit]
