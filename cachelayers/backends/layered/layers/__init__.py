"""The kinds of layers, and how a LayeredCache makes one from an alias of CACHES."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from django.conf import settings
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache

from cachelayers.backends.database.cache import DatabaseCache
from cachelayers.backends.database.raising import RaisingTable
from cachelayers.backends.layered.layers.base import Layer
from cachelayers.backends.layered.layers.memcached import ForgivingSerde, MemcachedLayer
from cachelayers.backends.layered.layers.memory import MemoryLayer
from cachelayers.backends.layered.layers.plain import PlainLayer
from cachelayers.backends.layered.layers.redis import RedisLayer, access_of
from cachelayers.backends.layered.layers.table import TableLayer
from cachelayers.backends.memory.cache import MemoryCache
from cachelayers.conf import backend_of

DJANGO_REDIS = "django_redis.cache.RedisCache"
CORE_REDIS = "django.core.cache.backends.redis.RedisCache"
PYMEMCACHE = "django.core.cache.backends.memcached.PyMemcacheCache"
OWN_POOLS = "cachelayers.backends.layered.layers.pools.OwnPools"


def make_layer(alias: str, limit_seconds: float) -> Layer:
    """Return the layer of an alias of CACHES, with a cache object of its own."""
    params = dict(settings.CACHES[alias])
    backend = backend_of(params)
    if backend is None:
        # As Django's handler, which raises for a backend that cannot be imported.
        raise LookupError(f"CACHES[{alias!r}] has no BACKEND that can be imported.")
    params.pop("BACKEND")
    location = params.pop("LOCATION", "")
    if issubclass(backend, DatabaseCache):
        return TableLayer(alias, RaisingTable(location, params, alias))
    if issubclass(backend, MemoryCache):
        return MemoryLayer(alias, backend(location, params, alias))
    limited = with_time_limits(backend, params, limit_seconds)
    if names(backend, PYMEMCACHE):
        limited["OPTIONS"]["serde"] = ForgivingSerde(alias, serde_of(limited["OPTIONS"]))
    cache: BaseCache = cast(Any, backend)(location, limited)
    if access := access_of(cache):
        return RedisLayer(alias, cache, access)
    if names(backend, PYMEMCACHE):
        return MemcachedLayer(alias, cache)
    return PlainLayer(alias, cache, is_local=is_local(backend))


def with_time_limits(backend: type, params: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Return settings with time limits for the client of a server; limits that are set stay."""
    options: dict[str, Any] = dict(params.get("OPTIONS") or {})
    if names(backend, DJANGO_REDIS):
        options = {"SOCKET_CONNECT_TIMEOUT": seconds, "SOCKET_TIMEOUT": seconds} | options
        if not hasattr(settings, "DJANGO_REDIS_CONNECTION_FACTORY"):
            # Else the pool and its time limits would be those of the first cache with this URL.
            options.setdefault("CONNECTION_FACTORY", OWN_POOLS)
    elif names(backend, CORE_REDIS):
        options = {"socket_connect_timeout": seconds, "socket_timeout": seconds} | options
    elif names(backend, PYMEMCACHE):
        given: dict[str, Any] = {
            "connect_timeout": seconds,
            "timeout": seconds,
            "no_delay": True,
            # Every server stays in the ring: processes would remove it at different moments, and
            # write the same key to different servers. The circuit breaker spares callers the wait.
            "retry_attempts": 10**9,
            "retry_timeout": -1,
        }
        options = given | options
    return {**params, "OPTIONS": options}


def serde_of(options: Mapping[str, Any]) -> Any:
    """Return the serializer of a PyMemcacheCache with these OPTIONS."""
    from pymemcache.serde import pickle_serde

    return options.get("serde") or pickle_serde


def names(backend: type, path: str) -> bool:
    """Return whether a backend is a class or a subclass of it, without importing that class."""
    return any(f"{base.__module__}.{base.__qualname__}" == path for base in backend.__mro__)


def is_local(backend: type) -> bool:
    """Return whether a backend stores its entries in the process's memory."""
    return issubclass(backend, (LocMemCache, MemoryCache, DummyCache))


def is_local_alias(alias: Any) -> bool:
    """Return the same for an alias of CACHES."""
    backend = backend_of(settings.CACHES.get(alias, {})) if isinstance(alias, str) else None
    return backend is not None and is_local(backend)


__all__ = ["Layer", "make_layer"]
