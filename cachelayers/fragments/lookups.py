"""Record what a block looks up: template variables, and values of its request.

`serving` asks it, after the rendering, which dimensions and secrets the block has used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from django.contrib.auth.context_processors import PermWrapper
from django.contrib.messages.storage.base import BaseStorage
from django.db.models import Model
from django.utils.functional import LazyObject, Promise, empty

from cachelayers.canonical import Unstable
from cachelayers.compat import URLS
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
    USER,
    VALUES_IN_URLS,
    Surroundings,
    asked,
    canonical_users,
    current_locale,
    identity_of,
    track_locale,
    value_in,
)
from cachelayers.invalidation import PLAIN_TYPES, current_unit, without_laziness
from cachelayers.lookup import has_form_field
from cachelayers.request_access import (
    KNOWN_ATTRIBUTES,
    PRIVATE_NAME,
    current_observer,
    is_lazy,
    is_observed,
    observing,
    observing_requests,
    own_attributes,
    reader_of,
    real,
    secret_of,
    unobserved,
)
from cachelayers.request_access import is_request as is_one_of_django

NAMES_KNOWN_OTHERWISE = frozenset({"True", "False", "None", "user"})
LOOP = "forloop."
ALL_NAMES = "*"  # stands for all names
ABSENT: Final = object()  # the value of a missing name


class UnstableName(Unstable):
    """A name whose value has no canonical form. The message is a sentence without its end."""

    def __init__(self, name: str, reason: object) -> None:
        super().__init__(
            f"it shows {name!r}, and {reason}. Give the fragment what it shows of it under a name"
            " of its own, such as a text, a number or a row"
        )


class CanonicalName(NamedTuple):
    """The canonical form of a name's value."""

    text: str
    rows: Sequence[Model] = ()  # rows in the value
    is_all: bool = True  # whether the text covers the whole value


NOTHING = CanonicalName("-")
KNOWN_OTHERWISE = CanonicalName("?")  # observed in another way


class Names:
    """The names around a block, each with its canonical form at the first lookup."""

    def __init__(self, find: Callable[[str], Any]) -> None:
        """``find`` returns a name's value, or ABSENT."""
        self._find = find
        self._canonical_names: dict[str, CanonicalName | UnstableName] = {}

    def note(self, name: str) -> None:
        """Make the canonical form of a name before the block can change its value."""
        if name not in self._canonical_names:
            value = self._find(name)
            if name not in NAMES_KNOWN_OTHERWISE and (quick := canonical_plain(value)):
                self._canonical_names[name] = quick
                return
            self._canonical_names[name] = (
                KNOWN_OTHERWISE if is_known_otherwise(name, value) else canonical_name(name, value)
            )

    def canonical(self, name: str) -> CanonicalName:
        """Return the canonical form of a name. Raises UnstableName."""
        found = self._canonical_names.get(name)
        if found is None:
            self.note(name)
            found = self._canonical_names[name]
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
    """Return the canonical form of a value, or the reason why it has none."""
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
    """Tell whether a value is observed elsewhere: requests, users, secrets, constants."""
    if name in NAMES_KNOWN_OTHERWISE:
        return True
    if is_name_of_secret(name) and issubclass(type(value), (LazyObject, Promise)):
        return True  # its first use is recorded
    if is_request(value):
        return True
    plain = without_laziness(value)
    return isinstance(plain, BaseStorage) or (name == "perms" and isinstance(plain, PermWrapper))


def is_request(value: Any) -> bool:
    """Tell whether it is a request, or an API framework's wrapper of one."""
    return is_one_of_django(value) or is_wrapper(value)


def context_value(dictionaries: Sequence[Mapping[str, Any]], name: str) -> Any:
    """Return the value of a name, or of a path in the loop; ABSENT if it is missing."""
    if name == ALL_NAMES:
        return sorted({str(one) for dictionary in dictionaries for one in dictionary})
    if not name.startswith(LOOP):
        for dictionary in reversed(dictionaries):
            if name in dictionary:
                return dictionary[name]
        return ABSENT
    first, *others = name.rstrip(".").split(".")
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


class ObservedBlock(Surroundings, Protocol):
    """A block whose reads are recorded."""

    @property
    def names(self) -> Mapping[str, Any]: ...


class BlockReads:
    """The reads of one block."""

    def __init__(self, block: ObservedBlock, requests: list[Any]) -> None:
        """``requests``: all that the block can reach; one may wrap another."""
        self._block = block
        self._requests = requests
        self.dimensions: set[str] = set()
        self.secrets: list[str] = []
        # The values of dimensions at their first read.
        with unobserved():
            self.remembered: dict[str, str] = current_locale()
        # Request values that are not a number or text: they may contain rows.
        self.objects: list[object] = []
        with unobserved():
            self.users = list(block.users())
            self._requests_in_key = list(block.requests())
        self._known_users = [one for user in self.users for one in layers_of(user)]
        unit = current_unit()
        self._request_of_unit = None if unit is None else unit.request
        self._identities: dict[int, str] = {}  # by the id() of a user
        self._lazy_ids: set[int] = set()
        self._written: set[tuple[int, str]] = set()
        self._clean_ups = ExitStack()
        self._outer = current_observer()
        # Finding the user reads the session. That is a read by the view, not by the block.
        self._sessions_that_found_users: list[Any] = []

    @contextmanager
    def tracking(self) -> Iterator[None]:
        track_locale()
        self._identify_plain_users()
        with self._clean_ups as stack:
            for request in self._requests:
                session = real(own_attributes(request).get("session"))
                if hasattr(session, "accessed"):
                    stack.enter_context(self._tracking_session(session))
            for value, set_up_anew in self._lazy_objects():
                stack.enter_context(standing_in_itself(value, set_up_anew, self._note_disturbed))
            stack.enter_context(observing_requests(self._requests, self))
            stack.enter_context(self._watching_locale())
            stack.enter_context(observing(self))
            yield

    def look_for_secrets(self, text: str) -> None:
        """Find secrets of this response in the rendered text.

        They may have been read before the block began.
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
        """Record a public value of a request, which selects the variant."""
        if self._outer is not None:
            self._outer.note_value(request, variant)
        if variant in self.remembered or (id(request), variant) in self._written:
            return
        if variant in VALUES_IN_URLS and request is self._request_of_unit:
            self.dimensions.add(URLS)
            return
        is_of_another = not any(request is one for one in self._requests_in_key)
        if is_of_another and is_observed(request):  # otherwise the block has copied the request
            self.note_private(OTHER_REQUEST)
            return
        self._remember_value(request, variant)

    def note_private(self, what: str) -> None:
        """Record a value that belongs to one response only."""
        if self._outer is not None:
            self._outer.note_private(what)
        if what not in self.secrets:
            self.secrets.append(what)

    def note_user(self, user: Any) -> None:
        if self._outer is not None:
            self._outer.note_user(user)
        self.dimensions.add(USER)
        # A form, for example, may know a request that the template does not.
        if not any(user is one for one in self._known_users):
            self.note_private(OTHER_USER)

    def note_written(self, request: Any, name: str) -> None:
        """Record that the block has set an attribute of a request."""
        if self._outer is not None:
            self._outer.note_written(request, name)
        self._written.add((id(request), f"request:{name}"))

    def at_the_end(self, clean_up: Note) -> None:
        """Register a callback for the end of the rendering."""
        self._clean_ups.callback(clean_up)

    def has_lazy_object(self, value: Any) -> bool:
        """Tell whether the first use of a lazy object is recorded."""
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
        if type(value) not in PLAIN_TYPES:
            self.objects.append(value)

    def _identify_plain_users(self) -> None:
        """Make the canonical forms of users before the block can change them."""
        for user in self.users:
            if not is_lazy(user):
                self._identify(user)

    def _identify(self, user: Any) -> None:
        with suppress(Unstable), unobserved():  # the key gives the reason
            self._identities[id(user)] = identity_of(user)

    def remember_users(self) -> None:
        """Remember the canonical forms of the users from before the block changed them."""
        with suppress(Unstable), unobserved():
            self.remembered[USER] = canonical_users(
                [self._identities.get(id(user)) or identity_of(user) for user in self.users]
            )

    # Lazy objects

    def _lazy_objects(self) -> list[tuple[Any, Callable[[SetUp], Any]]]:
        """Return each lazy object to track, with the function for its first use."""
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
        """Evaluate the user; the block is not charged for the session reads."""
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
        """Evaluate a lazy object that a middleware has put on the request.

        A text counts as a secret of this response, like a nonce.
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
    def _tracking_session(self, session: Any) -> Iterator[None]:
        """Record by the session's own flags that anything has read or written it."""
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
    return "a CSP nonce" if "nonce" in name else "the CSRF token"


def described(variant: str) -> str:
    kind, _, name = variant.partition(":")
    return {"request": f"request.{name}", "match": f"request.resolver_match.{name}"}.get(
        kind, f"{name or 'the query'} of the request"
    )


def layers_of(value: Any) -> list[Any]:
    """Return a lazy object, the lazy objects within it, and the value."""
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
    """Make an evaluated lazy object evaluate itself again at its next use.

    ``note_disturbed`` is called if another thread restored it meanwhile, so that a use may have
    been missed.
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
