"""MemoryCache as a layer: entries in this process, read without unpickling immutable values.

Made by ``make_layer``; LayeredCache reads the store's records directly where it can.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self, cast

from cachelayers.backends.layered.layers.base import Change, ChangingLayer, LayerEntry
from cachelayers.backends.layered.layers.plain import perform_here
from cachelayers.backends.locking import Lock, ProcessLocks
from cachelayers.backends.memory.cache import MemoryCache
from cachelayers.backends.memory.store import FrozenValue, MemoryEntry, freeze, thaw
from cachelayers.backends.unreadable import decoded
from cachelayers.utils.sizes import note_size, running_measurements


class MemoryLayer(ChangingLayer):
    is_local = True

    @classmethod
    def make(
        cls,
        alias: str,
        backend: type,
        location: Any,
        params: Mapping[str, Any],
        limit_seconds: float,
    ) -> Self:
        """Return the layer; the cache needs no time limit."""
        return cls(alias, cast(type[MemoryCache], backend)(location, params, alias))

    def __init__(self, alias: str, cache: MemoryCache) -> None:
        """Names are plain strings, because each read hashes them."""
        super().__init__(alias)
        self.store = cache.store

    def read_many(self, names: Sequence[str]) -> dict[str, LayerEntry]:
        now = time.time()
        found = {}
        for name in names:
            stored = self.store.read(name, now)
            entry = None if stored is None else decoded(self.alias, layer_entry_of, stored)
            if entry is not None:
                found[name] = entry
        return found

    def write_many(
        self, entries: Mapping[str, LayerEntry], event: bytes | None = None
    ) -> Sequence[str]:
        """Write; return the names of entries larger than the store."""
        refused = []
        for name, entry in entries.items():
            frozen = freeze(entry.value)
            if not self.store.put(name, frozen, entry.expires):
                refused.append(name)
            elif running_measurements:
                note_size(entry.value, frozen[2])
        return refused

    def delete_many(self, names: Sequence[str], event: bytes | None = None) -> bool:
        """Delete; return whether any entry existed."""
        return self.store.delete(names, time.time()) > 0

    def write_tombstones(self, names: Sequence[str], event: bytes | None = None) -> None:
        """Delete: Recent, not a tombstone, keeps readers from filling in older values."""
        self.delete_many(names)

    def add(self, name: str, entry: LayerEntry, event: bytes | None = None) -> bool:
        return self.store.add(name, freeze(entry.value), entry.expires, time.time())

    def change(self, name: str, change: Change, event: bytes | None = None) -> LayerEntry | None:
        result: list[LayerEntry] = []

        def replace(stored: MemoryEntry) -> tuple[FrozenValue, float] | None:
            entry = decoded(self.alias, layer_entry_of, stored)
            if entry is None:
                return None
            result.append(change(entry))
            return freeze(result[-1].value), result[-1].expires

        self.store.change(name, time.time(), replace)
        return result[-1] if result else None

    def clear_names(self, head: str) -> None:
        self.store.delete([name for name in list(self.store.records) if name.startswith(head)], 0)

    def find_names(
        self, head: str, is_wanted: Callable[[str], bool], size: int
    ) -> Iterator[Sequence[str]]:
        """Yield all names in one page: they are in memory."""
        now, length = time.time(), len(head)
        names = [name for name in list(self.store.records) if name.startswith(head)]
        live = (name[length:] for name in names if self.store.live(name, now) is not None)
        yield [name for name in live if is_wanted(name)]

    def lock(self, name: str, **options: Any) -> Lock:
        """Return a lock of this process."""
        return Lock(ProcessLocks((self.alias, name)), name, **options)

    def own_async(self, operation: str, arguments: Iterable[Any]) -> Awaitable[Any]:
        """Run here: a thread would take longer."""
        return perform_here(getattr(self, operation), arguments)

    def describe(self) -> dict[str, Any]:
        return {
            "entries": len(self.store.records),
            "bytes": self.store.bytes,
            "max_bytes": self.store.max_bytes,
            "evictions": self.store.evictions,
        }


def layer_entry_of(stored: MemoryEntry) -> LayerEntry:
    """Return a stored value as a LayerEntry."""
    return LayerEntry(thaw(stored), stored[2])
