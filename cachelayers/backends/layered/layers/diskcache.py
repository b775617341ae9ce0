"""A diskcache.DjangoCache as a layer: each operation is a transaction of one of its shards.

If a shard is locked, the methods of the cache report a miss or wait without a limit. The methods of
the shard raise an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, Self, cast

from cachelayers.backends.faults import cache_errors
from cachelayers.backends.layered.layers.base import (
    Change,
    ChangingLayer,
    LayerEntry,
    native_seconds,
    unwrap,
    wrap,
)
from cachelayers.backends.unreadable import report_unreadable


class DiskcacheLayer(ChangingLayer):
    """Entries in a folder of SQLite files, for the processes of one host."""

    cache_errors = ("diskcache.Timeout", "sqlite3.Error")

    @classmethod
    def make(
        cls,
        alias: str,
        backend: type,
        location: Any,
        params: Mapping[str, Any],
        limit_seconds: float,
    ) -> Self:
        """Return the layer, whose files are opened by its first operation."""
        limited = cls.with_time_limits(params, limit_seconds)
        return cls(alias, partial(cast(Any, backend), location, limited))

    @classmethod
    def with_time_limits(cls, params: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Return settings with a time limit for locks; one that is set stays."""
        return {"DATABASE_TIMEOUT": seconds, **super().with_time_limits(params, seconds)}

    def __init__(self, alias: str, make_cache: Callable[[], Any]) -> None:
        """``make_cache`` opens the files; it may fail like any operation."""
        super().__init__(alias)
        self._make_cache = make_cache
        self._opened: Any = None

    @property
    def cache(self) -> Any:
        """Return the cache of these settings."""
        if self._opened is None:
            self._opened = self._make_cache()
        return self._opened

    def read_many(self, names: Sequence[str]) -> dict[str, LayerEntry]:
        """Return the entries."""
        found = {name: self._read(*self._shard_and_key(name)) for name in names}
        return {name: entry for name, entry in found.items() if entry is not None}

    def write_many(
        self, entries: Mapping[str, LayerEntry], event: bytes | None = None
    ) -> Sequence[str]:
        """Write, each in a transaction of its own: a rollback of several would leave files."""
        for name, entry in entries.items():
            self._write(*self._shard_and_key(name), entry)
        return []

    def delete_many(self, names: Sequence[str], event: bytes | None = None) -> bool:
        """Delete, in one transaction for each shard; return whether any entry existed."""
        places: dict[Any, list[str]] = {}
        for shard, key in map(self._shard_and_key, names):
            places.setdefault(shard, []).append(key)
        deleted = False
        for shard, keys in places.items():
            with shard.transact():
                for key in keys:
                    deleted |= shard.delete(key)
        return deleted

    def add(self, name: str, entry: LayerEntry, event: bytes | None = None) -> bool:
        """Write if there is no live entry, with the shard locked."""
        shard, key = self._shard_and_key(name)
        with shard.transact():
            found = self._read(shard, key)
            if found is not None and found.is_live():
                return False
            self._write(shard, key, entry)
            return True

    def add_to_empty(self, name: str, entry: LayerEntry) -> bool:
        """Write natively."""
        shard, key = self._shard_and_key(name)
        return bool(shard.add(key, wrap(entry), native_seconds(entry)))

    def change(self, name: str, change: Change, event: bytes | None = None) -> LayerEntry | None:
        """Read and write, with the shard locked."""
        shard, key = self._shard_and_key(name)
        with shard.transact():
            entry = self._read(shard, key)
            if entry is None or not entry.is_live():
                return None
            changed = change(entry)
            self._write(shard, key, changed)
            return changed

    def find_names(
        self, head: str, is_wanted: Callable[[str], bool], size: int
    ) -> Iterator[Sequence[str]]:
        """Yield pages of each shard's keys."""
        first = self.cache.make_key(head)
        for shard in self._shards:
            keys = iter(shard)
            while page := list(islice(keys, size)):
                texts = [key for key in page if isinstance(key, str) and key.startswith(first)]
                names = [name for text in texts if is_wanted(name := text[len(first) :])]
                found = self.read_many([f"{head}{name}" for name in names])
                live = {name for name, entry in found.items() if entry.is_live()}
                yield [name for name in names if f"{head}{name}" in live]

    def clear_names(self, head: str) -> None:
        """Search the keys of every shard, and delete the matching ones."""
        first = self.cache.make_key(head)
        for shard in self._shards:
            for key in shard:
                if isinstance(key, str) and key.startswith(first):
                    shard.delete(key)

    def cut(self) -> None:
        """Use a new cache object: the interrupted call may have left a transaction open."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    def close(self) -> None:
        """Close this thread's connections, as diskcache does at the end of a request."""
        if self._opened is not None:
            self._opened.close()

    def describe(self) -> dict[str, Any]:
        """Return the entries, expired ones too, and the bytes on disk."""
        return {"entries": sum(map(len, self._shards)), "bytes": self.cache._cache.volume()}

    @property
    def _shards(self) -> Sequence[Any]:
        shards: Sequence[Any] = self.cache._cache._shards
        return shards

    def _shard_and_key(self, name: str) -> tuple[Any, str]:
        """Return the shard of a name, and its key there."""
        key: str = self.cache.make_key(name)
        whole = self.cache._cache
        return whole._shards[whole._hash(key) % whole._count], key

    def _read(self, shard: Any, key: str) -> LayerEntry | None:
        try:
            return unwrap(shard.get(key))
        except cache_errors():
            raise
        except Exception as error:  # noqa: BLE001 - any error of a decoder is a miss
            report_unreadable(self.alias, error)
            return None

    def _write(self, shard: Any, key: str, entry: LayerEntry) -> None:
        shard.set(key, wrap(entry), native_seconds(entry))
