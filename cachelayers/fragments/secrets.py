"""Know what is good for one response only when it is seen: tokens, nonces, private headers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cachelayers.invalidation.rows import without_laziness
from cachelayers.lookup.tokens import has_token_of
from cachelayers.request_access import is_request, own_attributes, real, unobserved

SHORTEST_SECRET = 8  # characters; what is shorter may be in a text by chance
TOKEN_NAMES = frozenset({"csrf_token", "csrf_input"})
HOLDS_VALUES = (dict, list, tuple, set, frozenset, str)  # beside its attributes


def requests_in(names: Mapping[str, Any], request: Any, of_unit: Any) -> list[Any]:
    """Return the requests that a block may get at: the page's, those of views, those wrapped.

    ``of_unit``: the one that the unit of work answers, which any code may have kept.
    """
    found: dict[int, Any] = {}
    for value in [of_unit, request, *names.values()]:
        for one in (value, attribute(value, "request")):
            inner = attribute(one, "_request")
            for candidate in (one, inner):
                if is_request(candidate):
                    found[id(candidate)] = candidate
            if is_wrapper(one):  # as those of API frameworks are
                found[id(one)] = one
    return list(found.values())


def is_wrapper(value: Any) -> bool:
    """Tell what passes on to a request whatever it has not itself, from what just holds one."""
    cls = type(value)
    return (
        is_request(attribute(value, "_request"))
        and hasattr(cls, "__getattr__")
        and not issubclass(cls, HOLDS_VALUES)
    )


def is_name_of_secret(name: str) -> bool:
    """Tell a name that a token or a nonce has."""
    return "nonce" in name.lower() or name in TOKEN_NAMES


def attribute(value: Any, name: str) -> Any:
    """Return what an object itself holds under a name; properties are not asked."""
    return own_attributes(value).get(name)


def secret_candidates(names: Mapping[str, Any], requests: list[Any]) -> Iterator[tuple[str, Any]]:
    """Yield what may be a token or a nonce, from the template's names and requests' attributes.

    Django's own, django-csp's and others' are found by their names.
    """
    for mapping in (names, *map(own_attributes, requests)):
        for name in list(mapping):
            if isinstance(name, str) and is_name_of_secret(name):
                yield name.lower(), mapping[name]


def text_of(value: Any) -> str | None:
    """Return the text of a secret that was made already; a lazy one is not made by looking."""
    found = without_laziness(value)
    return found if isinstance(found, str) and len(found) >= SHORTEST_SECRET else None


def session_key_of(request: Any) -> str | None:
    """Return the key of a request's session, if there is one."""
    session = real(own_attributes(request).get("session"))
    return text_of(getattr(session, "session_key", None))


def has_token(text: str, request: Any) -> bool:
    """Tell whether a text holds a token of a request."""
    with unobserved():
        secret = getattr(request, "META", {}).get("CSRF_COOKIE")
    return has_token_of(text, secret)
