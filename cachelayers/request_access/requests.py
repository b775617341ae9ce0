"""Observed requests: subclasses that report every attribute that is read.

An attribute is code of the class, or a value. For code, the values that it reads are reported. A
public value selects the variant, a private one belongs to one response. A value without a canonical
form cannot select a variant, so its fragment is not stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property as plain_cached_property
from functools import lru_cache, partial
from typing import Any

from django.http import HttpRequest, QueryDict
from django.urls import ResolverMatch
from django.utils.functional import LazyObject, SimpleLazyObject, cached_property

from cachelayers.request_access.mappings import (
    PRIVATE_NAME,
    WHOLE_QUERY,
    ObservedHeaders,
    ObservedQuery,
    ObservedVariables,
    Observer,
    is_observed,
    observer_of,
    owner_of,
    swap_back,
    swap_class,
    unobserved,
)

Getter = Callable[[str], Any]
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", None})

IS_OBSERVED = "_cachelayers_is_watched"  # marks an observed subclass
USERS = frozenset({"user", "_user", "auser", "_cached_user", "_acached_user"})
# These are reported when they are used, not when code checks that they exist.
PRIVATE_OBJECTS = {
    "session": "the session",
    "_messages": "messages",
    "COOKIES": "a cookie",
}
PRIVATE_VALUES = {
    **dict.fromkeys(("auth", "_auth", "successful_authenticator", "_authenticator"), "a login"),
    **dict.fromkeys(("body", "_body", "_stream", "stream", "data", "_data"), "what was sent"),
    **dict.fromkeys(("_full_data", "_files", "_post"), "what was sent"),
    **dict.fromkeys(("scope", "__dict__"), "all attributes of the request"),
}
FORM_DATA = frozenset({"POST", "FILES"})
ACCEPTED_TYPES = frozenset({"accepted_types", "accepted_types_by_precedence"})


class ObservedMatch(ResolverMatch):
    """The class of ``request.resolver_match`` while it is observed."""

    def __getattribute__(self, name: str) -> Any:
        observer, request = observer_of(self), owner_of(self)
        if observer is not None and request is not None and not is_dunder(name):
            observer.note_value(request, f"match:{name}")
        return super().__getattribute__(name)


def read_attribute(request: Any, name: str, get: Getter, observer: Observer) -> Any:
    """Return an attribute of a request, and report what this has read."""
    rule = RULES.get(name)
    if rule is None and is_dunder(name):
        return get(name)
    if rule is None:
        cls: Any = type(request)
        rule = look_at_code if is_code(cls, name) else look_at_value
    return rule(request, name, get, observer)


def is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


@lru_cache(maxsize=4096)
def is_code(cls: type, name: str) -> bool:
    """Tell whether a class has a method, or a property that does not store its value."""
    for one in cls.__mro__:
        if name in vars(one):
            found = vars(one)[name]
            is_memo = isinstance(found, (cached_property, plain_cached_property))
            return hasattr(found, "__get__") and not is_memo
    return False


# What to do with each kind of attribute


def look_at_code(request: Any, name: str, get: Getter, observer: Observer) -> Any:
    if name in own_attributes(request):  # the instance has another one
        return look_at_value(request, name, get, observer)
    return get(name)


def look_at_value(request: Any, name: str, get: Getter, observer: Observer) -> Any:
    try:
        with unobserved():
            value = get(name)
    except AttributeError:
        if "_request" not in own_attributes(request):  # otherwise the wrapped request is asked next
            observer.note_value(request, f"request:{name}")
        raise
    if is_lazy(value) and observer.has_lazy_object(value):
        return value
    if PRIVATE_NAME.search(name):
        observer.note_private("the CSRF token" if "csrf" in name.lower() else secret_of(name))
    else:
        observer.note_value(request, f"request:{name}")
    return value


def secret_of(name: str) -> str:
    """Return a description of what a private attribute contains."""
    return "a CSP nonce" if "nonce" in name.lower() else f"request.{name}"


def look_silently(request: Any, name: str, get: Getter, observer: Observer) -> Any:
    return get(name)


def look_at_user(request: Any, name: str, get: Getter, observer: Observer) -> Any:
    with unobserved():
        value = get(name)
        user = own_attributes(request).get("user") if name == "auser" else value
    if not (is_lazy(value) and observer.has_lazy_object(value)):
        observer.note_user(user)
    return value


def look_at_private_object(request: Any, name: str, get: Getter, observer: Observer) -> Any:
    with unobserved():
        value = get(name)
    if value is None:
        return value
    return lazily(value, lambda: observer.note_private(PRIVATE_OBJECTS[name]))


def look_at_private_value(request: Any, name: str, get: Getter, observer: Observer) -> Any:
    observer.note_private(PRIVATE_VALUES[name])
    with unobserved():
        return get(name)


def look_at_form_data(request: Any, name: str, get: Getter, observer: Observer) -> Any:
    with unobserved():
        method, value = get("method"), get(name)
    if method in SAFE_METHODS:  # then it is empty
        observer.note_value(request, "request:method")
    else:
        observer.note_private("what was sent")
    return value


def look_at_query(request: Any, name: str, get: Getter, observer: Observer) -> Any:
    with unobserved():
        query = get(name)
    if not observe_part(query, QueryDict, ObservedQuery, request, observer):
        observer.note_value(request, WHOLE_QUERY)
    return query


def look_at_match(request: Any, name: str, get: Getter, observer: Observer) -> Any:
    observer.note_value(request, "request:resolver_match")
    with unobserved():
        match = get(name)
    watches = observe_part(match, ResolverMatch, ObservedMatch, request, observer)
    if match is not None and not watches:
        observer.note_private("a resolver_match of another class")
    return match


def observe_part(
    part: Any, plain: type, observed_class: type, request: Any, observer: Observer
) -> bool:
    """Observe a part of a request until the rendering ends. Returns False if that is impossible."""
    if type(part) not in (plain, observed_class):
        return False
    if not is_observed(part, observer):
        if not swap_class(part, observed_class, request, observer):
            return False
        observer.at_the_end(lambda: swap_back(part, observer))
    return True


def look_at_variables(request: Any, name: str, get: Getter, observer: Observer) -> Any:
    with unobserved():
        value = get(name)
    kind = ObservedHeaders if name == "headers" else ObservedVariables
    return kind(value, request, observer)


def look_at_accepted_types(request: Any, name: str, get: Getter, observer: Observer) -> Any:
    observer.note_value(request, "meta:HTTP_ACCEPT")
    with unobserved():
        return get(name)


def look_at_scheme(request: Any, name: str, get: Getter, observer: Observer) -> Any:
    observer.note_value(request, "request:_get_scheme")

    def get_scheme() -> Any:
        with unobserved():
            return get(name)()

    return get_scheme


Rule = Callable[[Any, str, Getter, Observer], Any]
RULES: dict[str, Rule] = {
    "_request": look_silently,
    "__dict__": look_at_private_value,
    **dict.fromkeys(USERS, look_at_user),
    **dict.fromkeys(PRIVATE_OBJECTS, look_at_private_object),
    **dict.fromkeys(PRIVATE_VALUES, look_at_private_value),
    **dict.fromkeys(FORM_DATA, look_at_form_data),
    **dict.fromkeys(ACCEPTED_TYPES, look_at_accepted_types),
    **dict.fromkeys(("META", "environ", "headers"), look_at_variables),
    "GET": look_at_query,
    "resolver_match": look_at_match,
    "_get_scheme": look_at_scheme,
}
KNOWN_ATTRIBUTES = frozenset(RULES)


def is_request(value: Any) -> bool:
    """Tell whether it is a request, without evaluating a lazy object."""
    return issubclass(type(value), HttpRequest)


def own_attributes(request: Any) -> Mapping[str, Any]:
    """Return the attributes in an instance's own dictionary, without calling properties."""
    with suppress(AttributeError):
        found: Mapping[str, Any] = object.__getattribute__(request, "__dict__")
        return found
    return {}


def inner_requests(request: Any) -> list[Any]:
    """Return a request and those that it wraps, as API frameworks wrap Django's."""
    found: list[Any] = []
    while request is not None and not any(request is one for one in found):
        found.append(request)
        request = own_attributes(request).get("_request")
    return found


@contextmanager
def observing_requests(requests: Iterable[Any], observer: Observer) -> Iterator[None]:
    """Report the reads of requests to an observer."""
    with ExitStack() as stack:
        for request in requests:
            cls: Any = type(request)
            if not swap_class(request, observed_class(cls), request, observer):
                observer.note_private("a request that cannot be watched")
                continue
            stack.callback(swap_back, request, observer)
        yield


@lru_cache(maxsize=256)
def observed_class(cls: type) -> type:
    """Return the observed subclass of a request's class.

    It has one base, because Python swaps classes only if their layouts are the same.
    """
    if IS_OBSERVED in vars(cls):
        return cls
    original: Any = cls

    def __getattribute__(self: Any, name: str) -> Any:  # noqa: N807
        observer = observer_of(self)
        if observer is None:
            return original.__getattribute__(self, name)
        return read_attribute(self, name, partial(original.__getattribute__, self), observer)

    def __setattr__(self: Any, name: str, value: Any) -> None:  # noqa: N807
        observer = observer_of(self)
        if observer is not None:
            observer.note_written(self, name)
        original.__setattr__(self, name, value)

    def __reduce_ex__(self: Any, protocol: Any) -> Any:  # noqa: N807
        # The copy has this class too, and would report the reads.
        with unobserved():
            return original.__reduce_ex__(self, protocol)

    names = {
        IS_OBSERVED: True,
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__getattribute__": __getattribute__,
        "__setattr__": __setattr__,
        "__reduce_ex__": __reduce_ex__,
    }
    return type(cls)(cls.__name__, (cls,), names)


def is_lazy(value: Any) -> bool:
    """Tell whether it is a lazy object, such as request.user."""
    return issubclass(type(value), LazyObject) and "_setupfunc" in value.__dict__


def lazily(value: Any, note: Callable[[], None]) -> Any:
    """Return a lazy object for a value that records its first use."""

    def give() -> Any:
        note()
        return value

    stand_in = SimpleLazyObject(give)
    vars(stand_in)["_real"] = value
    return stand_in


def real(stand_in: Any) -> Any:
    """Return the value behind lazily(), without recording a use."""
    while is_lazy(stand_in) and "_real" in vars(stand_in):
        stand_in = vars(stand_in)["_real"]
    return stand_in
