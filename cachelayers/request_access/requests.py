"""Watch requests: every attribute that is read of one is reported, whoever holds it.

An attribute is code of its class (then what the code reads is reported), or a value. A public value
selects the variant. A private one is for one response only. A value without a stable spelling
cannot select a variant, so whoever spells it refuses to store what is made of it.
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
    Observer,
    WatchedHeaders,
    WatchedQuery,
    WatchedVariables,
    is_observed,
    observer_of,
    owner_of,
    swap_back,
    swap_class,
    unobserved,
)

Getter = Callable[[str], Any]
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", None})

IS_WATCHED = "_cachelayers_is_watched"  # marks a watched subclass
USERS = frozenset({"user", "_user", "auser", "_cached_user", "_acached_user"})
# Each is reported when it is used, not when somebody looks whether it is there.
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


class WatchedMatch(ResolverMatch):
    """The class of ``request.resolver_match`` while it is observed."""

    def __getattribute__(self, name: str) -> Any:
        observer, request = observer_of(self), owner_of(self)
        if observer is not None and request is not None and not is_dunder(name):
            observer.note_value(request, f"match:{name}")
        return super().__getattribute__(name)


def look(request: Any, name: str, get: Getter, observer: Observer) -> Any:
    """Return an attribute of a request, and report what was read by that."""
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
    """Tell whether a class has a method or property of a name, which does not keep its value."""
    for one in cls.__mro__:
        if name in vars(one):
            found = vars(one)[name]
            is_memo = isinstance(found, (cached_property, plain_cached_property))
            return hasattr(found, "__get__") and not is_memo
    return False


# What is done with each kind of attribute


def look_at_code(request: Any, name: str, get: Getter, observer: Observer) -> Any:
    if name in own_attributes(request):  # the instance has another one
        return look_at_value(request, name, get, observer)
    return get(name)


def look_at_value(request: Any, name: str, get: Getter, observer: Observer) -> Any:
    try:
        with unobserved():
            value = get(name)
    except AttributeError:
        if "_request" not in own_attributes(request):  # else the wrapped one is asked next
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
    """Return what a private attribute holds, in words."""
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
    if not watch_part(query, QueryDict, WatchedQuery, request, observer):
        observer.note_value(request, WHOLE_QUERY)
    return query


def look_at_match(request: Any, name: str, get: Getter, observer: Observer) -> Any:
    observer.note_value(request, "request:resolver_match")
    with unobserved():
        match = get(name)
    watches = watch_part(match, ResolverMatch, WatchedMatch, request, observer)
    if match is not None and not watches:
        observer.note_private("a resolver_match of another class")
    return match


def watch_part(part: Any, plain: type, watched: type, request: Any, observer: Observer) -> bool:
    """Have a part of a request watched until the render ends; tell whether that is possible."""
    if type(part) not in (plain, watched):
        return False
    if not is_observed(part, observer):
        if not swap_class(part, watched, request, observer):
            return False
        observer.at_the_end(lambda: swap_back(part, observer))
    return True


def look_at_variables(request: Any, name: str, get: Getter, observer: Observer) -> Any:
    with unobserved():
        value = get(name)
    kind = WatchedHeaders if name == "headers" else WatchedVariables
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


# Requests


def is_request(value: Any) -> bool:
    """Tell a request, without using a lazy object."""
    return issubclass(type(value), HttpRequest)


def own_attributes(request: Any) -> Mapping[str, Any]:
    """Return the attributes that an instance has itself; properties are not asked."""
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
def watching_requests(requests: Iterable[Any], observer: Observer) -> Iterator[None]:
    """Have an observer told what is read of requests."""
    with ExitStack() as stack:
        for request in requests:
            cls: Any = type(request)
            if not swap_class(request, watched_class(cls), request, observer):
                observer.note_private("a request that cannot be watched")
                continue
            stack.callback(swap_back, request, observer)
        yield


@lru_cache(maxsize=256)
def watched_class(cls: type) -> type:
    """Return the watched subclass of a request's class.

    By one base alone: an object can take on no class that has another layout.
    """
    if IS_WATCHED in vars(cls):
        return cls
    original: Any = cls

    def __getattribute__(self: Any, name: str) -> Any:  # noqa: N807
        observer = observer_of(self)
        if observer is None:
            return original.__getattribute__(self, name)
        return look(self, name, partial(original.__getattribute__, self), observer)

    def __setattr__(self: Any, name: str, value: Any) -> None:  # noqa: N807
        observer = observer_of(self)
        if observer is not None:
            observer.note_written(self, name)
        original.__setattr__(self, name, value)

    def __reduce_ex__(self: Any, protocol: Any) -> Any:  # noqa: N807
        # The copy is of this class too, and reports what is read of it.
        with unobserved():
            return original.__reduce_ex__(self, protocol)

    names = {
        IS_WATCHED: True,
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__getattribute__": __getattribute__,
        "__setattr__": __setattr__,
        "__reduce_ex__": __reduce_ex__,
    }
    return type(cls)(cls.__name__, (cls,), names)


# Lazy objects


def is_lazy(value: Any) -> bool:
    """Tell a lazy object, such as request.user, from what it stands for."""
    return issubclass(type(value), LazyObject) and "_setupfunc" in value.__dict__


def lazily(value: Any, note: Callable[[], None]) -> Any:
    """Return a lazy object that stands for a value and notes its first use."""

    def give() -> Any:
        note()
        return value

    stand_in = SimpleLazyObject(give)
    vars(stand_in)["_real"] = value
    return stand_in


def real(stand_in: Any) -> Any:
    """Return what something stands for that lazily() has made, without using it."""
    while is_lazy(stand_in) and "_real" in vars(stand_in):
        stand_in = vars(stand_in)["_real"]
    return stand_in
