"""Redis as a layer: django-redis or Django's own backend, with its pools, serializer and options.

Made by ``make_layer``. Commands go to the primary: a replica may lack the latest writes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar, Protocol, cast

from django.conf import settings
from django.core.cache.backends.base import BaseCache

from cachelayers.backends.layered.layers.base import (
    TOMBSTONE_SECONDS,
    Change,
    ChangingLayer,
    Errors,
    Layer,
    LayerEntry,
    native_seconds,
    unwrap,
    wrap,
)
from cachelayers.backends.layered.layers.plain import PlainLayer
from cachelayers.backends.patterns import escape_pattern
from cachelayers.backends.unreadable import decoded
from cachelayers.utils.sizes import note_size, running_measurements

CHANGE_SECONDS = 5.0  # of retries to replace an entry that others keep replacing
SCAN_COUNT = 1_000
LONGEST_MILLISECONDS = 10**14  # about 3,000 years; Redis adds it to the current time
EVENTS_KEPT = 10_000  # approximate length of the stream
OWN_POOLS = "cachelayers.backends.layered.layers.pools.OwnPools"

# Replace a value if it is still the one that was read; append an event if one is given.
COMPARE_AND_SET = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[3] == '' then redis.call('SET', KEYS[1], ARGV[2])
else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
if KEYS[2] then redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], '*', 'e', ARGV[4]) end
return 1
"""


class RedisAccess(Protocol):
    """The operations on a Redis cache that Django's API lacks."""

    is_cluster: bool

    def client(self) -> Any:
        """Return redis-py's client of the primary."""

    def key(self, name: str) -> Any:
        """Return the full key."""

    def encode(self, stored: Any) -> Any:
        """Serialize as the cache does."""

    def decode(self, data: bytes) -> Any:
        """Deserialize as the cache does."""


class DjangoRedisAccess:
    """django_redis.cache.RedisCache with its default client, or a subclass of it."""

    def __init__(self, cache: Any) -> None:
        self._client = cache.client
        self.is_cluster = is_cluster(self.client())

    def client(self) -> Any:
        return self._client.get_client(write=True)

    def key(self, name: str) -> Any:
        return str(self._client.make_key(name))

    def encode(self, stored: Any) -> Any:
        return self._client.encode(stored)

    def decode(self, data: bytes) -> Any:
        return self._client.decode(data)


class CoreRedisAccess:
    """django.core.cache.backends.redis.RedisCache."""

    def __init__(self, cache: Any) -> None:
        self._cache = cache
        self.is_cluster = is_cluster(self.client())

    def client(self) -> Any:
        return self._cache._cache.get_client(None, write=True)

    def key(self, name: str) -> Any:
        return self._cache.make_key(name)

    def encode(self, stored: Any) -> Any:
        return self._cache._cache._serializer.dumps(stored)

    def decode(self, data: bytes) -> Any:
        return self._cache._cache._serializer.loads(data)


def access_of(cache: BaseCache) -> RedisAccess | None:
    """Return the access to a Redis cache, or None for any other cache."""
    client = getattr(cache, "client", None)
    if hasattr(client, "connection_factory") and hasattr(client, "encode"):
        # A ShardClient distributes keys over servers itself.
        return None if hasattr(client, "get_server") else DjangoRedisAccess(cache)
    if hasattr(cache, "_servers") and hasattr(getattr(cache, "_cache", None), "_serializer"):
        return CoreRedisAccess(cache)
    return None


def is_cluster(client: Any) -> bool:
    """Return whether it is a client of a Redis Cluster, in which a transaction cannot span keys."""
    return any(base.__name__ == "RedisCluster" for base in type(client).__mro__)


def cut_idle_connections(access: RedisAccess) -> None:
    """Close the connections in redis-py's pools, which the next caller would get as they are.

    An unread answer on one would be taken for the next command's answer.
    """
    clients = [access.client()]
    if access.is_cluster:
        clients = [node.redis_connection for node in clients[0].get_nodes()]
    for client in clients:
        if client is not None:  # a node of a cluster that was not used yet
            client.connection_pool.disconnect(inuse_connections=False)


class RedisLayer(ChangingLayer):
    """Entries in a Redis. ``stream``: the full key of the bus, if this Redis is the bus too."""

    cache_errors: ClassVar[Errors] = ("redis.exceptions.RedisError",)
    refusals = ("redis.exceptions.ResponseError",)

    @classmethod
    def make(
        cls,
        alias: str,
        backend: type,
        location: Any,
        params: Mapping[str, Any],
        limit_seconds: float,
    ) -> Layer:
        """Return the layer, or a plain one for a client that spreads keys over several servers."""
        cache = cast(Any, backend)(location, cls.with_time_limits(params, limit_seconds))
        access = access_of(cache)
        return PlainLayer(alias, cache) if access is None else cls(alias, cache, access)

    def __init__(self, alias: str, cache: BaseCache, access: RedisAccess) -> None:
        super().__init__(alias)
        self.cache = cache
        self.access = access
        self.stream: str | None = None
        self.tracks_use = not access.is_cluster  # whose pipelines have no OBJECT

    @property
    def carries_events(self) -> bool:
        """Return whether a write and its event are one step."""
        return self.stream is not None and not self.access.is_cluster

    def read_many(self, names: Sequence[str]) -> dict[str, LayerEntry]:
        """Return the entries: one GET, or one MGET."""
        keys = [self.access.key(name) for name in names]
        client = self.access.client()
        if len(keys) == 1:
            data = [client.get(keys[0])]
        elif self.access.is_cluster:
            data = client.mget_nonatomic(keys)
        else:
            data = client.mget(keys)
        found = {}
        for name, one in zip(names, data, strict=True):
            if one is not None and (entry := self._entry(one)) is not None:
                found[name] = entry
        return found

    def write_many(
        self, entries: Mapping[str, LayerEntry], event: bytes | None = None
    ) -> Sequence[str]:
        """Write in one round trip, with the event."""
        encoded = {name: self.access.encode(wrap(entry)) for name, entry in entries.items()}

        def fill_in(pipeline: Any) -> None:
            for name, entry in entries.items():
                pipeline.set(self.access.key(name), encoded[name], px=milliseconds(entry))

        self._send(fill_in, event)
        if running_measurements:
            for name, entry in entries.items():
                note_size(entry.value, len(encoded[name]))
        return []

    def delete_many(self, names: Sequence[str], event: bytes | None = None) -> bool:
        """Delete in one round trip, with the event."""

        def fill_in(pipeline: Any) -> None:
            for name in names:
                pipeline.unlink(self.access.key(name))

        return any(self._send(fill_in, event)[: len(names)])

    def fill(self, entries: Mapping[str, LayerEntry]) -> None:
        """Write missing entries in one round trip."""

        def fill_in(pipeline: Any) -> None:
            for name, entry in entries.items():
                pipeline.set(
                    self.access.key(name),
                    self.access.encode(wrap(entry)),
                    px=milliseconds(entry),
                    nx=True,
                )

        self._send(fill_in, None)

    def add(self, name: str, entry: LayerEntry, event: bytes | None = None) -> bool:
        """Write if there is no entry, or only an expired one or a tombstone."""
        key, data = self.access.key(name), self.access.encode(wrap(entry))
        px = milliseconds(entry)
        answers = self._send(lambda pipeline: pipeline.set(key, data, px=px, nx=True), event)
        if answers[0]:
            return True
        for _ in self._attempts():
            old = self.access.client().get(key)
            found = None if old is None else self._entry(old)
            if found is not None and found.is_live():
                return False
            if old is None:
                if self.access.client().set(key, data, px=px, nx=True):
                    return True
            elif self._replace(key, old, entry, None):
                return True
        return False

    def change(self, name: str, change: Change, event: bytes | None = None) -> LayerEntry | None:
        """Read, and write if nobody has written in between; else retry."""
        key = self.access.key(name)
        for _ in self._attempts():
            old = self.access.client().get(key)
            entry = None if old is None else self._entry(old)
            if entry is None or not entry.is_live():
                return None
            changed = change(entry)
            if self._replace(key, old, changed, event):
                return changed
        raise TimeoutError(f"CACHES[{self.alias!r}]: others kept replacing an entry.")

    def clear_names(self, head: str) -> None:
        """Scan the keys of the Redis, a thousand at a time, and delete the matching ones."""
        client = self.access.client()
        pattern = escape_pattern(self.access.key(head)) + "*"
        batch: list[Any] = []
        for key in client.scan_iter(match=pattern, count=SCAN_COUNT):
            batch.append(key)
            if len(batch) >= SCAN_COUNT:
                self._unlink(batch)
                batch = []
        self._unlink(batch)

    def find_names(
        self, head: str, is_wanted: Callable[[str], bool], size: int
    ) -> Iterator[Sequence[str]]:
        """Scan the keys of the Redis, and keep those of live entries."""
        made = str(self.access.key(head))
        for batch in self._scan(escape_pattern(made) + "*", size):
            texts = (key if isinstance(key, str) else key.decode() for key in batch)
            found = [name for text in texts if is_wanted(name := text[len(made) :])]
            yield self._live_among(head, found)

    def _scan(self, pattern: str, size: int) -> Iterator[Sequence[Any]]:
        """Yield batches of matching keys; a scan may return a key twice."""
        client = self.access.client()
        if self.access.is_cluster:
            keys = client.scan_iter(match=pattern, count=size)
            while batch := list(islice(keys, size)):
                yield batch
            return
        cursor = None
        while cursor != 0:
            cursor, batch = client.scan(cursor or 0, match=pattern, count=size)
            yield batch

    def _live_among(self, head: str, names: Sequence[str]) -> list[str]:
        """Return the names of live entries. Only what Redis drops soon has to be read."""
        if not names:
            return []
        pipeline = self.access.client().pipeline(transaction=False)
        for name in names:
            pipeline.pttl(self.access.key(f"{head}{name}"))
        left = dict(zip(names, pipeline.execute(), strict=True))
        # native_seconds() adds a second; so does this, for the time that the answers took
        soon = (TOMBSTONE_SECONDS + 2) * 1000
        doubtful = [name for name in names if -1 != left[name] <= soon]
        found = self.read_many([f"{head}{name}" for name in doubtful]) if doubtful else {}
        dead = {
            name
            for name in doubtful
            if (entry := found.get(f"{head}{name}")) is None or not entry.is_live()
        }
        return [name for name in names if name not in dead]

    def lock(self, name: str, **options: Any) -> Any:
        """Return redis-py's own lock."""
        return self.access.client().lock(str(self.access.key(name)), **options)

    def delete_unused(self, head: str, seconds: float) -> int:
        """Ask the Redis for the idle time of each key, a thousand at a time.

        Raises ResponseError if its maxmemory-policy is an LFU, which keeps no times.
        """
        client = self.access.client()
        pattern = escape_pattern(self.access.key(head)) + "*"
        unused: list[Any] = []
        keys = client.scan_iter(match=pattern, count=SCAN_COUNT)
        while batch := list(islice(keys, SCAN_COUNT)):
            pipeline = client.pipeline(transaction=False)
            for key in batch:
                pipeline.object("idletime", key)
            idle = pipeline.execute()
            unused += [key for key, one in zip(batch, idle, strict=True) if (one or 0) >= seconds]
        self._unlink(unused)
        return len(unused)

    def server_id(self) -> str | None:
        """Return the id of this run of the server."""
        if self.access.is_cluster:
            return None
        run_id: str | None = self.access.client().info("server").get("run_id")
        return run_id

    def cut(self) -> None:
        """Close the idle connections."""
        cut_idle_connections(self.access)

    def close(self) -> None:
        """Close the cache, which usually keeps its connections."""
        self.cache.close()

    def _unlink(self, keys: Sequence[Any]) -> None:
        pipeline = self.access.client().pipeline(transaction=False)
        for key in keys:
            pipeline.unlink(key)
        if keys:
            pipeline.execute()

    def _send(self, fill_in: Callable[[Any], object], event: bytes | None) -> Sequence[Any]:
        """Send commands, followed by the event, as one transaction in one round trip."""
        has_event = event is not None and self.carries_events
        pipeline = self.access.client().pipeline(transaction=has_event)
        fill_in(pipeline)
        if has_event:
            pipeline.xadd(self.stream, {"e": event}, maxlen=EVENTS_KEPT, approximate=True)
        answers: Sequence[Any] = pipeline.execute()
        return answers

    def _replace(self, key: str, old: bytes, entry: LayerEntry, event: bytes | None) -> bool:
        """Write if the entry still has the same bytes."""
        has_event = event is not None and self.carries_events
        keys = [key, self.stream] if has_event else [key]
        px = milliseconds(entry)
        data = self.access.encode(wrap(entry))
        arguments = [old, data, "" if px is None else px, event or b"", EVENTS_KEPT]
        client = self.access.client()
        return bool(client.register_script(COMPARE_AND_SET)(keys=keys, args=arguments))

    def _attempts(self) -> Iterator[int]:
        """Yield attempts until the time is over."""
        deadline = time.monotonic() + CHANGE_SECONDS
        number = 0
        while time.monotonic() < deadline:
            yield number
            number += 1

    def _entry(self, data: bytes) -> LayerEntry | None:
        return unwrap(decoded(self.alias, self.access.decode, data))


class DjangoRedisLayer(RedisLayer):
    """django_redis.cache.RedisCache."""

    cache_errors = (*RedisLayer.cache_errors, "django_redis.exceptions.ConnectionInterrupted")

    @classmethod
    def with_time_limits(cls, params: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Return settings with time limits and a pool of their own; limits that are set stay."""
        options: dict[str, Any] = {"SOCKET_CONNECT_TIMEOUT": seconds, "SOCKET_TIMEOUT": seconds}
        options |= params.get("OPTIONS") or {}
        if not hasattr(settings, "DJANGO_REDIS_CONNECTION_FACTORY"):
            # Else the pool and its time limits would be those of the first cache with this URL.
            options.setdefault("CONNECTION_FACTORY", OWN_POOLS)
        return {**params, "OPTIONS": options}


class CoreRedisLayer(RedisLayer):
    """django.core.cache.backends.redis.RedisCache."""

    @classmethod
    def with_time_limits(cls, params: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Return settings with time limits for the client; limits that are set stay."""
        options: dict[str, Any] = {"socket_connect_timeout": seconds, "socket_timeout": seconds}
        return {**params, "OPTIONS": options | dict(params.get("OPTIONS") or {})}


def milliseconds(entry: LayerEntry) -> int | None:
    """Return the time to live for Redis."""
    seconds = native_seconds(entry)
    return None if seconds is None else min(math.ceil(seconds * 1000), LONGEST_MILLISECONDS)
