"""A memcached as a layer, through pymemcache, whose compare-and-set decides what is counted."""

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

CHANGE_SECONDS = 5.0  # of trying to replace an entry that others keep replacing
LONGEST_RELATIVE = 30 * 24 * 60 * 60  # seconds; more is taken for a time since 1970
LATEST = 2**31 - 1
TOO_LARGE = "pymemcache.exceptions.MemcacheServerError"


def too_large() -> type[BaseException]:
    """Return what the client raises for a value over the server's limit."""
    error: type[BaseException] = loaded(TOO_LARGE)  # this layer's cache has imported it
    return error


class MemcachedLayer(ChangingLayer):
    """Entries in one memcached, or spread over several by their keys."""

    shuffles_keys = True  # pymemcache gives the keys of a dead server to the others

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
        """Return the layer, whose client takes bytes that it cannot decode for a miss."""
        limited = cls.with_time_limits(params, limit_seconds)
        limited["OPTIONS"]["serde"] = ForgivingSerde(alias, serde_of(limited["OPTIONS"]))
        return cls(alias, cast(Any, backend)(location, limited))

    @classmethod
    def with_time_limits(cls, params: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Return settings in which the client gives up in time, and no server leaves the ring."""
        given: dict[str, Any] = {
            "connect_timeout": seconds,
            "timeout": seconds,
            "no_delay": True,
            # No server leaves the ring: processes would notice at different moments, and write
            # the same key to different servers. The breaker spares callers the wait.
            "retry_attempts": 10**9,
            "retry_timeout": -1,
        }
        return {**params, "OPTIONS": given | dict(params.get("OPTIONS") or {})}

    def __init__(self, alias: str, cache: BaseCache) -> None:
        """Use the client of the cache."""
        super().__init__(alias)
        self.cache = cache
        self._client: Any = cache._cache  # type: ignore[attr-defined]

    def read_many(self, names: Sequence[str]) -> dict[str, LayerEntry]:
        """Return what is there, by one command for each server."""
        keys = {self.cache.make_key(name): name for name in names}
        found = self._client.get_many(list(keys))
        entries = {keys[key]: unwrap(stored) for key, stored in found.items()}
        return {name: entry for name, entry in entries.items() if entry is not None}

    def write_many(
        self, entries: Mapping[str, LayerEntry], event: bytes | None = None
    ) -> Sequence[str]:
        """Write; those over the server's limit are left out and counted."""
        refused = []
        for seconds, group in by_expiry(entries).items():
            wrapped = {self.cache.make_key(name): wrap(entry) for name, entry in group.items()}
            try:
                self._client.set_many(wrapped, seconds)
            except too_large():
                refused += self._write_singly(group, seconds)
        return refused

    def delete_many(self, names: Sequence[str], event: bytes | None = None) -> bool:
        """Delete; of several it is not known whether they were there."""
        keys = [self.cache.make_key(name) for name in names]
        if len(keys) == 1:
            return bool(self._client.delete(keys[0]))
        self._client.delete_many(keys)
        return False

    def add(self, name: str, entry: LayerEntry, event: bytes | None = None) -> bool:
        """Write where there is nothing, or what is over."""
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
        """Write natively; what is too large is not written."""
        try:
            return bool(self._client.add(self.cache.make_key(name), wrap(entry), seconds_of(entry)))
        except too_large():
            counts.add(self.alias, "too_large")
            return False

    def change(self, name: str, change: Change, event: bytes | None = None) -> LayerEntry | None:
        """Read, and write if nobody has written in between; else again."""
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
        raise TimeoutError(f"CACHES[{self.alias!r}]: an entry was replaced for {CHANGE_SECONDS} s.")

    def clear_names(self, head: str) -> None:
        """Leave them: a memcached cannot be searched. Nobody reads them any more."""

    def close(self) -> None:
        """Close the connections, as Django does at the end of a request."""
        self.cache.close()

    def _gets(self, key: str) -> tuple[Any, Any]:
        """Return what is stored and the token of compare-and-set."""
        stored, token = self._client.gets(key) or (None, None)
        return stored, token

    def _write_singly(self, entries: Mapping[str, LayerEntry], seconds: int) -> list[str]:
        """Write what can be written, and delete what the others should have replaced."""
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
    """What turns values into bytes and back, as pymemcache calls it; bad bytes are a miss."""

    def __init__(self, alias: str, serde: Any) -> None:
        """``serde``: the one that the cache would use."""
        self._alias, self._serde = alias, serde

    def serialize(self, key: Any, value: Any) -> Any:
        """Return the bytes and their flags."""
        return self._serde.serialize(key, value)

    def deserialize(self, key: Any, value: Any, flags: int) -> Any:
        """Return the value, or None."""
        return decoded(self._alias, self._serde.deserialize, key, value, flags)


def serde_of(options: Mapping[str, Any]) -> Any:
    """Return what turns values into bytes for a PyMemcacheCache with these OPTIONS."""
    from pymemcache.serde import pickle_serde

    return options.get("serde") or pickle_serde


def by_expiry(entries: Mapping[str, LayerEntry]) -> dict[int, dict[str, LayerEntry]]:
    """Group entries by the number that memcached is given for their expiry."""
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
