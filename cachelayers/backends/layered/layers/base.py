"""What every layer can do, in names and entries. Errors pass through; LayeredCache handles them."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple, cast

from cachelayers.backends.layered.circuit_breaker import breaker_of


class LayerEntry(NamedTuple):
    """A value and when it expires: seconds since 1970, or ``math.inf``."""

    value: Any
    expires: float

    def is_live(self) -> bool:
        """Tell whether it has not expired, by this machine's clock."""
        return self.expires > time.time()


NEVER: Final = math.inf
# In the place of an entry that was deleted, counted or touched in a layer below: nothing is here,
# look further down, and do not fill this place from there. It keeps a reader who has read the
# layer below a moment too early from putting an old value over the change.
TOMBSTONE: Final = LayerEntry(None, -math.inf)
TOMBSTONE_SECONDS: Final = 10.0
FILL_SECONDS: Final = 4.0  # a reader who took longer fills nothing: its detour may be over

# What the names of keys begin with that are too long or too odd to be names themselves.
DIGEST_MARK: Final = "#"

Stored = tuple[Any, ...] | list[Any]  # what a layer's serializer is given: lists, because of JSON


def wrap(entry: LayerEntry) -> Stored:
    """Return what is put into a layer that cannot tell for how long an entry still lives."""
    if entry is TOMBSTONE:
        return ()
    return (entry.value, None if entry.expires == NEVER else entry.expires)


def unwrap(stored: Any) -> LayerEntry | None:
    """Return the entry; None for what no LayeredCache has stored."""
    if type(stored) not in (tuple, list):
        return None
    if not stored:
        return TOMBSTONE
    if len(stored) != 2:
        return None
    value, expires = stored
    if expires is None:
        return LayerEntry(value, NEVER)
    return LayerEntry(value, expires) if type(expires) in (int, float) else None


def native_seconds(entry: LayerEntry) -> float | None:
    """Return for how long a layer is asked to keep an entry; None: for ever.

    A little longer than the entry lives: the expiry in it decides, and until a detour would be over
    nobody puts an older value into its place.
    """
    if entry.expires == NEVER:
        return None
    if entry is TOMBSTONE:
        return TOMBSTONE_SECONDS
    return max(entry.expires - time.time(), TOMBSTONE_SECONDS) + 1


Change = Callable[[LayerEntry], LayerEntry]
Errors = Sequence[type[BaseException] | str]


class Layer(ABC):
    """One cache of the stack. Names are made by the LayeredCache: short, printable, its own."""

    is_local = False  # of this process only
    can_be_searched = True  # for names that begin alike
    is_transactional = False  # may be part of a transaction of the caller's
    # Whether an outage may have changed where keys live, so that old values come back with it.
    shuffles_keys = False
    # What a cache of this kind raises that is down, full, slow or cut off: classes, or the dotted
    # paths of those of a library that not every site has.
    cache_errors: ClassVar[Errors] = ()
    # Those among them by which a server that works says that it does not want what it was given.
    refusals: ClassVar[Errors] = ()

    @classmethod
    def make(
        cls,
        alias: str,
        backend: type,
        location: Any,
        params: Mapping[str, Any],
        limit_seconds: float,
    ) -> Layer:
        """Return the layer of an alias of CACHES, with a cache object of its own.

        ``params``: the settings of the cache without BACKEND and LOCATION.
        """
        limited = cls.with_time_limits(params, limit_seconds)
        return cast(Any, cls)(alias, cast(Any, backend)(location, limited))  # type: ignore[no-any-return]

    @classmethod
    def with_time_limits(cls, params: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Return settings in which the client of a server gives up in time; what is set stays."""
        return {**params, "OPTIONS": dict(params.get("OPTIONS") or {})}

    def __init__(self, alias: str) -> None:
        """``alias``: of CACHES."""
        self.alias = alias
        self.breaker = breaker_of(alias)

    @abstractmethod
    def read_many(self, names: Sequence[str]) -> Mapping[str, LayerEntry]:
        """Return what is there, in one call; it may be expired, or a detour."""

    @abstractmethod
    def write_many(
        self, entries: Mapping[str, LayerEntry], event: bytes | None = None
    ) -> Sequence[str]:
        """Write over whatever is there, in one call; return the names of what it does not take."""

    @abstractmethod
    def delete_many(self, names: Sequence[str], event: bytes | None = None) -> bool:
        """Delete; return whether any of them was there, as far as that can be told."""

    @abstractmethod
    def add(self, name: str, entry: LayerEntry, event: bytes | None = None) -> bool:
        """Write where there is no live entry, as one step."""

    @abstractmethod
    def clear_names(self, head: str) -> None:
        """Delete every entry whose name begins so, as far as they can be found."""

    def fill(self, entries: Mapping[str, LayerEntry]) -> None:
        """Write each entry whose place is empty; a detour is not."""
        for name, entry in entries.items():
            self.add_to_empty(name, entry)

    def add_to_empty(self, name: str, entry: LayerEntry) -> bool:
        """Write where there is nothing at all, as one step."""
        return self.add(name, entry)

    def write_tombstones(self, names: Sequence[str], event: bytes | None = None) -> None:
        """Put a detour in the place of each, in one call."""
        self.write_many(dict.fromkeys(names, TOMBSTONE), event)

    @abstractmethod
    def increment(self, name: str, delta: Any, event: bytes | None = None) -> Any:
        """Add to a live number, as one step, and return the sum; None: there is none."""

    @abstractmethod
    def touch(self, name: str, expires: float, event: bytes | None = None) -> bool:
        """Give a live entry another expiry, as one step; return whether there was one."""

    def server_id(self) -> str | None:
        """Return what changes when the server begins anew, where it can tell."""
        return None

    def view(self, names: Sequence[str]) -> tuple[float, Sequence[str]]:
        """Return how old what is read now may be, and which names may be put into other layers.

        A time of time.monotonic(): every write that ended before it is seen.
        """
        return time.monotonic(), names

    def note_own(self, names: Sequence[str]) -> None:  # noqa: B027 - most have no transactions
        """Remember what was written within the caller's transaction."""

    def waits_for_commit(self) -> bool:
        """Tell whether what is read and written now is not what others see."""
        return False

    def after_commit(self, callback: Callable[[], None]) -> None:  # noqa: B027 - most have none
        """Call back when the caller's transaction is committed."""

    def own_async(self, operation: str, arguments: Iterable[Any]) -> Awaitable[Any] | None:
        """Return an operation as something to await, or None where it needs a thread."""
        return None

    def cut(self) -> None:  # noqa: B027 - most clients see to it themselves
        """End connections on which an answer may be left, after a call that was interrupted."""

    def close(self) -> None:  # noqa: B027 - most layers have nothing to close
        """Give back what belongs to the request."""

    def describe(self) -> dict[str, Any]:
        """Return what an operator wants to know and what is cheap to find out."""
        return {}


class ChangingLayer(Layer):
    """A layer that counts and touches by replacing what it has, as one step."""

    @abstractmethod
    def change(self, name: str, change: Change, event: bytes | None = None) -> LayerEntry | None:
        """Replace a live entry by what ``change`` makes of it, as one step; None: there is none."""

    def increment(self, name: str, delta: Any, event: bytes | None = None) -> Any:
        """Add to a number."""
        entry = self.change(name, lambda entry: entry._replace(value=entry.value + delta), event)
        return None if entry is None else entry.value

    def touch(self, name: str, expires: float, event: bytes | None = None) -> bool:
        """Give an entry another expiry."""
        return self.change(name, lambda entry: entry._replace(expires=expires), event) is not None
