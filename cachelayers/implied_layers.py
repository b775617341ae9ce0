"""The layers that the LOCATION of a LayeredCache stands for, as if they were in CACHES.

``conf`` finds their settings by alias.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple

from cachelayers.locations import Kind, Location, location_of, without_password

MEMORY_NAME = "memory"
TABLE_BYTES = 256 * 2**20  # unless OPTIONS has MAX_BYTES; the disk is shared with others
LONGEST_ALIAS = 100  # of a column of the statistics

# Options of a DatabaseCache, which a LayeredCache passes on to its table.
TABLE_OPTIONS = frozenset(
    {
        "BUSY_SECONDS",
        "COMPRESSION",
        "COMPRESSION_MIN_BYTES",
        "MAX_BYTES",
        "MAX_ENTRIES",
        "SERIALIZER",
        "SIGNED",
        "UNLOGGED",
    }
)
BUS_OF_TABLE = "log"


class ImpliedLayer(NamedTuple):
    """A layer without an entry in CACHES."""

    alias: str  # unique in the process
    cache: str  # alias of the LayeredCache
    name: str  # for people; unique in its cache
    kind: Kind | None  # None: memory
    params: dict[str, Any]  # as in CACHES


def locations_in(value: Any) -> list[Any]:
    """Return the parts of a LOCATION, which may be a list."""
    if value in ("", None):
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def options_in(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the OPTIONS; a check reports others than a dictionary."""
    options = params.get("OPTIONS")
    return options if isinstance(options, Mapping) else {}


def implied_layers(cache: str, params: Mapping[str, Any]) -> list[ImpliedLayer]:
    """Return the layers of a LayeredCache with a LOCATION, the fastest first; else none.

    Parts of LOCATION that are an error are left out.
    """
    locations = [location_of(value) for value in locations_in(params.get("LOCATION"))]
    found = [location for location in locations if location is not None]
    if not found:
        return []
    options = options_in(params)
    prefix = params.get("KEY_PREFIX", "")
    layers = [made(cache, MEMORY_NAME, None, memory_settings(options))]
    for location in found:
        configured = {**settings_of(location, options), "KEY_PREFIX": prefix}
        layers.append(made(cache, name_of(location), location.kind, configured))
    return layers


def made(cache: str, name: str, kind: Kind | None, params: dict[str, Any]) -> ImpliedLayer:
    """Return a layer; the end of a long name is kept."""
    longest = max(LONGEST_ALIAS - len(cache) - 2, 20)
    shown = name if len(name) <= longest else f"...{name[3 - longest :]}"
    return ImpliedLayer(f"{cache}: {shown}", cache, shown, kind, params)


def name_of(location: Location) -> str:
    """Return what people call a layer: its path, its URL without a password, or its database."""
    if location.kind is Kind.DATABASE:
        return f"database {location.name}"
    if location.kind is Kind.MEMCACHED:
        return f"memcached://{location.name}"
    return without_password(location.name)


def memory_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the memory layer."""
    limit = options.get("MEMORY_MAX_BYTES")
    return {
        "BACKEND": "cachelayers.backends.MemoryCache",
        "OPTIONS": {} if limit is None else {"MAX_BYTES": limit},
    }


def settings_of(location: Location, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a shared layer."""
    if location.kind is Kind.REDIS:
        return {"BACKEND": redis_backend(), "LOCATION": location.name}
    if location.kind is Kind.MEMCACHED:
        backend = "django.core.cache.backends.memcached.PyMemcacheCache"
        return {"BACKEND": backend, "LOCATION": location.name}
    own = {name: value for name, value in options.items() if name in TABLE_OPTIONS}
    return {
        "BACKEND": "cachelayers.backends.DatabaseCache",
        "LOCATION": location.name,
        "OPTIONS": {"MAX_BYTES": TABLE_BYTES, **own},
    }


def redis_backend() -> str:
    """Return the backend for a Redis: django-redis if it is installed, else Django's own."""
    if find_spec("django_redis"):
        return "django_redis.cache.RedisCache"
    return "django.core.cache.backends.redis.RedisCache"


def missing_client(kind: Kind) -> str | None:
    """Return the extra to install for a kind of location if its client is missing, or None."""
    modules = {Kind.REDIS: ("redis", "redis"), Kind.MEMCACHED: ("pymemcache", "memcached")}
    module, extra = modules.get(kind, ("", ""))
    return extra if module and find_spec(module) is None else None


def complete_options(cache: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the OPTIONS of a LayeredCache with LAYERS and BUS, also if LOCATION implies them."""
    options = options_in(params)
    layers = implied_layers(cache, params)
    if not layers:
        return options
    own = {name: value for name, value in options.items() if name not in TABLE_OPTIONS}
    aliases = [layer.alias for layer in layers]
    return {"BUS": fitting_bus(layers), **own, "LAYERS": aliases}


def fitting_bus(layers: list[ImpliedLayer]) -> str | None:
    """Return the Redis among the layers, else the log for a table, else None."""
    redis = next((layer.alias for layer in layers if layer.kind is Kind.REDIS), None)
    has_table = any(layer.kind in {Kind.FILE, Kind.DATABASE} for layer in layers)
    return redis or (BUS_OF_TABLE if has_table else None)
