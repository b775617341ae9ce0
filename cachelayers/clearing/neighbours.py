"""What else lives where a cache keeps its entries. Asked before ``clear_cache`` empties it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.base import default_key_func

from cachelayers.backends.layered.layers.making import make_layer
from cachelayers.backends.layered.layers.redis import RedisLayer
from cachelayers.clearing.sessions import session_keys

MOST_KEYS = 10_000  # looked at: a look at all of a large Redis would take minutes
MOST_SHOWN = 3
LOOK_SECONDS = 2.0  # for an answer
LONGEST_KEY = 60
REDIS_PORT = 6379
REDIS_SCHEMES = frozenset({"redis", "rediss", "valkey", "valkeys"})
HERE = {"localhost": "127.0.0.1", "::1": "127.0.0.1"}


class RedisPlace(NamedTuple):
    """One database of a Redis."""

    host: str
    port: int
    number: str


def neighbours(alias: str) -> list[str]:
    """Return the other aliases of CACHES that are kept in the same place."""
    place = place_of(settings.CACHES[alias])
    if place is None:
        return []
    return [
        other
        for other, config in settings.CACHES.items()
        if other != alias and place_of(config) == place
    ]


def place_of(config: Mapping[str, Any]) -> object:
    """Return what is equal for caches in one place, or None where there is none to share."""
    location = config.get("LOCATION")
    first = location[0] if isinstance(location, (list, tuple)) and location else location
    if not first:
        return None
    try:
        parts = urlsplit(str(first))
        port = parts.port or REDIS_PORT
    except ValueError:  # no address, but perhaps a path
        return tuple(location) if isinstance(location, list) else location
    if parts.scheme not in REDIS_SCHEMES:
        return tuple(location) if isinstance(location, list) else location
    named = parse_qs(parts.query).get("db", [parts.path.strip("/")])[-1]
    number = config.get("OPTIONS", {}).get("db", named) or 0
    host = parts.hostname or "localhost"
    return RedisPlace(HERE.get(host, host), port, str(number))


def foreign_keys(alias: str) -> Iterator[str]:
    """Say what is in a Redis database beside an alias's own keys."""
    own = own_pattern(alias)
    try:
        client = redis_client(alias)
        if client is None or own is None:
            return
        total = int(client.dbsize())
        found = islice(client.scan_iter(count=1000), MOST_KEYS)
        keys = [key.decode("utf-8", "replace") for key in found]
    # Whatever a client raises for its settings: the clearing itself will tell.
    except Exception:  # noqa: BLE001
        return
    foreign = sorted(key for key in keys if not own.match(key))
    of_sessions = session_keys()
    sessions = sum(bool(of_sessions.search(key)) for key in keys)
    looked_at = f" (of the first {len(keys):,} of {total:,} keys)" if len(keys) < total else ""
    if foreign:
        # Not those of sessions: who knows one is logged in with it.
        harmless = [key for key in foreign if not of_sessions.search(key)][:MOST_SHOWN]
        shown = ", ".join(repr(key[:LONGEST_KEY]) for key in harmless)
        count = f"{len(foreign):,} key{'s' if len(foreign) > 1 else ''}"
        examples = f", such as {shown}" if shown else ""
        yield f"{count} in it{looked_at} would go that are not its own{examples}"
    if sessions:
        yield f"{sessions:,} of its keys{looked_at} are sessions: users may be logged out"


def own_pattern(alias: str) -> re.Pattern[str] | None:
    """Return what an alias's own keys look like, or None where a function makes them."""
    cache = caches[alias]
    if cache.key_func is not default_key_func:
        return None
    return re.compile(rf"{re.escape(cache.key_prefix)}:\d+:")


def redis_client(alias: str) -> Any:
    """Return the redis-py client of an alias that is a Redis, or None; it gives up in time."""
    if not isinstance(place_of(settings.CACHES[alias]), RedisPlace):
        return None
    layer = make_layer(alias, LOOK_SECONDS)
    return layer.access.client() if isinstance(layer, RedisLayer) else None
