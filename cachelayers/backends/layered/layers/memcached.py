"""memcached as a layer, through pymemcache; compare-and-set makes counting atomic.

Made by ``make_layer`` for PyMemcacheCache.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self, cast

from django.core.cache.backends.base import BaseCache

from cachelayers.backends.kinds import loaded
from cachelayers.backends.layered.layers.base import (
    TOMBSTONE,
    Change,
    ChangingLayer,
    LayerEntry,
    native_seconds,
    unwrap,
    wrap,
)
from cachelayers.backends.unreadable import decoded
from cachelayers.utils.counters import counts

CHANGE_SECONDS = 5.0  # of retries to replace an entry that others keep replacing
# seconds; memcached reads a larger number as a time since 1970
LONGEST_RELATIVE = 30 * 24 * 60 * 60
LATEST = 2**31 - 1
TOO_LARGE = "pymemcache.exceptions.MemcacheServerError"


def too_large() -> type[BaseException]:
    """Return the client's error for a value over the server's limit."""
    error: type[BaseException] = loaded(TOO_LARGE)  # this layer's cache has imported it
    return error


class MemcachedLayer(ChangingLayer):
    """Entries in one memcached, or spread over several by their keys."""

    shuffles_keys = True  # pymemcache moves the keys of a failed server to the others

    can_be_searched = False
    cache_errors = ("pymemcache.exceptions.MemcacheError",)
    refusals = (TOO_LARGE, "pymemcache.exceptions.MemcacheClientError")

    @classmethod
    def make(
        cls,
        alias: str,
        backend: type,
        location: Any,
        params: Mapping[str, Any],
        limit_seconds: float,
    ) -> Self:
        """Return the layer, for whose client undecodable bytes are a miss."""
        limited = cls.with_time_limits(params, limit_seconds)
        limited["OPTIONS"]["serde"] = ForgivingSerde(alias, serde_of(limited["OPTIONS"]))
        return cls(alias, cast(Any, backend)(location, limited))

    @classmethod
    def with_time_limits(cls, params: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Return settings with time limits for the client; limits that are set stay."""
        given: dict[str, Any] = {
            "connect_timeout": seconds,
            "timeout": seconds,
            "no_delay": True,
            # Every server stays in the ring: processes would remove it at different moments, and
            # write the same key to different servers. The circuit breaker spares callers the wait.
            "retry_attempts": 10**9,
            "retry_timeout": -1,
        }
        return {**params, "OPTIONS": given | dict(params.get("OPTIONS") or {})}

    def __init__(self, alias: str, cache: BaseCache) -> None:
        super().__init__(alias)
        self.cache = cache
        self._client: Any = cache._cache  # type: ignore[attr-defined]

    def read_many(self, names: Sequence[str]) -> dict[str, LayerEntry]:
        """Return the entries, with one command for each server."""
        keys = {self.cache.make_key(name): name for name in names}
        found = self._client.get_many(list(keys))
        entries = {keys[key]: unwrap(stored) for key, stored in found.items()}
        return {name: entry for name, entry in entries.items() if entry is not None}

    def write_many(
        self, entries: Mapping[str, LayerEntry], event: bytes | None = None
    ) -> Sequence[str]:
        """Write; values over the server's limit are skipped and counted."""
        refused = []
        for seconds, group in by_expiry(entries).items():
            wrapped = {self.cache.make_key(name): wrap(entry) for name, entry in group.items()}
            try:
                self._client.set_many(wrapped, seconds)
            except too_large():
                refused += self._write_singly(group, seconds)
        return refused

    def delete_many(self, names: Sequence[str], event: bytes | None = None) -> bool:
        """Delete; for several names it is unknown whether there were entries."""
        keys = [self.cache.make_key(name) for name in names]
        if len(keys) == 1:
            return bool(self._client.delete(keys[0]))
        self._client.delete_many(keys)
        return False

    def add(self, name: str, entry: LayerEntry, event: bytes | None = None) -> bool:
        """Write if there is no entry, or only an expired one or a tombstone."""
        if self.add_to_empty(name, entry):
            return True
        key = self.cache.make_key(name)
        deadline = time.monotonic() + CHANGE_SECONDS
        while time.monotonic() < deadline:
            stored, token = self._gets(key)
            found = unwrap(stored)
            if found is not None and found.is_live():
                return False
            if token is None:
                if self.add_to_empty(name, entry):
                    return True
            elif self._client.cas(key, wrap(entry), token, seconds_of(entry)):
                return True
        return False

    def add_to_empty(self, name: str, entry: LayerEntry) -> bool:
        """Write natively; a value too large is not written."""
        try:
            return bool(self._client.add(self.cache.make_key(name), wrap(entry), seconds_of(entry)))
        except too_large():
            counts.add(self.alias, "too_large")
            return False

    def change(self, name: str, change: Change, event: bytes | None = None) -> LayerEntry | None:
        """Read, and write if nobody has written in between; else retry."""
        key = self.cache.make_key(name)
        deadline = time.monotonic() + CHANGE_SECONDS
        while time.monotonic() < deadline:
            stored, token = self._gets(key)
            entry = unwrap(stored)
            if entry is None or not entry.is_live():
                return None
            changed = change(entry)
            if self._client.cas(key, wrap(changed), token, seconds_of(changed)):
                return changed
        raise TimeoutError(f"CACHES[{self.alias!r}]: others kept replacing an entry.")

    def clear_names(self, head: str) -> None:
        """Do nothing: a memcached cannot be searched. The new epoch hides the entries."""

    def close(self) -> None:
        """Close the connections, as Django does at the end of a request."""
        self.cache.close()

    def _gets(self, key: str) -> tuple[Any, Any]:
        """Return the stored value and its compare-and-set token."""
        stored, token = self._client.gets(key) or (None, None)
        return stored, token

    def _write_singly(self, entries: Mapping[str, LayerEntry], seconds: int) -> list[str]:
        """Write what the server accepts; delete the entries that the rest should have replaced."""
        refused = []
        for name, entry in entries.items():
            key = self.cache.make_key(name)
            try:
                self._client.set(key, wrap(entry), seconds)
            except too_large():
                counts.add(self.alias, "too_large")
                self._client.set(key, wrap(TOMBSTONE), seconds_of(TOMBSTONE))
                refused.append(name)
        return refused


class ForgivingSerde:
    """A serializer as pymemcache calls it; unreadable bytes are a miss."""

    def __init__(self, alias: str, serde: Any) -> None:
        """``serde``: the cache's own serializer."""
        self._alias, self._serde = alias, serde

    def serialize(self, key: Any, value: Any) -> Any:
        return self._serde.serialize(key, value)

    def deserialize(self, key: Any, value: Any, flags: int) -> Any:
        return decoded(self._alias, self._serde.deserialize, key, value, flags)


def serde_of(options: Mapping[str, Any]) -> Any:
    """Return the serializer of a PyMemcacheCache with these OPTIONS."""
    from pymemcache.serde import pickle_serde

    return options.get("serde") or pickle_serde


def by_expiry(entries: Mapping[str, LayerEntry]) -> dict[int, dict[str, LayerEntry]]:
    """Group entries by the expiry that memcached gets for them."""
    groups: dict[int, dict[str, LayerEntry]] = {}
    for name, entry in entries.items():
        groups.setdefault(seconds_of(entry), {})[name] = entry
    return groups


def seconds_of(entry: LayerEntry) -> int:
    """Return the expiry as memcached takes it: relative, or since 1970; 0: none."""
    seconds = native_seconds(entry)
    if seconds is None:
        return 0
    whole = math.ceil(seconds)
    if whole <= LONGEST_RELATIVE:
        return whole
    latest = whole + int(time.time())
    return latest if latest <= LATEST else 0
