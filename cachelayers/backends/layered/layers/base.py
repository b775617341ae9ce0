"""Layer, the interface of every layer: operations on names and entries.

LayeredCache calls it, and handles the errors that it lets through.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple, cast

from cachelayers.backends.layered.circuit_breaker import breaker_of
from cachelayers.conf import layer_name
from cachelayers.exceptions import NotSupported


class LayerEntry(NamedTuple):
    """A value and its expiry: seconds since 1970, or ``math.inf``."""

    value: Any
    expires: float

    def is_live(self) -> bool:
        """Return whether it has not expired, by this host's clock."""
        return self.expires > time.time()


NEVER: Final = math.inf
# Replaces an entry that was deleted, counted or touched in a lower layer: look further down, and do
# not fill from there. It stops a reader that has read the lower layer too early from writing an old
# value over the change.
TOMBSTONE: Final = LayerEntry(None, -math.inf)
TOMBSTONE_SECONDS: Final = 10.0
FILL_SECONDS: Final = 4.0  # a reader that took longer fills nothing: its tombstone may have expired

# The beginning of the names of keys that are too long, or not printable.
DIGEST_MARK: Final = "#"

Stored = tuple[Any, ...] | list[Any]  # the input of a layer's serializer: lists, because of JSON


def wrap(entry: LayerEntry) -> Stored:
    """Return the form for a layer that cannot tell an entry's remaining time."""
    if entry is TOMBSTONE:
        return ()
    return (entry.value, None if entry.expires == NEVER else entry.expires)


def unwrap(stored: Any) -> LayerEntry | None:
    """Return the entry; None for a value that no LayeredCache has stored."""
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
    """Return the time to live that is passed to a layer; None: no expiry.

    A little longer than the entry lives: the expiry inside it counts, and no older value may be
    filled in before a tombstone would have expired.
    """
    if entry.expires == NEVER:
        return None
    if entry is TOMBSTONE:
        return TOMBSTONE_SECONDS
    return max(entry.expires - time.time(), TOMBSTONE_SECONDS) + 1


Change = Callable[[LayerEntry], LayerEntry]
Errors = Sequence[type[BaseException] | str]


class Layer(ABC):
    """One cache of the stack. Names come from the LayeredCache: short, printable, unique to it."""

    is_local = False  # of this process only
    can_be_searched = True  # for a common beginning of names
    is_transactional = False  # may be part of the caller's transaction
    tracks_use = False  # knows when an entry was last read or written
    # Whether an outage may move keys to other servers, which then return old values.
    shuffles_keys = False
    # Errors of a cache of this kind that is down, full, slow or disconnected: classes, or dotted
    # paths for those of an optional library.
    cache_errors: ClassVar[Errors] = ()
    # Those among them that a reachable server raises when it rejects a command.
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
        """Return settings with time limits for the client of a server; limits that are set stay."""
        return {**params, "OPTIONS": dict(params.get("OPTIONS") or {})}

    def __init__(self, alias: str) -> None:
        """``alias``: of CACHES or LOCATION."""
        self.alias, self.name = alias, layer_name(alias)
        self.breaker = breaker_of(alias)

    @abstractmethod
    def read_many(self, names: Sequence[str]) -> Mapping[str, LayerEntry]:
        """Return the entries among ``names``, expired ones and tombstones too, in one call."""

    @abstractmethod
    def write_many(
        self, entries: Mapping[str, LayerEntry], event: bytes | None = None
    ) -> Sequence[str]:
        """Write entries in one call; return the names of those that were not stored."""

    @abstractmethod
    def delete_many(self, names: Sequence[str], event: bytes | None = None) -> bool:
        """Delete; return whether any entry is known to have existed."""

    @abstractmethod
    def add(self, name: str, entry: LayerEntry, event: bytes | None = None) -> bool:
        """Write if there is no live entry, atomically."""

    @abstractmethod
    def clear_names(self, head: str) -> None:
        """Delete every entry whose name begins with ``head``, if the layer can be searched."""

    def delete_unused(self, head: str, seconds: float) -> int:
        """Delete the entries whose name begins so and that were unused for so long; count them.

        Called only if ``tracks_use``, so a layer that sets it has this method.
        """
        raise self._cannot("delete_unused")

    def fill(self, entries: Mapping[str, LayerEntry]) -> None:
        """Write each entry whose name has no entry and no tombstone."""
        for name, entry in entries.items():
            self.add_to_empty(name, entry)

    def add_to_empty(self, name: str, entry: LayerEntry) -> bool:
        """Write if there is neither an entry nor a tombstone, atomically."""
        return self.add(name, entry)

    def write_tombstones(self, names: Sequence[str], event: bytes | None = None) -> None:
        """Replace entries by tombstones, in one call."""
        self.write_many(dict.fromkeys(names, TOMBSTONE), event)

    @abstractmethod
    def increment(self, name: str, delta: Any, event: bytes | None = None) -> Any:
        """Add to a live number atomically and return the sum; None: there is no such entry."""

    @abstractmethod
    def touch(self, name: str, expires: float, event: bytes | None = None) -> bool:
        """Give a live entry another expiry, atomically; return whether there was one."""

    def overwrite(self, name: str, entry: LayerEntry, event: bytes | None = None) -> bool:
        """Replace a live entry, atomically; return whether there was one."""
        raise self._cannot("set(xx=True)")

    def find_names(
        self, head: str, is_wanted: Callable[[str], bool], size: int
    ) -> Iterator[Sequence[str]]:
        """Yield pages of the names of live entries that begin with ``head``, without it.

        Only those that are wanted. Each page looks at about ``size`` entries. Called only if
        ``can_be_searched``.
        """
        raise self._cannot("keys() and delete_pattern()")

    def next_page(self, pages: Iterator[Sequence[str]]) -> Sequence[str] | None:
        """Return the next page of find_names(), or None."""
        return next(pages, None)

    def lock(self, name: str, **options: Any) -> Any:
        """Return a lock for all processes, with the methods and options of ``locking.Lock``."""
        raise self._cannot("lock()")

    def _cannot(self, what: str) -> NotSupported:
        return NotSupported(f"{what}: the layer {self.name!r}, a {type(self).__name__}, cannot.")

    def server_id(self) -> str | None:
        """Return an id that changes when the server restarts; None: unknown."""
        return None

    def view(self, names: Sequence[str]) -> tuple[float, Sequence[str]]:
        """Return the age of current reads, and the names with which layers above may be filled.

        The age is a time of time.monotonic(): every write that ended before it is visible.
        """
        return time.monotonic(), names

    def note_own(self, names: Sequence[str]) -> None:  # noqa: B027 - most have no transactions
        """Remember names that were written within the caller's transaction."""

    def waits_for_commit(self) -> bool:
        """Return whether a transaction separates reads and writes from those of others."""
        return False

    def after_commit(self, callback: Callable[[], None]) -> None:  # noqa: B027 - most have none
        """Call back after the caller's transaction has committed."""

    def own_async(self, operation: str, arguments: Iterable[Any]) -> Awaitable[Any] | None:
        """Return the operation as an awaitable, or None if it needs a thread."""
        return None

    def cut(self) -> None:  # noqa: B027 - most clients see to it themselves
        """Close connections that may have an unread answer after an interrupted call."""

    def close(self) -> None:  # noqa: B027 - most layers have nothing to close
        """Close what belongs to the request."""

    def describe(self) -> dict[str, Any]:
        """Return facts for operators that are cheap to find."""
        return {}


class ChangingLayer(Layer):
    """A layer that increments and touches by replacing entries atomically."""

    @abstractmethod
    def change(self, name: str, change: Change, event: bytes | None = None) -> LayerEntry | None:
        """Replace a live entry by ``change(entry)``, atomically; None: there is none."""

    def increment(self, name: str, delta: Any, event: bytes | None = None) -> Any:
        entry = self.change(name, lambda entry: entry._replace(value=entry.value + delta), event)
        return None if entry is None else entry.value

    def overwrite(self, name: str, entry: LayerEntry, event: bytes | None = None) -> bool:
        return self.change(name, lambda _: entry, event) is not None

    def touch(self, name: str, expires: float, event: bytes | None = None) -> bool:
        return self.change(name, lambda entry: entry._replace(expires=expires), event) is not None
