"""MemoryCache: Django's cache API as operations on this process's memory.

The entries are in ``store``; hits read its records directly.
"""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.core.cache.backends.base import DEFAULT_TIMEOUT, default_key_func

from cachelayers.backends.base import (
    Answer,
    Parameters,
    Problem,
    find_common_problems,
    is_whole,
    unmet_bound_demand,
)
from cachelayers.backends.locking import Lock, ProcessLocks, end_locks
from cachelayers.backends.memory.store import (
    MOST_READS,
    Bounds,
    FrozenValue,
    MemoryEntry,
    MemoryStore,
    freeze,
    thaw,
)
from cachelayers.backends.names import NamedCache
from cachelayers.backends.patterns import Search
from cachelayers.backends.unreadable import decoded, report_unreadable
from cachelayers.entries import LEASE_SUFFIX
from cachelayers.utils.captures import note_plain_get, running_captures
from cachelayers.utils.counters import cell_of
from cachelayers.utils.locks import ForkSafeLock
from cachelayers.utils.sizes import note_size, running_measurements


@dataclass(frozen=True, kw_only=True)
class MemoryOptions:
    """The OPTIONS of a MemoryCache, with their defaults."""

    MAX_BYTES: int = 64 * 2**20  # of each process: keys, values and Python's overhead
    MAX_ENTRIES: int | None = None
    MAX_VALUE_BYTES: int | None = None  # of one entry; None: as many as MAX_BYTES

    @property
    def bounds(self) -> Bounds:
        return Bounds(self.MAX_BYTES, self.MAX_ENTRIES, self.MAX_VALUE_BYTES or self.MAX_BYTES)


def find_problems(where: str, params: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the errors in the settings of one cache. ``where`` names the cache in messages."""
    known = MemoryOptions.__dataclass_fields__
    yield from find_common_problems(where, params, known, unmet_demand)


def unmet_demand(name: str, value: Any) -> str | None:
    """Return the requirement of an option that ``value`` does not meet, or None."""
    if name == "MAX_BYTES":
        met = is_whole(value) and value > 0
        return None if met else "Give a whole number above 0: memory has to have a bound."
    return unmet_bound_demand(value)


MISS: Final = object()
NEVER: Final = math.inf


class MemoryCache(NamedCache):
    """A cache in this process's memory, bounded in bytes; it ends with the process.

    Caches with the same LOCATION share their entries and the smallest of their bounds. Without a
    LOCATION, each alias has its own.
    """

    layer_class = "cachelayers.backends.layered.layers.memory.MemoryLayer"

    @staticmethod
    def find_problems(where: str, location: str, params: Mapping[str, Any]) -> Iterator[Problem]:
        return find_problems(where, params)

    def _assemble(self, location: str, options: Mapping[str, Any]) -> None:
        """Set the store of this location, and its dictionary, which reads use directly."""
        self.store = store_of(location, self.alias, MemoryOptions(**options))
        self._records = self.store.records
        self._cell = cell_of(self.alias)
        self._location = location or self.alias

    # Reading

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        if running_captures:
            note_plain_get(self.alias)
        # Inlined: a function call takes as long as all of this.
        if self._has_plain_keys and self.key_func is default_key_func:
            version = self.version if version is None else version
            record = self._records.get(f"{self.key_prefix}:{version}:{key!s}")
        else:
            record = self._records.get(self._full_key(key, version))
        if record is not None and (entry := record.entry) is not None:
            value, is_pickled, expires = entry
            if expires > time.time():
                if record.reads < MOST_READS:
                    record.reads += 1
                self._cell.hits += 1
                if not is_pickled:
                    return value
                try:
                    return pickle.loads(value)  # noqa: S301 - our own memory
                except Exception as error:  # noqa: BLE001 - whatever a decoder raises is a miss
                    report_unreadable(self.alias, error)
                    self._cell.hits -= 1
        self._full_key(key, version)  # invalid keys are only reported for misses
        self._cell.misses += 1
        return default

    def get_shared(self, key: str) -> Any:
        """Return the value of a live entry, or None; not counted in the statistics."""
        entry = self.store.live(self._full_key(key, None), time.time())
        return None if entry is None else decoded(self.alias, thaw, entry)

    def get_many_shared(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values of the live entries among ``keys``; not counted in the statistics."""
        values = ((key, self.get_shared(key)) for key in keys)
        return {key: value for key, value in values if value is not None}

    def get_many(self, keys: Iterable[str], version: int | None = None) -> dict[str, Any]:
        """Return the values of the live entries among ``keys``, in their order."""
        values = ((key, self.get(key, MISS, version)) for key in keys)
        return {key: value for key, value in values if value is not MISS}

    def has_key(self, key: str, version: int | None = None) -> bool:
        return self.store.live(self._full_key(key, version), time.time()) is not None

    # Writing

    def set(  # type: ignore[override] # Django's has no result
        self,
        key: str,
        value: Any,
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
        nx: bool = False,
        xx: bool = False,
    ) -> bool | None:
        """Store a value. Raises pickle's errors for one that has no pickle.

        ``nx``: only if there is no live entry. ``xx``: only if there is one. With one of them,
        return whether it was stored.
        """
        if nx or xx:
            return self._set_if(key, value, timeout, version, nx=nx, xx=xx)
        name = self._full_key(key, version)
        frozen, expires = freeze(value), self._expiry(timeout)
        if expires:
            if self.store.put(name, frozen, expires):
                self._cell.sets += 1
                if running_measurements:
                    note_size(value, frozen[2])
        else:
            self.store.delete([name], 0)
        return None

    def set_many(
        self,
        data: Mapping[str, Any],
        timeout: float | None = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> list[str]:
        """Store several values; return the keys of those that are larger than the cache."""
        names = {self._full_key(key, version): key for key in data}
        frozen = {name: freeze(data[key]) for name, key in names.items()}
        expires = self._expiry(timeout)
        if not expires:
            self.store.delete(names, 0)
            return []
        refused = [names[name] for name in self.store.put_many(frozen, expires)]
        self._cell.sets += len(names) - len(refused)
        if running_measurements:
            for name, key in names.items():
                if key not in refused:
                    note_size(data[key], frozen[name][2])
        return refused

    def add(
        self,
        key: str,
        value: Any,
        timeout: float | None = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> bool:
        """Store a value if there is no live entry; return whether it was stored."""
        name = self._full_key(key, version)
        frozen, expires = freeze(value), self._expiry(timeout)
        if not expires:
            return not self.has_key(key, version)
        is_added = self.store.add(name, frozen, expires, time.time())
        if is_added and not name.endswith(LEASE_SUFFIX):
            self._cell.sets += 1
        return is_added

    def touch(
        self, key: str, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """Give a live entry a new timeout; return whether there was one."""
        expires = self._expiry(timeout)
        if not expires:
            return self.delete(key, version)
        return self.store.touch(self._full_key(key, version), expires, time.time())

    def delete(self, key: str, version: int | None = None) -> bool:
        """Delete an entry; return whether there was one."""
        return self.store.delete([self._full_key(key, version)], time.time()) == 1

    def delete_many(self, keys: Iterable[str], version: int | None = None) -> None:
        self.store.delete([self._full_key(key, version) for key in keys], 0)

    def clear(self) -> None:
        """Delete every entry of this location, in this process, and end its locks."""
        self.store.clear()
        end_locks(self._location)

    def incr(
        self,
        key: str,
        delta: int = 1,
        version: int | None = None,
        *,
        ignore_key_check: bool = False,
    ) -> int:
        """Add to a number atomically and return the sum; the expiry stays.

        Raises ValueError if there is no live entry, and TypeError if its value is not a number.
        ``ignore_key_check``: count from 0 if there is no live entry.
        """
        if ignore_key_check:
            return self._incr_or_add(key, delta, version)

        def add_up(entry: MemoryEntry) -> tuple[FrozenValue, float] | None:
            found = decoded(self.alias, lambda: [thaw(entry)])
            return None if found is None else (freeze(found[0] + delta), entry[2])

        frozen = self.store.change(self._full_key(key, version), time.time(), add_up)
        if frozen is None:
            raise ValueError(f"Key '{key}' not found")
        total, is_pickled, _ = frozen
        return pickle.loads(total) if is_pickled else total  # type: ignore[no-any-return] # noqa: S301

    # For the names of django-redis

    def _expires_at(self, key: str, version: int | None) -> float | None:
        entry = self.store.live(self._full_key(key, version), time.time())
        return None if entry is None else entry[2]

    def _expire_at(self, key: str, expires: float, version: int | None) -> bool:
        return self.store.touch(self._full_key(key, version), expires, time.time())

    def _overwrite(self, key: str, value: Any, timeout: Any, version: int | None) -> bool:
        changed = freeze(value), self._expiry(timeout)
        name = self._full_key(key, version)
        is_stored = self.store.change(name, time.time(), lambda _: changed) is not None
        self._cell.sets += is_stored
        return is_stored

    def _pages(self, search: Search, size: int) -> Iterator[list[str]]:
        """Yield the keys found in one page: names are in memory, and values are not copied."""
        now = time.time()
        names = [name for name in list(self._records) if self.store.live(name, now) is not None]
        yield [key for name in names if (key := search.key_in(name)) is not None]

    def _delete_found(self, search: Search, size: int) -> int:
        names = [name for name in list(self._records) if search.key_in(name) is not None]
        return self.store.delete(names, time.time())

    def _make_lock(self, key: str, **options: Any) -> Lock:
        """Return a lock of this process. It is not an entry, which could be evicted."""
        return Lock(ProcessLocks((self._location, key)), key, **options)

    def close(self, **kwargs: Any) -> None:
        """Do nothing: the entries belong to the process, not to the request that ends."""

    async def _perform(
        self,
        method: Callable[Parameters, Answer],
        *arguments: Parameters.args,
        **keywords: Parameters.kwargs,
    ) -> Answer:
        """Run here: it does not block, and a thread would take longer."""
        return method(*arguments, **keywords)

    def _expiry(self, timeout: Any) -> float:
        """Return the expiry of a new entry, as of time.time(); 0: it is not stored."""
        seconds = self._seconds(timeout)
        if seconds is None:
            return NEVER
        return time.time() + seconds if seconds > 0 else 0.0


_stores: dict[tuple[str, MemoryOptions | None], MemoryStore] = {}
_stores_lock = ForkSafeLock()


def store_of(location: str, alias: str, options: MemoryOptions) -> MemoryStore:
    """Return the store of a location, or of an alias without one; make it on first use.

    Evictions are counted for the alias that made it.
    """
    known = (location, None) if location else (alias, options)
    with _stores_lock:
        if known not in _stores:
            _stores[known] = MemoryStore(*options.bounds, cell=cell_of(alias))
        store = _stores[known]
    if location:
        store.set_bounds(alias, options.bounds)
    return store


def drop_store(location: str) -> None:
    """Forget the entries of a location. Caches that are there keep them."""
    with _stores_lock:
        _stores.pop((location, None), None)


def known_stores() -> dict[str, MemoryStore]:
    """Return the stores of this process, by location."""
    return {location: store for (location, _), store in list(_stores.items())}
