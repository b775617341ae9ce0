"""Notice what a block looks up: template variables, and parts of the request it is rendered for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from django.contrib.auth.context_processors import PermWrapper
from django.contrib.messages.storage.base import BaseStorage
from django.db.models import Model
from django.utils.functional import LazyObject, Promise, empty

from cachelayers.entries import Unstable
from cachelayers.fragments.canonical import SCALARS, Canonicalizer, encoder_of_plain_rows
from cachelayers.fragments.markup import (
    has_token,
    is_name_of_secret,
    is_wrapper,
    secret_candidates,
    session_key_of,
    text_of,
)
from cachelayers.fragments.variants import (
    URLS,
    USER,
    VALUES_IN_URLS,
    Surroundings,
    asked,
    canonical_users,
    current_locale,
    identity_of,
    note_locale,
    value_in,
)
from cachelayers.invalidation.dependencies import PLAIN, without_laziness
from cachelayers.invalidation.units import current_unit
from cachelayers.lookup import has_form_field
from cachelayers.request_access import (
    KNOWN_ATTRIBUTES,
    PRIVATE_NAME,
    current_observer,
    is_lazy,
    is_observed,
    observing,
    own_attributes,
    reader_of,
    real,
    secret_of,
    unobserved,
    watching_requests,
)
from cachelayers.request_access import is_request as is_one_of_django

NAMES_KNOWN_OTHERWISE = frozenset({"True", "False", "None", "user"})
LOOP = "forloop."
ALL_NAMES = "*"  # stands for the names that there are
ABSENT: Final = object()  # is the value of a name that nobody gives


class UnstableName(Unstable):
    """What stands under a name has no spelling; the text says all, but for its end."""

    def __init__(self, name: str, reason: object) -> None:
        """Say which name, and what to do."""
        super().__init__(
            f"it shows {name!r}, and {reason}. Give the fragment what it shows of that under a name"
            " of its own, such as a text, a number or a row"
        )


class CanonicalName(NamedTuple):
    """What stands under a name."""

    text: str
    rows: Sequence[Model] = ()  # that are in it
    is_all: bool = True  # whether the text says all that it is


NOTHING = CanonicalName("-")
NOTICED = CanonicalName("?")  # in another way


class Names:
    """The values of names around a block, each spelled when it is first asked for."""

    def __init__(self, find: Callable[[str], Any]) -> None:
        """``find``: returns a name's value, or ABSENT."""
        self._find = find
        self._known: dict[str, CanonicalName | UnstableName] = {}

    def note(self, name: str) -> None:
        """Spell what stands under a name before the block does something with it."""
        if name not in self._known:
            value = self._find(name)
            if name not in NAMES_KNOWN_OTHERWISE and (quick := canonical_plain(value)):
                self._known[name] = quick
                return
            self._known[name] = (
                NOTICED if is_known_otherwise(name, value) else canonical_name(name, value)
            )

    def spelled(self, name: str) -> CanonicalName:
        """Return the spelling of what stands under a name; UnstableName where there is none."""
        found = self._known.get(name)
        if found is None:
            self.note(name)
            found = self._known[name]
        if isinstance(found, UnstableName):
            raise found
        return found


def canonical_plain(value: Any) -> CanonicalName | None:
    """Return what canonical_name() does, for a plain value or row; None for all others."""
    cls = type(value)
    if cls in SCALARS:
        return CanonicalName(SCALARS[cls](value))
    if issubclass(cls, Model) and (text := encoder_of_plain_rows(cls)(value)) is not None:
        return CanonicalName(text, [value])
    return None


def canonical_name(name: str, value: Any) -> CanonicalName | UnstableName:
    """Return the spelling of a value, or why there is none."""
    if value is ABSENT:
        return NOTHING
    canonicalizer = Canonicalizer(is_named=True)
    try:
        text = canonicalizer.canonical_form(value)
    except Unstable as error:
        return UnstableName(name, error)
    except RecursionError:
        return UnstableName(name, "it is nested too deeply")
    return CanonicalName(text, canonicalizer.rows, canonicalizer.is_all)


def is_known_otherwise(name: str, value: Any) -> bool:
    """Tell what is noticed in ways of its own: the request, its user, its secrets, constants."""
    if name in NAMES_KNOWN_OTHERWISE:
        return True
    if is_name_of_secret(name) and issubclass(type(value), (LazyObject, Promise)):
        return True  # its first use is noticed
    if is_request(value):
        return True
    plain = without_laziness(value)
    return isinstance(plain, BaseStorage) or (name == "perms" and isinstance(plain, PermWrapper))


def is_request(value: Any) -> bool:
    """Tell a request, or what an API framework has put around one."""
    return is_one_of_django(value) or is_wrapper(value)


def context_value(dictionaries: Sequence[Mapping[str, Any]], name: str) -> Any:
    """Return what a context has under a name, or the loop in it under a path; or ABSENT."""
    if name == ALL_NAMES:
        return sorted({str(one) for dictionary in dictionaries for one in dictionary})
    first, *others = name.rstrip(".").split(".") if name.startswith(LOOP) else [name]
    for dictionary in reversed(dictionaries):
        if first in dictionary:
            value: Any = dictionary[first]
            for other in others:
                value = value[other] if isinstance(value, dict) and other in value else ABSENT
            return value
    return ABSENT


OTHER_USER = "the user of a request that only another object holds"
OTHER_REQUEST = "a request that only another object holds"
USED_ELSEWHERE = "a lazy object, such as the user, that another thread renders at the same time"
Note = Callable[[], None]
SetUp = Callable[[], Any]


class WatchedBlock(Surroundings, Protocol):
    """What is rendered."""

    @property
    def names(self) -> Mapping[str, Any]:
        """What the template knows."""


class BlockReads:
    """What one block has read."""

    def __init__(self, block: WatchedBlock, requests: list[Any]) -> None:
        """``requests``: all that the block may get at; one may wrap another."""
        self._block = block
        self._requests = requests
        self.dimensions: set[str] = set()
        self.secrets: list[str] = []
        # Values of dimensions as they were when they were first read.
        with unobserved():
            self.remembered: dict[str, str] = current_locale()
        # What was read of the request and is more than a number or text: there may be rows in it.
        self.objects: list[object] = []
        with unobserved():
            self.users = list(block.users())
            self._requests_in_key = list(block.requests())
        self._known_users = [one for user in self.users for one in layers_of(user)]
        unit = current_unit()
        self._request_of_unit = None if unit is None else unit.request
        self._identities: dict[int, str] = {}  # by the id of a user
        self._lazy_ids: set[int] = set()
        self._written: set[tuple[int, str]] = set()
        self._clean_ups = ExitStack()
        self._outer = current_observer()
        # To find out who the user is is no use of the session by the block, but is one by the view.
        self._sessions_that_found_users: list[Any] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Notice what the block reads."""
        note_locale()
        self._identify_plain_users()
        with self._clean_ups as stack:
            for request in self._requests:
                session = real(own_attributes(request).get("session"))
                if hasattr(session, "accessed"):
                    stack.enter_context(self._watching_session(session))
            for value, set_up_anew in self._lazy_objects():
                stack.enter_context(standing_in_itself(value, set_up_anew, self._note_disturbed))
            stack.enter_context(watching_requests(self._requests, self))
            stack.enter_context(self._watching_locale())
            stack.enter_context(observing(self))
            yield

    def look_for_secrets(self, text: str) -> None:
        """Find in what was rendered what is good for one response only, by its text.

        It may have been handed out before the block began.
        """
        for name, value in secret_candidates(self._block.names, self._requests):
            known = text_of(value)
            if known is not None and known in text:
                self.note_private(name_of_secret(name))
        for request in self._requests:
            if (key := session_key_of(request)) is not None and key in text:
                self.note_private("the session")
        has_tokens = any(has_token(text, request) for request in self._requests)
        if has_tokens or has_form_field(text):
            self.note_private("the CSRF token")

    # As an observer of requests

    def note_value(self, request: Any, variant: str) -> None:
        """Note a public value of a request: it selects the variant."""
        if self._outer is not None:
            self._outer.note_value(request, variant)
        if variant in self.remembered or (id(request), variant) in self._written:
            return
        if variant in VALUES_IN_URLS and request is self._request_of_unit:
            self.dimensions.add(URLS)
            return
        is_of_another = not any(request is one for one in self._requests_in_key)
        if is_of_another and is_observed(request):  # else it was copied by the block
            self.note_private(OTHER_REQUEST)
            return
        self._remember_value(request, variant)

    def note_private(self, what: str) -> None:
        """Note a value that is for one response only."""
        if self._outer is not None:
            self._outer.note_private(what)
        if what not in self.secrets:
            self.secrets.append(what)

    def note_user(self, user: Any) -> None:
        """Note that the user was read."""
        if self._outer is not None:
            self._outer.note_user(user)
        self.dimensions.add(USER)
        # The template need not know of the request that a form, say, was given.
        if not any(user is one for one in self._known_users):
            self.note_private(OTHER_USER)

    def note_written(self, request: Any, name: str) -> None:
        """Note that the block has set an attribute of a request."""
        if self._outer is not None:
            self._outer.note_written(request, name)
        self._written.add((id(request), f"request:{name}"))

    def at_the_end(self, clean_up: Note) -> None:
        """Call something when the block has been rendered."""
        self._clean_ups.callback(clean_up)

    def has_lazy_object(self, value: Any) -> bool:
        """Tell whether the first use of a lazy object is noticed."""
        return id(value) in self._lazy_ids

    # Values

    def _remember_value(self, request: Any, variant: str) -> None:
        try:
            with unobserved():
                self.remembered[variant] = value_in(self._block.requests(), reader_of(variant))
        except Unstable as error:
            self.note_private(f"{described(variant)} ({error})")
            return
        self.dimensions.add(variant)
        kind, _, name = variant.partition(":")
        value = own_attributes(request).get(name) if kind == "request" else None
        if type(value) not in PLAIN:
            self.objects.append(value)

    def _identify_plain_users(self) -> None:
        """Spell users before the block can add anything to them."""
        for user in self.users:
            if not is_lazy(user):
                self._identify(user)

    def _identify(self, user: Any) -> None:
        with suppress(Unstable), unobserved():  # the key says why
            self._identities[id(user)] = identity_of(user)

    def remember_users(self) -> None:
        """Remember who the users were before the block added something to them."""
        with suppress(Unstable), unobserved():
            self.remembered[USER] = canonical_users(
                [self._identities.get(id(user)) or identity_of(user) for user in self.users]
            )

    # Lazy objects

    def _lazy_objects(self) -> list[tuple[Any, Callable[[SetUp], Any]]]:
        """Return the lazy objects to watch, each once, with what is done at their first use."""
        found: dict[int, tuple[Any, Callable[[SetUp], Any]]] = {}
        users_of_requests = [
            user
            for request in self._requests
            for name in ("user", "_user")
            if (user := own_attributes(request).get(name)) is not None
        ]
        for user in [*self.users, *users_of_requests]:
            for one in layers_of(user):
                if is_lazy(one):
                    found.setdefault(id(one), (one, partial(self._set_up_user, one)))
        for name, value in secret_candidates(self._block.names, self._requests):
            if is_lazy(value):
                found.setdefault(id(value), (value, self._set_up_secret(name_of_secret(name))))
        for request in self._requests:
            for name, value in list(own_attributes(request).items()):
                if is_lazy(value) and name not in KNOWN_ATTRIBUTES:
                    set_up = partial(self._set_up_value, request, name, value)
                    found.setdefault(id(value), (value, set_up))
        self._lazy_ids |= found.keys()
        return list(found.values())

    def _note_disturbed(self) -> None:
        self.note_private(USED_ELSEWHERE)

    def _set_up_user(self, user: Any, set_up: SetUp) -> Any:
        """Find out who the user is; that this reads the session is not the block's doing."""
        self.note_user(user)
        sessions = [real(own_attributes(request).get("session")) for request in self._requests]
        before = [getattr(session, "accessed", None) for session in sessions]
        with unobserved():
            found = user._wrapped = set_up()
        for session, was_accessed in zip(sessions, before, strict=True):
            if was_accessed is False and session.accessed:
                session.accessed = False
                self._sessions_that_found_users.append(session)
        self._known_users += layers_of(found)
        self._identify(user)
        return found

    def _set_up_value(self, request: Any, name: str, value: Any, set_up: SetUp) -> Any:
        """Make what a middleware has put on the request as a lazy object.

        A text is taken for a secret of this response, as a nonce is.
        """
        with unobserved():
            found = value._wrapped = set_up()
        if type(found) is str or PRIVATE_NAME.search(name):
            self.note_private(secret_of(name))
        else:
            self.note_value(request, f"request:{name}")
        return found

    def _set_up_secret(self, what: str) -> Callable[[SetUp], Any]:
        def set_up_anew(set_up: SetUp) -> Any:
            self.note_private(what)
            with unobserved():
                return set_up()

        return set_up_anew

    @contextmanager
    def _watching_session(self, session: Any) -> Iterator[None]:
        """Notice by its own flag that a session was read or written, by whomever it is held."""
        before, session.accessed = session.accessed, False
        try:
            yield
        finally:
            if session.accessed:
                self.note_private("the session")
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


def name_of_secret(name: str) -> str:
    """Return what stands under a name, for people."""
    return "a CSP nonce" if "nonce" in name else "the CSRF token"


def described(variant: str) -> str:
    """Return what a variant reads, for people."""
    kind, _, name = variant.partition(":")
    return {"request": f"request.{name}", "match": f"request.resolver_match.{name}"}.get(
        kind, f"{name or 'the query'} of the request"
    )


def layers_of(value: Any) -> list[Any]:
    """Return a lazy object, with the lazy objects and the value that it was found to stand for."""
    found = []
    while value is not empty and value is not None:
        found.append(value)
        if not issubclass(type(value), LazyObject):
            break
        value = value._wrapped
    return found


@contextmanager
def standing_in_itself(
    value: Any, set_up_anew: Callable[[SetUp], Any], note_disturbed: Note
) -> Iterator[None]:
    """Have a lazy object set itself up anew at its first use, whoever holds it.

    ``note_disturbed``: called where another thread has put it back meanwhile, so that a use of it
    may not have been noticed.
    """
    wrapped, set_up = value._wrapped, value._setupfunc

    def give() -> Any:
        return set_up_anew(set_up if wrapped is empty else lambda: wrapped)

    value.__dict__["_setupfunc"] = give
    value._wrapped = empty
    try:
        yield
    finally:
        if value.__dict__["_setupfunc"] is not give:
            note_disturbed()
        value.__dict__["_setupfunc"] = set_up
        if value._wrapped is empty:
            value._wrapped = wrapped
