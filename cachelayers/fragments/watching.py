"""Notice what a block reads of the request it is rendered for: its user, language, secrets.

What depends on the user or the locale gets them into its key. What holds a secret is for this one
response, and not kept at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Protocol

from django.utils.functional import SimpleLazyObject, empty

from cachelayers.fragments.locale import LANGUAGE, asked, note_locale
from cachelayers.fragments.places import USER, user_of
from cachelayers.fragments.secrets import (
    SECRET_HEADERS,
    SECRET_VARIABLES,
    NotedMapping,
    attribute,
    has_form_field,
    has_token,
    is_lazy,
    real,
    secret_candidates,
    session_key_of,
    text_of,
)

CSRF_FLAG = "CSRF_COOKIE_NEEDS_UPDATE"  # set by each use of the token
OTHER_USER = "the user of a request that only another object holds"
Note = Callable[[], None]


class Watched(Protocol):
    """What is rendered."""

    @property
    def names(self) -> Mapping[str, Any]:
        """What the template knows."""

    def users(self) -> Iterable[Any]:
        """Return who may be meant by its user."""


class Watch:
    """What one block has read."""

    def __init__(self, block: Watched, requests: list[Any]) -> None:
        """``requests``: all that the block may get at; one may wrap another."""
        self._block = block
        self._requests = requests
        self._users_in_key = list(block.users())
        self.dimensions: set[str] = set()
        self.secrets: list[str] = []
        # To find out who the user is is no use of the session by the block, but is one by the view.
        self._sessions_that_found_users: list[Any] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Notice what the block reads."""
        note_locale()
        with ExitStack() as stack:
            for value, note in self._lazy_objects():
                stack.enter_context(standing_in_itself(value, note))
            for request in self._requests:
                self._watch_request(stack, request)
            stack.enter_context(self._watching_locale())
            yield

    def look_for_secrets(self, text: str) -> None:
        """Find in what was rendered what is good for one response only, by its text."""
        for name, value in self._secret_candidates():
            known = text_of(value)
            if known is not None and known in text:
                self._note_secret(name_of_secret(name))
        for request in self._requests:
            if (key := session_key_of(request)) is not None and key in text:
                self._note_secret("the session")
        has_tokens = any(has_token(text, request) for request in self._requests)
        if has_tokens or has_form_field(text):
            self._note_secret("the CSRF token")

    def _lazy_objects(self) -> list[tuple[Any, Callable[[Callable[[], Any]], Any]]]:
        """Return the lazy objects to watch, each once, with what is done at their first use."""
        found: dict[int, tuple[Any, Callable[[Callable[[], Any]], Any]]] = {}
        for user in [*self._block.users(), *(user_of(request) for request in self._requests)]:
            if is_lazy(user):
                found[id(user)] = user, partial(self._set_up_user, user)
        for name, value in self._secret_candidates():
            if is_lazy(value):
                found.setdefault(id(value), (value, self._set_up_secret(name_of_secret(name))))
        return list(found.values())

    def _secret_candidates(self) -> Iterator[tuple[str, Any]]:
        return secret_candidates(self._block.names, self._requests)

    def _watch_request(self, stack: ExitStack, request: Any) -> None:
        """Watch what a request holds; each of it is put back when the block has been rendered."""
        session = getattr(request, "session", None)
        if hasattr(real(session), "accessed"):
            stack.enter_context(self._watching_session(real(session)))
        note_token = self._noting("the CSRF token")
        stack.enter_context(watching_csrf(request, note_token))
        stand_ins: list[tuple[str, Any, Note]] = [
            ("session", session, self._noting("the session")),
            ("_messages", getattr(request, "_messages", None), self._noting("messages")),
            ("COOKIES", getattr(request, "COOKIES", None), self._noting("a cookie")),
            ("LANGUAGE_CODE", getattr(request, "LANGUAGE_CODE", None), self._note_language),
        ]
        if not is_lazy(user := user_of(request)):
            # As API frameworks and tests put there.
            stand_ins.append(("user", user, partial(self._note_user, user)))
        for name, value, note in stand_ins:
            if value is not None:
                stack.enter_context(standing_in(request, name, lazily(value, note), value, note))
        # In this order: the headers are made of all variables when they are first asked for.
        for name, secrets in (("headers", SECRET_HEADERS), ("META", SECRET_VARIABLES)):
            mapping = getattr(request, name, None)
            if isinstance(mapping, Mapping):
                note = self._noting("the headers of the request")
                noted = NotedMapping(mapping, secrets, note)
                stack.enter_context(standing_in(request, name, noted, mapping, note))

    @contextmanager
    def _watching_session(self, session: Any) -> Iterator[None]:
        """Notice by its own flag that a session was read or written, by whomever it is held."""
        before, session.accessed = session.accessed, False
        try:
            yield
        finally:
            if session.accessed:
                self._note_secret("the session")
            has_found_user = any(session is one for one in self._sessions_that_found_users)
            session.accessed = session.accessed or before or has_found_user

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

    def _note_user(self, user: Any) -> None:
        self.dimensions.add(USER)
        # The template need not know of the request that a form, say, was given.
        if not any(user is one for one in self._users_in_key):
            self._note_secret(OTHER_USER)

    def _set_up_user(self, user: Any, set_up: Callable[[], Any]) -> Any:
        """Find out who the user is; that this reads the session is not the block's doing."""
        self._note_user(user)
        with ExitStack() as stack:
            for request in self._requests:
                session = getattr(request, "session", None)
                if is_lazy(session):
                    note = self._noting("the session")
                    found_before = real(session)
                    stack.enter_context(
                        standing_in(request, "session", found_before, session, note)
                    )
            sessions: list[Any] = [getattr(request, "session", None) for request in self._requests]
            before = [getattr(session, "accessed", None) for session in sessions]
            found = set_up()
            for session, was_accessed in zip(sessions, before, strict=True):
                if was_accessed is False and session.accessed:
                    session.accessed = False
                    self._sessions_that_found_users.append(session)
        return found

    def _set_up_secret(self, what: str) -> Callable[[Callable[[], Any]], Any]:
        def set_up_anew(set_up: Callable[[], Any]) -> Any:
            self._note_secret(what)
            return set_up()

        return set_up_anew

    def _noting(self, what: str) -> Note:
        return lambda: self._note_secret(what)

    def _note_language(self) -> None:
        self.dimensions.add(LANGUAGE)

    def _note_secret(self, what: str) -> None:
        if what not in self.secrets:
            self.secrets.append(what)


def name_of_secret(name: str) -> str:
    """Return what stands under a name, for people."""
    return "a CSP nonce" if "nonce" in name else "the CSRF token"


# One kind of thing each


@contextmanager
def watching_csrf(request: Any, note: Note) -> Iterator[None]:
    """Notice by the flag that each use of the token sets that it was used."""
    variables = getattr(request, "META", {})
    before = variables.pop(CSRF_FLAG, None)
    try:
        yield
    finally:
        if CSRF_FLAG in variables:
            note()
        elif before is not None:
            variables[CSRF_FLAG] = before


def lazily(value: Any, note: Note) -> Any:
    """Return a lazy object that stands for a value and notes its first use."""

    def give() -> Any:
        note()
        return value

    stand_in = SimpleLazyObject(give)
    vars(stand_in)["_real"] = value
    return stand_in


@contextmanager
def standing_in(request: Any, name: str, stand_in: Any, value: Any, note: Note) -> Iterator[None]:
    """Have something stand in for a value in an attribute of a request.

    Where it cannot be set, it is watched in the request that this one wraps, if there is one.
    Otherwise its use cannot be seen, and is noted at once.
    """
    try:
        setattr(request, name, stand_in)
    except AttributeError:
        if attribute(request, "_request") is None:
            note()
        yield
        return
    try:
        yield
    finally:
        if vars(request).get(name, getattr(request, name, None)) is stand_in:
            setattr(request, name, value)  # a log-in, say, has put another one there


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
