"""Notice what a block reads of the request it is rendered for: its user, language, secrets.

What depends on the user or the locale gets them into its key. What holds a secret is for this one
response, and not kept at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from django.http import HttpRequest
from django.utils.functional import LazyObject, SimpleLazyObject, empty

from cachelayers.entries.spelling import Unstable, spell
from cachelayers.fragments.locale import (
    LANGUAGE,
    TIME_ZONE,
    asked,
    current_language,
    current_time_zone,
    note_locale,
)

USER = "user"
SHORTEST_SECRET = 8  # characters; what is shorter may be in a text by chance
CSRF_FLAG = "CSRF_COOKIE_NEEDS_UPDATE"  # set by each use of the token

Names = Mapping[str, Any]  # what the template knows, by name


class Watch:
    """What one block has read."""

    def __init__(self, request: HttpRequest | None, user: Any = None) -> None:
        """``user``: what the template knows under that name; it need not be the request's."""
        self.request = request
        self.user = user
        self.dimensions: set[str] = set()
        self.secrets: list[str] = []
        # To find out who the user is is no use of the session by the block, but is one by the view.
        self._session_found_user = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Notice what the block reads."""
        note_locale()
        with ExitStack() as stack:
            for value in {id(value): value for value in self._users()}.values():
                if is_lazy(value):
                    stack.enter_context(standing_in_itself(value, self._set_up_user))
            if self.request is not None:
                stack.enter_context(self._watching_request(self.request))
            stack.enter_context(self._watching_locale())
            yield

    def look_for_secrets(self, text: str, names: Names) -> None:
        """Find in what was rendered what is good for one response only, by its text."""
        for name, value in secret_candidates(names, self.request):
            known = text_of(value)
            if known is not None and known in text:
                self._note_secret("a CSP nonce" if "nonce" in name else "the CSRF token")

    def _users(self) -> list[Any]:
        return [self.user, *([user_of(self.request)] if self.request is not None else [])]

    @contextmanager
    def _watching_request(self, request: HttpRequest) -> Iterator[None]:
        with (
            self._watching_session(getattr(request, "session", None)),
            watching_csrf(request, self._note_secret),
            watching_attribute(request, "_messages", self._note_secret, "messages"),
            watching_attribute(request, "COOKIES", self._note_secret, "a cookie"),
            self._watching_plain_user(request),
        ):
            yield

    @contextmanager
    def _watching_plain_user(self, request: HttpRequest) -> Iterator[None]:
        """Watch a user that is no lazy object, as API frameworks and tests put there."""
        user = user_of(request)
        if user is None or is_lazy(user):
            yield
            return
        with standing_in(request, "user", user, self._note_user):
            yield

    @contextmanager
    def _watching_locale(self) -> Iterator[None]:
        around = asked.get()
        found: set[str] = set()
        token = asked.set(found)
        try:
            yield
        finally:
            asked.reset(token)
            self.dimensions |= found
            if around is not None:
                around |= found

    @contextmanager
    def _watching_session(self, session: Any) -> Iterator[None]:
        """Notice by its own flag that the session was read or written."""
        if not hasattr(session, "accessed"):
            yield
            return
        before, session.accessed = session.accessed, False
        try:
            yield
        finally:
            if session.accessed:
                self._note_secret("the session")
            session.accessed = session.accessed or before or self._session_found_user

    def _set_up_user(self, set_up: Callable[[], Any]) -> Any:
        self._note_user()
        session = getattr(self.request, "session", None)
        before = getattr(session, "accessed", None)
        user = set_up()
        if before is False and session is not None:
            self._session_found_user |= session.accessed
            session.accessed = False
        return user

    def _note_user(self) -> None:
        self.dimensions.add(USER)

    def _note_secret(self, what: str) -> None:
        if what not in self.secrets:
            self.secrets.append(what)


# What the dimensions are at a moment


class Place(Protocol):
    """Where a fragment is shown."""

    @property
    def request(self) -> HttpRequest | None:
        """The request, if the template knows it."""

    @property
    def user(self) -> Any:
        """What the template knows under that name."""


def place_in(dimensions: frozenset[str], place: Place) -> str:
    """Return the spelling of what a place is in the dimensions; Unstable for a nameless user."""
    # The order is always this one, and each part ends with what is in no language or time zone.
    found = f"{current_language()}\0" if LANGUAGE in dimensions else "\0"
    if TIME_ZONE in dimensions:
        found += current_time_zone()
    if USER in dimensions:
        found += f"\0{identity_of(place.user)}\0{identity_of(user_of(place.request))}"
    return found


def identity_of(user: Any) -> str:
    """Return what tells one user from all others."""
    if user is None:
        return ""
    if getattr(user, "is_anonymous", False) is True and getattr(user, "pk", None) is None:
        return "anonymous"
    key = getattr(user, "pk", None)
    if key is None:
        raise Unstable("the user has no key")
    cls = user.__class__  # of what a lazy object stands for
    return f"{cls.__module__}.{cls.__qualname__}:{spell(key)}"


def user_of(request: HttpRequest | None) -> Any:
    """Return the request's user, without looking at a lazy one."""
    return getattr(request, "user", None)


# One kind of thing each


@contextmanager
def watching_csrf(request: HttpRequest, note: Callable[[str], None]) -> Iterator[None]:
    """Notice by the flag that each use of the token sets that it was used."""
    before = request.META.pop(CSRF_FLAG, None)
    try:
        yield
    finally:
        if CSRF_FLAG in request.META:
            note("the CSRF token")
        elif before is not None:
            request.META[CSRF_FLAG] = before


@contextmanager
def watching_attribute(
    request: HttpRequest, name: str, note: Callable[[str], None], what: str
) -> Iterator[None]:
    """Notice that what stands in an attribute of a request is used."""
    value = getattr(request, name, None)
    if value is None:
        yield
        return
    with standing_in(request, name, value, lambda: note(what)):
        yield


@contextmanager
def standing_in(
    request: HttpRequest, name: str, value: Any, note: Callable[[], None]
) -> Iterator[None]:
    """Have a lazy object stand in an attribute that notes its first use."""

    def give() -> Any:
        note()
        return value

    stand_in = SimpleLazyObject(give)
    setattr(request, name, stand_in)
    try:
        yield
    finally:
        if getattr(request, name, None) is stand_in:  # a log-in puts another user there
            setattr(request, name, value)


@contextmanager
def standing_in_itself(
    value: Any, set_up_anew: Callable[[Callable[[], Any]], Any]
) -> Iterator[None]:
    """Have a lazy object set itself up anew at its first use, whoever holds it."""
    wrapped, set_up = value._wrapped, value._setupfunc

    def give() -> Any:
        return set_up_anew(set_up if wrapped is empty else lambda: wrapped)

    value.__dict__["_setupfunc"] = give
    value._wrapped = empty
    try:
        yield
    finally:
        value.__dict__["_setupfunc"] = set_up
        if value._wrapped is empty:
            value._wrapped = wrapped


# Texts of secrets


def secret_candidates(names: Names, request: HttpRequest | None) -> Iterator[tuple[str, Any]]:
    """Yield what may be a token or nonce, from the template's names and the request's attributes.

    Django's own, django-csp's and others' are found by their names.
    """
    for mapping in (names, vars(request) if request is not None else {}):
        for name in list(mapping):
            if isinstance(name, str) and ("nonce" in name.lower() or name == "csrf_token"):
                yield name.lower(), mapping[name]


def text_of(value: Any) -> str | None:
    """Return the text of a secret that was made already; a lazy one is not made by looking."""
    if is_lazy(value):
        value = value._wrapped
    return value if isinstance(value, str) and len(value) >= SHORTEST_SECRET else None


def is_lazy(value: Any) -> bool:
    """Tell a lazy object, such as request.user, from what it stands for."""
    return issubclass(type(value), LazyObject) and "_setupfunc" in value.__dict__
