"""Any Django cache as a layer, through Django's own methods only.

Made by ``make_layer`` for backends without a kind of their own. Operations that are not atomic in
Django's API (``incr`` of an entry with an expiry, ``touch``) read and write under a lock of the
process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any

from asgiref.sync import sync_to_async
from django.core.cache.backends.base import BaseCache

from cachelayers.backends.base import AsyncTwins
from cachelayers.backends.faults import cache_errors
from cachelayers.backends.layered.layers.base import (
    TOMBSTONE,
    Change,
    ChangingLayer,
    LayerEntry,
    native_seconds,
    unwrap,
    wrap,
)
from cachelayers.backends.locking import Lock, ProcessLocks
from cachelayers.backends.unreadable import report_unreadable
from cachelayers.utils.locks import ForkSafeLock

_change_lock = ForkSafeLock()


class PlainLayer(ChangingLayer):
    """FileBasedCache, and unknown backends."""

    can_be_searched = False

    def __init__(self, alias: str, cache: BaseCache) -> None:
        super().__init__(alias)
        self.cache = cache
        self._is_async = offers_async(cache)

    def read_many(self, names: Sequence[str]) -> dict[str, LayerEntry]:
        """Return the entries; one that cannot be unpickled is missing."""
        try:
            return unwrapped(self.cache.get_many(names))
        except cache_errors():
            raise
        except Exception as error:  # noqa: BLE001 - whatever a decoder raises is a miss
            if len(names) == 1:
                report_unreadable(self.alias, error)
                return {}
            return {name: entry for one in names for name, entry in self.read_many([one]).items()}

    def write_many(
        self, entries: Mapping[str, LayerEntry], event: bytes | None = None
    ) -> Sequence[str]:
        """Write; the entries of one call expire at about the same time."""
        if not entries:
            return []
        wrapped = {name: wrap(entry) for name, entry in entries.items()}
        return self.cache.set_many(wrapped, longest(entries)) or []

    def delete_many(self, names: Sequence[str], event: bytes | None = None) -> bool:
        """Delete; for several names it is unknown whether there were entries."""
        if len(names) == 1:
            return self.cache.delete(names[0])
        self.cache.delete_many(names)
        return False

    def add(self, name: str, entry: LayerEntry, event: bytes | None = None) -> bool:
        """Write if there is no live entry: natively, or over an expired one."""
        if self.add_to_empty(name, entry):
            return True
        with _change_lock:
            found = self.read_many([name]).get(name)
            if found is not None and found.is_live():
                return False
            self.write_many({name: entry})
            return True

    def add_to_empty(self, name: str, entry: LayerEntry) -> bool:
        """Write natively, or over an entry that cannot be read."""
        stored, seconds = wrap(entry), native_seconds(entry)
        try:
            return self.cache.add(name, stored, seconds)
        except cache_errors():
            raise
        except Exception as error:  # noqa: BLE001 - a value that cannot be written is raised next
            self.cache.set(name, stored, seconds)
            report_unreadable(self.alias, error)
            return True

    def change(self, name: str, change: Change, event: bytes | None = None) -> LayerEntry | None:
        """Read and write under the lock."""
        with _change_lock:
            entry = self.read_many([name]).get(name)
            if entry is None or not entry.is_live():
                return None
            changed = change(entry)
            self.write_many({name: changed})
            return changed

    def clear_names(self, head: str) -> None:
        """Do nothing: such a cache cannot be searched. The new epoch hides the entries."""

    def own_async(self, operation: str, arguments: Iterable[Any]) -> Awaitable[Any] | None:
        """Use the cache's own async methods if it has them."""
        if self.is_local:
            return perform_here(getattr(self, operation), arguments)
        own = getattr(self, f"_{operation}_async", None) if self._is_async else None
        return None if own is None else own(*arguments)

    async def _read_many_async(self, names: Sequence[str]) -> dict[str, LayerEntry]:
        try:
            return unwrapped(await self.cache.aget_many(names))
        except cache_errors():
            raise
        except Exception:  # noqa: BLE001 - as in read_many(), which finds out which one it is
            return await sync_to_async(self.read_many)(names)

    async def _write_many_async(
        self, entries: Mapping[str, LayerEntry], event: bytes | None = None
    ) -> Sequence[str]:
        if not entries:
            return []
        wrapped = {name: wrap(entry) for name, entry in entries.items()}
        return await self.cache.aset_many(wrapped, longest(entries)) or []

    async def _delete_many_async(self, names: Sequence[str], event: bytes | None = None) -> bool:
        if len(names) == 1:
            return await self.cache.adelete(names[0])
        await self.cache.adelete_many(names)
        return False

    async def _write_tombstones_async(
        self, names: Sequence[str], event: bytes | None = None
    ) -> None:
        await self._write_many_async(dict.fromkeys(names, TOMBSTONE))

    async def _fill_async(self, entries: Mapping[str, LayerEntry]) -> None:
        for name, entry in entries.items():
            await self._add_to_empty_async(name, entry)

    async def _add_async(self, name: str, entry: LayerEntry, event: bytes | None = None) -> bool:
        if await self._add_to_empty_async(name, entry):
            return True
        return await sync_to_async(self.add)(name, entry)

    async def _add_to_empty_async(self, name: str, entry: LayerEntry) -> bool:
        try:
            return await self.cache.aadd(name, wrap(entry), native_seconds(entry))
        except cache_errors():
            raise
        except Exception:  # noqa: BLE001 - as in add_to_empty(), which finds out what it is
            return await sync_to_async(self.add_to_empty)(name, entry)

    def close(self) -> None:
        """Close it, as Django does at the end of a request."""
        self.cache.close()


class LocalLayer(PlainLayer):
    """A cache in this process's memory."""

    is_local = True

    def lock(self, name: str, **options: Any) -> Lock:
        """Return a lock of this process."""
        return Lock(ProcessLocks((self.alias, name)), name, **options)


class PylibmcLayer(PlainLayer):
    """A memcached through pylibmc."""

    cache_errors = ("pylibmc.Error",)


async def perform_here(method: Any, arguments: Iterable[Any]) -> Any:
    """Call a method that does not block."""
    return method(*arguments)


def unwrapped(found: Mapping[str, Any]) -> dict[str, LayerEntry]:
    """Return the entries among the values that a cache has found."""
    entries = {name: unwrap(stored) for name, stored in found.items()}
    return {name: entry for name, entry in entries.items() if entry is not None}


def longest(entries: Mapping[str, LayerEntry]) -> float | None:
    """Return the longest time to live of the entries: each entry's own expiry counts."""
    seconds = [native_seconds(entry) for entry in entries.values()]
    return None if None in seconds else max(one for one in seconds if one is not None)


def offers_async(cache: BaseCache) -> bool:
    """Return whether a cache has async methods of its own, not Django's that call the sync ones."""
    return not isinstance(cache, AsyncTwins) and all(
        getattr(type(cache), name) is not getattr(BaseCache, name)
        for name in ("aget_many", "aset_many", "aadd", "adelete", "adelete_many")
    )
