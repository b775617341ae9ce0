"""Know what is good for one response only when it is seen: tokens, nonces, private headers."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import suppress
from typing import Any

from django.http import HttpRequest
from django.middleware.csrf import CSRF_SECRET_LENGTH, CSRF_TOKEN_LENGTH
from django.utils.functional import LazyObject

SHORTEST_SECRET = 8  # characters; what is shorter may be in a text by chance
TOKEN_NAMES = frozenset({"csrf_token", "csrf_input"})
SECRET_VARIABLES = frozenset({"HTTP_COOKIE", "HTTP_AUTHORIZATION", "CSRF_COOKIE"})
SECRET_HEADERS = frozenset({"cookie", "authorization"})
TOKEN_CHARACTERS = string.ascii_letters + string.digits
TOKEN = re.compile(rf"(?<![0-9A-Za-z])[0-9A-Za-z]{{{CSRF_TOKEN_LENGTH}}}(?![0-9A-Za-z])")


class NotedMapping(MutableMapping[str, Any]):
    """The headers of a request, or their variables, which notes that a private one is read."""

    def __init__(self, mapping: Any, secrets: frozenset[str], note: Callable[[], None]) -> None:
        """Stand in front of ``mapping``, into which everything is written."""
        self._mapping, self._secrets, self._note = mapping, secrets, note

    def __getitem__(self, name: str) -> Any:
        if name in self._secrets or (isinstance(name, str) and name.lower() in self._secrets):
            self._note()
        return self._mapping[name]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._mapping, name)

    def __contains__(self, name: object) -> bool:
        return name in self._mapping

    def __setitem__(self, name: str, value: Any) -> None:
        self._mapping[name] = value

    def __delitem__(self, name: str) -> None:
        del self._mapping[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._mapping)

    def __len__(self) -> int:
        return len(self._mapping)


def requests_in(names: Mapping[str, Any], request: Any, of_unit: Any) -> list[Any]:
    """Return the requests that a block may get at: the page's, those of views, those wrapped.

    ``of_unit``: the one that the unit of work answers, which any code may have kept.
    """
    found: dict[int, Any] = {}
    for value in [of_unit, request, *names.values()]:
        for one in (value, attribute(value, "request")):
            inner = attribute(one, "_request")
            for candidate in (one, inner):
                if isinstance_of_request(candidate):
                    found[id(candidate)] = candidate
            if isinstance_of_request(inner):  # as those of API frameworks are
                found[id(one)] = one
    return list(found.values())


def isinstance_of_request(value: Any) -> bool:
    """Tell a request, without asking a lazy object what it is."""
    return issubclass(type(value), HttpRequest)


def attribute(value: Any, name: str) -> Any:
    """Return what an object itself holds under a name; properties are not asked."""
    with suppress(TypeError):  # it has no attributes of its own
        return vars(value).get(name)
    return None


def secret_candidates(names: Mapping[str, Any], requests: list[Any]) -> Iterator[tuple[str, Any]]:
    """Yield what may be a token or a nonce, from the template's names and requests' attributes.

    Django's own, django-csp's and others' are found by their names.
    """
    for mapping in (names, *(vars(request) for request in requests)):
        for name in list(mapping):
            if isinstance(name, str) and ("nonce" in name.lower() or name in TOKEN_NAMES):
                yield name.lower(), mapping[name]


def real(stand_in: Any) -> Any:
    """Return what something stands for that fragments around have put there, without using it."""
    while True:
        if issubclass(type(stand_in), NotedMapping):  # a lazy object is used by being asked
            stand_in = stand_in._mapping
        elif is_lazy(stand_in) and "_real" in vars(stand_in):
            stand_in = vars(stand_in)["_real"]
        else:
            return stand_in


def text_of(value: Any) -> str | None:
    """Return the text of a secret that was made already; a lazy one is not made by looking."""
    if is_lazy(value):
        value = value._wrapped
    return value if isinstance(value, str) and len(value) >= SHORTEST_SECRET else None


def session_key_of(request: Any) -> str | None:
    """Return the key of a request's session, if there is one."""
    return text_of(getattr(real(getattr(request, "session", None)), "session_key", None))


def has_form_field(text: str) -> bool:
    """Tell whether a text has the field in which a form sends its token."""
    return "csrfmiddlewaretoken" in text


def has_token(text: str, request: Any) -> bool:
    """Tell whether a text holds a token of a request, which is another one each time it is made."""
    secret = real(getattr(request, "META", {})).get("CSRF_COOKIE")
    if not isinstance(secret, str) or len(secret) != CSRF_SECRET_LENGTH:
        return False
    return secret in text or any(unmask(token) == secret for token in TOKEN.findall(text))


def unmask(token: str) -> str:
    """Return the secret that a token is made of: its halves are a mask and the masked secret.

    As django.middleware.csrf makes it; a token that is none gives some other text.
    """
    mask, masked = token[:CSRF_SECRET_LENGTH], token[CSRF_SECRET_LENGTH:]
    indexes = [
        TOKEN_CHARACTERS.index(letter) - TOKEN_CHARACTERS.index(of_mask)
        for letter, of_mask in zip(masked, mask, strict=True)
    ]
    return "".join([TOKEN_CHARACTERS[index] for index in indexes])


def is_lazy(value: Any) -> bool:
    """Tell a lazy object, such as request.user, from what it stands for."""
    return issubclass(type(value), LazyObject) and "_setupfunc" in value.__dict__
