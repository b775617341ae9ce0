"""LayeredCache: Django's cache API, on several layers.

Hits in memory are answered here; everything else runs as a flow of ``flows``.
"""

from __future__ import annotations

import pickle
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from time import monotonic
from typing import Any, Final

from django.core.cache.backends.base import DEFAULT_TIMEOUT, default_key_func

from cachelayers.backends.base import Problem, find_odd_character
from cachelayers.backends.faults import error_text, outage_errors
from cachelayers.backends.layered.bus import connect_bus
from cachelayers.backends.layered.calls import FAILED, Flow
from cachelayers.backends.layered.circuit_breaker import logger
from cachelayers.backends.layered.flows import Flows
from cachelayers.backends.layered.layers import Layer, make_layer
from cachelayers.backends.layered.layers.base import DIGEST_MARK, NEVER, LayerEntry
from cachelayers.backends.layered.layers.memory import MemoryLayer
from cachelayers.backends.layered.layers.redis import RedisLayer
from cachelayers.backends.layered.options import LayeredOptions, find_problems
from cachelayers.backends.layered.state import POLL_SECONDS, own_names, state_of
from cachelayers.backends.memory.store import MOST_READS, MemoryRecord, thaw
from cachelayers.backends.names import NAMES_OF_REDIS, TRIES_TO_COUNT, NamedCache
from cachelayers.backends.patterns import Search
from cachelayers.conf import cache_settings, layer_name
from cachelayers.exceptions import CacheUnavailable, NotSupported
from cachelayers.implied_layers import complete_options
from cachelayers.invalidation import current_unit
from cachelayers.utils.captures import note_plain_get, running_captures
from cachelayers.utils.counters import cell_of
from cachelayers.utils.flows import arun_flow, run_flow
from cachelayers.utils.locks import fork_count

LONGEST_NAME = 160  # with the heads that layers add, within memcached's 250
ENTRY_OF_LONG_NAME = 100
DIGEST_NAME = re.compile(f"{DIGEST_MARK}(.*)~[0-9a-f]{{48}}")  # see _name()
DIGESTS_LEFT_OUT = (
    "CACHES[%r]: keys() leaves out keys of more than %d characters, and those with spaces or"
    " letters that are not ASCII: the layers have digests of them."
)
MISS: Final = object()


class LayeredCache(NamedCache):
    """Several caches as one: reads use the fastest layer that has the entry, writes go to all.

    A failing layer is skipped. If no layer can answer, the read is a miss.
    """

    has_layers = True  # for conf, which must not import this class

    @classmethod
    def find_problems(
        cls, where: str, location: Any, params: Mapping[str, Any]
    ) -> Iterator[Problem]:
        return find_problems(where, LayeredCache, location, params)

    def _assemble(self, location: str, options: Mapping[str, Any]) -> None:
        """Set the state that all threads share; layers are made on first use."""
        params = {"LOCATION": location, "KEY_PREFIX": self.key_prefix, "OPTIONS": options}
        complete = complete_options(self.alias, params)
        self._options = LayeredOptions(**{**complete, "LAYERS": tuple(complete["LAYERS"])})
        self.state = state_of(self.alias, self.key_prefix, self._options)
        self._flows_made: Flows | None = None
        self._forks = -1
        self._has_plain_keys = self._has_plain_keys and self.key_func is default_key_func
        self._records: Mapping[str, MemoryRecord] = {}  # of the first layer, if it is a MemoryCache
        self._cell = cell_of(self.alias, layer_name(self._options.LAYERS[0]))  # for hits there

    @property
    def flows(self) -> Flows:
        """Return the flows over this object's layers; a forked child makes new ones."""
        if self._flows_made is None or self._forks != fork_count():
            limit = self._options.TIME_LIMIT
            layers = [make_layer(alias, limit) for alias in self._options.LAYERS]
            bus = connect_bus(self.state.bus, self.alias, layers, limit)
            self._flows_made, self._forks = Flows(self.state, layers, bus), fork_count()
            self._take_memory(layers[0])
        return self._flows_made

    def _take_memory(self, first: Layer) -> None:
        """Read the first layer's dictionary directly if it is a MemoryCache."""
        if isinstance(first, MemoryLayer) and self._has_plain_keys:
            self._records = first.store.records

    # Reading

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        """A hit in memory, inlined: a function call takes as long as the lookup."""
        if running_captures:
            note_plain_get(self.alias)
        # A hit in memory, in place: a call of another function takes as long as the look-up.
        unit, state = current_unit(), self.state
        if state.polled_at >= (monotonic() - POLL_SECONDS if unit is None else unit.began):
            version_now = self.version if version is None else version
            record = self._records.get(f"{state.local_head}{self.key_prefix}:{version_now}:{key!s}")
            if record is not None and (entry := record.entry) is not None:
                value, is_pickled, expires = entry
                if expires > time.time():
                    if record.reads < MOST_READS:
                        record.reads += 1
                    if not is_pickled:
                        self._cell.hits += 1
                        return value
                    try:
                        value = pickle.loads(value)  # noqa: S301 - our own memory
                    except Exception:  # noqa: BLE001, S110 - the flow reports it, and looks below
                        pass
                    else:
                        self._cell.hits += 1
                        return value
        return run_flow(self._get(key, default, version))

    async def aget(self, key: str, default: Any = None, version: int | None = None) -> Any:
        """Run ``get``; a hit in memory needs no other thread."""
        if running_captures:
            note_plain_get(self.alias)
        value = self._get_from_memory(key, version)
        return await arun_flow(self._get(key, default, version)) if value is MISS else value

    def _get_from_memory(self, key: str, version: int | None) -> Any:
        """Return the value of a hit in memory, or MISS."""
        return self._get_many_from_memory([key], version).get(key, MISS)

    def _get_many_from_memory(self, keys: Iterable[str], version: int | None) -> dict[str, Any]:
        """Return the values of hits in memory, unless a poll is due."""
        unit, state = current_unit(), self.state
        if state.polled_at < (monotonic() - POLL_SECONDS if unit is None else unit.began):
            return {}
        head = (
            f"{state.local_head}{self.key_prefix}:{self.version if version is None else version}:"
        )
        find, now = self._records.get, time.time()
        found = {}
        for key in keys:
            record = find(f"{head}{key!s}")
            if record is not None and (entry := record.entry) is not None and entry[2] > now:
                record.reads = min(record.reads + 1, MOST_READS)
                with suppress(Exception):  # undecodable: the flow reports it
                    found[key] = thaw(entry)
        self._cell.hits += len(found)
        return found

    def _get(self, key: str, default: Any, version: int | None) -> Flow:
        name = self._name(key, version)
        found = yield from self.flows.read([name])
        return found[name].value if name in found else default

    def get_shared(self, key: str) -> Any:
        """Return the value from below this process's memory, which drops its own; None: a miss.

        For callers that know that the entry in memory is outdated, and expect that another process
        has stored a newer one. Not counted in the statistics.
        """
        return run_flow(self._get_shared(key))

    async def aget_shared(self, key: str) -> Any:
        return await arun_flow(self._get_shared(key))

    def get_many_shared(self, keys: Iterable[str]) -> dict[str, Any]:
        """Run ``get_shared`` for many keys; return the values found."""
        names = {key: self._name(key, None) for key in keys}
        found = run_flow(self.flows.read_shared(list(dict.fromkeys(names.values()))))
        return {key: found[name].value for key, name in names.items() if name in found}

    def _get_shared(self, key: str) -> Flow:
        name = self._name(key, None)
        found = yield from self.flows.read_shared([name])
        return found[name].value if name in found else None

    @property
    def has_shared_layers(self) -> bool:
        return bool(self.flows.shared)

    def has_shared_key(self, key: str) -> bool:
        """Return whether there is a live entry below this process's memory."""
        return bool(run_flow(self.flows.read_shared([self._name(key, None)])))

    def get_many(self, keys: Iterable[str], version: int | None = None) -> dict[str, Any]:
        """Return the values of the live entries among ``keys``, in their order."""
        if running_captures:
            note_plain_get(self.alias)
        keys = list(keys)
        found = self._get_many_from_memory(keys, version)
        if len(found) == len(keys):
            return found
        return run_flow(self._get_many(keys, found, version))  # type: ignore[no-any-return]

    async def aget_many(self, keys: Iterable[str], version: int | None = None) -> dict[str, Any]:
        if running_captures:
            note_plain_get(self.alias)
        keys = list(keys)
        found = self._get_many_from_memory(keys, version)
        if len(found) == len(keys):
            return found
        return await arun_flow(self._get_many(keys, found, version))  # type: ignore[no-any-return]

    def _get_many(self, keys: list[str], hits: Mapping[str, Any], version: int | None) -> Flow:
        """Return ``hits`` and the other values found, in the order of the keys."""
        names = {key: self._name(key, version) for key in keys if key not in hits}
        found = yield from self.flows.read(list(dict.fromkeys(names.values())))
        values = dict(hits)
        values.update({key: found[name].value for key, name in names.items() if name in found})
        return {key: values[key] for key in keys if key in values}

    def has_key(self, key: str, version: int | None = None) -> bool:
        return bool(run_flow(self.flows.look_up([self._name(key, version)])))

    async def ahas_key(self, key: str, version: int | None = None) -> bool:
        return bool(await arun_flow(self.flows.look_up([self._name(key, version)])))

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
        """Store a value. Raises only serializer errors.

        ``nx``: only if there is no live entry. ``xx``: only if there is one. With one of them, one
        layer decides; return whether it was stored.
        """
        if nx or xx:
            return self._set_if(key, value, timeout, version, nx=nx, xx=xx)
        run_flow(self._set(key, value, timeout, version))
        return None

    async def aset(  # type: ignore[override] # Django's has no result
        self,
        key: str,
        value: Any,
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
        nx: bool = False,
        xx: bool = False,
    ) -> bool | None:
        if nx or xx:
            return await super().aset(key, value, timeout, version, nx, xx)
        await arun_flow(self._set(key, value, timeout, version))
        return None

    def _set(self, key: str, value: Any, timeout: Any, version: int | None) -> Flow:
        name = self._name(key, version)
        expires = self._expiry(timeout)
        if expires:
            yield from self.flows.set({name: LayerEntry(value, expires)})
        else:
            yield from self.flows.delete([name])

    def set_many(
        self,
        data: Mapping[str, Any],
        timeout: float | None = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> list[str]:
        """Store several values; return the keys that could not be stored."""
        return run_flow(self._set_many(data, timeout, version))  # type: ignore[no-any-return]

    async def aset_many(
        self,
        data: Mapping[str, Any],
        timeout: float | None = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> list[str]:
        return await arun_flow(self._set_many(data, timeout, version))  # type: ignore[no-any-return]

    def _set_many(self, data: Mapping[str, Any], timeout: Any, version: int | None) -> Flow:
        names = {self._name(key, version): key for key in data}
        expires = self._expiry(timeout)
        if not names:
            return []
        if not expires:
            yield from self.flows.delete(list(names))
            return []
        entries = {name: LayerEntry(data[key], expires) for name, key in names.items()}
        return [names[name] for name in (yield from self.flows.set(entries))]

    def add(
        self,
        key: str,
        value: Any,
        timeout: float | None = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> bool:
        """Store a value if there is no live entry; return whether it was stored."""
        return bool(run_flow(self._add(key, value, timeout, version)))

    async def aadd(
        self,
        key: str,
        value: Any,
        timeout: float | None = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> bool:
        return bool(await arun_flow(self._add(key, value, timeout, version)))

    def _add(self, key: str, value: Any, timeout: Any, version: int | None) -> Flow:
        name = self._name(key, version)
        expires = self._expiry(timeout)
        if expires:
            return (yield from self.flows.add(name, LayerEntry(value, expires)))
        return not (yield from self.flows.look_up([name]))

    def touch(
        self, key: str, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """Give a live entry a new timeout; return whether there was one."""
        return bool(run_flow(self._touch(key, timeout, version)))

    async def atouch(
        self, key: str, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        return bool(await arun_flow(self._touch(key, timeout, version)))

    def _touch(self, key: str, timeout: Any, version: int | None) -> Flow:
        name = self._name(key, version)
        expires = self._expiry(timeout)
        if expires:
            return (yield from self.flows.touch(name, expires))
        return (yield from self.flows.delete([name]))

    def delete(self, key: str, version: int | None = None) -> bool:
        """Delete an entry; return whether there was one."""
        return bool(run_flow(self.flows.delete([self._name(key, version)])))

    async def adelete(self, key: str, version: int | None = None) -> bool:
        return bool(await arun_flow(self.flows.delete([self._name(key, version)])))

    def delete_many(self, keys: Iterable[str], version: int | None = None) -> None:
        run_flow(self._delete_many(keys, version))

    async def adelete_many(self, keys: Iterable[str], version: int | None = None) -> None:
        await arun_flow(self._delete_many(keys, version))

    def _delete_many(self, keys: Iterable[str], version: int | None) -> Flow:
        names = [self._name(key, version) for key in keys]
        if names:
            yield from self.flows.delete(names)

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
        return self._sum(key, run_flow(self.flows.increment(self._name(key, version), delta)))

    async def aincr(
        self,
        key: str,
        delta: int = 1,
        version: int | None = None,
        *,
        ignore_key_check: bool = False,
    ) -> int:
        for _ in range(TRIES_TO_COUNT if ignore_key_check else 0):
            with suppress(ValueError):
                return await self.aincr(key, delta, version)
            if await self.aadd(key, delta, None, version):
                return delta
        return self._sum(
            key, await arun_flow(self.flows.increment(self._name(key, version), delta))
        )

    def _sum(self, key: str, total: Any) -> int:
        if total is None:
            raise ValueError(f"Key '{key}' not found")
        return total  # type: ignore[no-any-return]

    def clear(self) -> None:
        """Delete this cache's entries in every layer; other caches keep theirs."""
        run_flow(self.flows.clear())

    async def aclear(self) -> None:
        await arun_flow(self.flows.clear())

    # For the names of django-redis

    def _expires_at(self, key: str, version: int | None) -> float | None:
        expires: float | None = run_flow(self.flows.expiry(self._name(key, version)))
        return expires

    def _expire_at(self, key: str, expires: float, version: int | None) -> bool:
        return bool(run_flow(self.flows.touch(self._name(key, version), expires)))

    def _overwrite(self, key: str, value: Any, timeout: Any, version: int | None) -> bool:
        entry = LayerEntry(value, self._expiry(timeout))
        return bool(run_flow(self.flows.overwrite(self._name(key, version), entry)))

    def _pages(self, search: Search, size: int) -> Iterator[list[str]]:
        """Yield the keys that the lowest layer has, because every entry is written there.

        A key whose name is a digest cannot be told; a warning says so.
        """
        run_flow(self.flows.begin_search())
        layer = next(self.flows.deciders(), self.flows.layers[-1])
        self._require_searchable([layer])
        for names in self._found_in(layer, partial(may_match, search), size):
            if names is None:
                raise CacheUnavailable(
                    f"CACHES[{self.alias!r}]: the search for keys failed in the layer"
                    f" {layer.name!r}."
                )
            if any(map(DIGEST_NAME.fullmatch, names)) and self.state.digests.is_due(self.alias):
                logger.warning(DIGESTS_LEFT_OUT, self.alias, LONGEST_NAME)
            yield [key for name in names if (key := search.key_in(name)) is not None]

    def _delete_found(self, search: Search, size: int) -> int:
        """Delete in every layer, and empty the memory of every process."""
        run_flow(self.flows.begin_search())
        layers = [*reversed(self.flows.shared)] or self.flows.locals
        self._require_searchable(layers)
        count = 0
        for layer in layers:
            for names in self._found_in(layer, partial(may_match, search), size):
                if names is None:  # nobody reads its present entries any more
                    run_flow(self.flows.forgo(layer))
                else:
                    run_flow(self.flows.delete_found(names))
                    count += len(names)
        run_flow(self.flows.drop_from_memories())
        return count

    def _found_in(
        self, layer: Layer, is_wanted: Callable[[str], bool], size: int
    ) -> Iterator[Sequence[str] | None]:
        """Yield pages of names that one layer has; None and no more if it fails."""
        flows = self.flows
        pages = flows.pages_of(layer, is_wanted, size)
        while (page := run_flow(flows.next_page(layer, pages))) is not None:
            if page is FAILED:
                yield None
                return
            yield page

    def _require_searchable(self, layers: Sequence[Layer]) -> None:
        for layer in layers:
            if not layer.can_be_searched:
                raise NotSupported(
                    f"CACHES[{self.alias!r}]: the keys of its layer {layer.name!r} cannot be"
                    " searched."
                )

    def _make_lock(self, key: str, **options: Any) -> Any:
        """Return Redis's lock if there is a Redis, else one of the lowest layer."""
        lowest = (self.flows.shared or self.flows.layers)[-1]
        layer = self._redis_layer() or lowest
        return layer.lock(f"{own_names(self.alias)}lock:{key}", **options)

    def _lock_key(self, key: str, version: int | None) -> str:
        return self._name(key, version)

    def _redis_layer(self) -> RedisLayer | None:
        return next((one for one in self.flows.shared if isinstance(one, RedisLayer)), None)

    def __getattr__(self, name: str) -> Any:
        """Return what only Redis has, from the cache that is the Redis layer."""
        if name not in NAMES_OF_REDIS or self.__dict__.get("_problem") is not None:
            return super().__getattr__(name)
        layer = self._redis_layer()
        if layer is None:
            return super().__getattr__(name)
        try:
            return getattr(layer.cache, name)
        except AttributeError:
            raise AttributeError(
                f"{name!r} is django-redis's own, and the Redis layer {layer.name!r} of"
                f" CACHES[{self.alias!r}] is a {type(layer.cache).__module__}."
                f"{type(layer.cache).__name__}."
            ) from None

    # For operators

    def clear_by_layer(self) -> dict[str, bool]:
        """Run ``clear``; return for each layer, fastest first, whether it was reachable.

        An unreachable layer gets a new epoch: its old entries are never read again.
        """
        return self._by_layer(run_flow(self.flows.clear()))

    def unsearchable_layers(self) -> list[str]:
        """Return the names of the shared layers whose keys cannot be searched."""
        return [layer.name for layer in self.flows.shared if not layer.can_be_searched]

    def _by_layer(self, reached: Mapping[str, bool]) -> dict[str, bool]:
        return {layer_name(alias): reached.get(alias, True) for alias in self._options.LAYERS}

    def delete_prefix(self, prefix: str, version: int | None = None) -> dict[str, bool]:
        """Delete the entries whose key begins with ``prefix``.

        Return for each layer whether it was reachable; an unreachable one still has the entries.
        Raises CacheUnavailable if a layer cannot be searched, or if names do not contain the keys
        as given.
        """
        made = self._name(prefix, version)
        is_stored = self._name(f"{prefix}more", version) == f"{made}more"
        if self.unsearchable_layers() or not is_stored or len(made) > ENTRY_OF_LONG_NAME:
            raise CacheUnavailable(
                f"CACHES[{self.alias!r}]: entries cannot be found by the prefix {prefix[:60]!r}."
                " Clear the whole cache instead."
            )
        return self._by_layer(run_flow(self.flows.clear_prefix(made)))

    def layers_that_track_use(self) -> list[str]:
        """Return the names of the layers that know when an entry was last used."""
        return [layer.name for layer in self.flows.shared if layer.tracks_use]

    def delete_unused(self, seconds: float) -> dict[str, int | None]:
        """Delete the entries unused for so long in each layer that knows.

        Return how many for each of these layers; None for one that could not be reached.
        """
        return run_flow(self.flows.clear_unused(seconds))  # type: ignore[no-any-return]

    def describe_layers(self) -> list[dict[str, Any]]:
        """Ask every layer for its state; return the descriptions, fastest layer first."""
        return [self._describe(layer) for layer in self.flows.layers]

    def _describe(self, layer: Layer) -> dict[str, Any]:
        error = None
        try:
            layer.read_many(["cachelayers.probe"])
            facts = layer.describe()
        except outage_errors() as caught:
            error, facts = f"{type(caught).__name__}: {error_text(caught)}", {}
        kind = cache_settings(layer.alias)["BACKEND"].rpartition(".")[2]
        return {
            "alias": layer.name,
            "backend": kind,
            "error": error,
            "is_skipped": layer.breaker.is_open,
            "skipped_since": layer.breaker.open_since,
            "failures": layer.breaker.failures,
            **facts,
        }

    def close(self, **kwargs: Any) -> None:
        """Close the layers, as Django does at the end of a request."""
        if self._problem is None and self._flows_made is not None:
            for layer in self._flows_made.layers:
                layer.close()

    # Names and times

    def _name(self, key: str, version: int | None) -> str:
        """Return the name of a key in all layers: short and printable, for memcached's sake."""
        made = self._full_key(key, version)
        if len(made) <= LONGEST_NAME and made.isascii() and not find_odd_character(made):
            return made
        data = made.encode("utf-8", "surrogatepass")
        head = made[:ENTRY_OF_LONG_NAME].encode("ascii", "replace").decode()
        head = "".join("?" if find_odd_character(letter) else letter for letter in head)
        # No key that is used as its own name looks like this.
        return f"{DIGEST_MARK}{head}~{blake2b(data, digest_size=24).hexdigest()}"

    def _expiry(self, timeout: Any) -> float:
        """Return the expiry of a new entry, as of time.time(); 0: it is not stored."""
        seconds = self._seconds(timeout)
        if seconds is None:
            return NEVER
        return time.time() + seconds if seconds > 0 else 0.0


def may_match(search: Search, name: str) -> bool:
    """Return whether a name is that of a key searched for. Of a digest, it may be."""
    digest = DIGEST_NAME.fullmatch(name)
    if digest is None:
        return search.key_in(name) is not None
    known = digest[1]
    return search.may_match(known, is_whole=len(known) < ENTRY_OF_LONG_NAME)
