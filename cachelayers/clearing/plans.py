"""Plans and runs the clearing of aliases, with descriptions for the operator.

``clear_cache`` and the admin show a Clearing before they run it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.base import default_key_func
from django.db import connections

from cachelayers.backends import (
    LayeredCache,
    MemoryCache,
    RedisLayer,
    escape_pattern,
    is_local_alias,
    make_layer,
    table_cache,
)
from cachelayers.clearing.names import session_keys
from cachelayers.conf import database_caches, layers_of
from cachelayers.invalidation import LOG, begin_anew, mirrored_by
from cachelayers.staticfiles import forget_shared
from cachelayers.utils.text import shown_location

MOST_KEYS = 10_000  # to scan; all keys of a large Redis would take minutes
MOST_SHOWN = 3
POLL_SECONDS = 2.0  # per answer
LONGEST_KEY = 60
REDIS_PORT = 6379
REDIS_SCHEMES = frozenset({"redis", "rediss", "valkey", "valkeys"})
HERE = {"localhost": "127.0.0.1", "::1": "127.0.0.1"}


class RedisDatabase(NamedTuple):
    """One database of a Redis server."""

    host: str
    port: int
    number: str


def aliases_sharing_storage(alias: str) -> list[str]:
    """Return the other aliases in CACHES that use the same storage."""
    storage = storage_of(settings.CACHES[alias])
    if storage is None:
        return []
    return [
        other
        for other, config in settings.CACHES.items()
        if other != alias and storage_of(config) == storage
    ]


def storage_of(config: Mapping[str, Any]) -> object:
    """Return a value that is equal for caches with the same storage, or None."""
    location = config.get("LOCATION")
    first = location[0] if isinstance(location, (list, tuple)) and location else location
    if not first:
        return None
    try:
        parts = urlsplit(str(first))
        port = parts.port or REDIS_PORT
    except ValueError:  # not a URL, but perhaps a path
        return tuple(location) if isinstance(location, list) else location
    if parts.scheme not in REDIS_SCHEMES:
        return tuple(location) if isinstance(location, list) else location
    named = parse_qs(parts.query).get("db", [parts.path.strip("/")])[-1]
    number = config.get("OPTIONS", {}).get("db", named) or 0
    host = parts.hostname or "localhost"
    return RedisDatabase(HERE.get(host, host), port, str(number))


def foreign_keys(alias: str) -> Iterator[str]:
    """Yield a warning if a Redis database has keys that do not belong to an alias."""
    own = own_pattern(alias)
    try:
        client = redis_client(alias)
        if client is None or own is None:
            return
        total = int(client.dbsize())
        found = islice(client.scan_iter(count=1000), MOST_KEYS)
        keys = [key.decode("utf-8", "replace") for key in found]
    # The client may raise anything for wrong settings; the clearing will report it.
    except Exception:  # noqa: BLE001
        return
    foreign = sorted(key for key in keys if not own.match(key))
    of_sessions = session_keys()
    sessions = sum(bool(of_sessions.search(key)) for key in keys)
    looked_at = f" (of the first {len(keys):,} of {total:,} keys)" if len(keys) < total else ""
    if foreign:
        # Not those of sessions: with a session key one is logged in.
        harmless = [key for key in foreign if not of_sessions.search(key)][:MOST_SHOWN]
        shown = ", ".join(repr(key[:LONGEST_KEY]) for key in harmless)
        count = f"{len(foreign):,} key{'s' if len(foreign) > 1 else ''}"
        examples = f", such as {shown}" if shown else ""
        yield f"{count} in it{looked_at} would go that are not its own{examples}"
    if sessions:
        yield f"{sessions:,} of its keys{looked_at} are sessions: users may be logged out"


def own_pattern(alias: str) -> re.Pattern[str] | None:
    """Return a pattern of an alias's own keys, or None with a KEY_FUNCTION."""
    cache = caches[alias]
    if cache.key_func is not default_key_func:
        return None
    return re.compile(rf"{re.escape(cache.key_prefix)}:\d+:")


def redis_client(alias: str) -> Any:
    """Return the redis-py client of a Redis alias, with a time limit; None for others."""
    if not isinstance(storage_of(settings.CACHES[alias]), RedisDatabase):
        return None
    layer = make_layer(alias, POLL_SECONDS)
    return layer.access.client() if isinstance(layer, RedisLayer) else None


# What clear() of other backends removes, by the class that defines it. Strings, because importing
# the classes needs their libraries.
THIS_PROCESS = "the memory of this command only; running servers keep theirs until they restart"
REACH_OF_CLEAR = {
    "cachelayers.backends.memory.cache.MemoryCache": THIS_PROCESS,
    "cachelayers.backends.layered.cache.LayeredCache": (
        "its own entries in every layer, and in the memory of every process"
    ),
    "django.core.cache.backends.locmem.LocMemCache": THIS_PROCESS,
    "django.core.cache.backends.dummy.DummyCache": "nothing; it never holds an entry",
    "django.core.cache.backends.db.DatabaseCache": "every row of table {location}",
    "django.core.cache.backends.filebased.FileBasedCache": "every cache file in {location}",
    "django.core.cache.backends.redis.RedisCache": (
        "the whole Redis database at {location}, also the keys of other programs"
    ),
    "django_redis.cache.RedisCache": (
        "the whole Redis database at {location}, also the keys of other programs"
    ),
    "django.core.cache.backends.memcached.BaseMemcachedCache": (
        "the whole memcached server at {location}, also the keys of other programs"
    ),
}
SESSION_ENGINES = frozenset(
    {"django.contrib.sessions.backends.cache", "django.contrib.sessions.backends.cached_db"}
)


class ClearingError(Exception):
    """The backend cannot do this. The message says what it can do."""


@dataclass(frozen=True, kw_only=True)
class Cleared:
    """The result; ``count``: number of entries, if the backend knows it."""

    done: str = "cleared"
    count: int | None = None
    layers: tuple[tuple[str, str], ...] = ()  # alias and result
    left: tuple[str, ...] = ()  # layers that still have entries to clear

    def __str__(self) -> str:
        return self.done if self.count is None else _describe_removed(self.count)


@dataclass(frozen=True, kw_only=True)
class Clearing:
    """What to do to one alias, or to another target."""

    alias: str
    what: str
    run: Callable[[], Cleared]
    backend: str = ""
    warning: str = ""

    @property
    def title(self) -> str:
        """Return the announcement."""
        return f"{self.alias} ({self.backend})" if self.backend else self.alias


def plan_clear(alias: str) -> Clearing:
    """Plan to remove every entry of an alias."""
    cache: Any = caches[alias]
    if hasattr(cache, "clear_entries"):
        return _clearing(alias, f"all of its {_count(cache)}", cache.clear_entries)
    if isinstance(cache, LayeredCache):
        return _by_layer(alias, _reach_of_clear(alias), cache.clear_by_layer)
    return _clearing(alias, _reach_of_clear(alias), cache.clear)


def plan_prefix(alias: str, prefix: str) -> Clearing:
    """Plan to remove the entries whose key begins with ``prefix``."""
    cache: Any = caches[alias]
    if isinstance(cache, LayeredCache):
        if unsearchable := cache.unsearchable_layers():
            raise ClearingError(f"the keys of its layer {unsearchable[0]!r} cannot be searched")
        what = f"the entries of every layer whose key begins with {prefix!r}"
        return _by_layer(alias, what, lambda: cache.delete_prefix(prefix), is_part=True)
    if hasattr(cache, "delete_prefix"):
        what = f"{_count(cache, prefix)} whose key begins with {prefix!r}"
        return _clearing(alias, what, lambda: cache.delete_prefix(prefix))
    if is_local_alias(alias) and isinstance(cache, MemoryCache):
        raise ClearingError("each process has its own memory, which no other process can search")
    if hasattr(cache, "delete_pattern"):
        pattern = f"{escape_pattern(prefix)}*"
        what = f"the entries whose key begins with {prefix!r}"
        return _clearing(alias, what, lambda: cache.delete_pattern(pattern))
    raise ClearingError("its keys cannot be searched")


def plan_expired(alias: str) -> Clearing:
    """Plan to remove the expired entries."""
    cache: Any = caches[alias]
    if hasattr(cache, "delete_expired"):
        what = _count(cache, expired_only=True, kind="expired ")
        return _clearing(alias, what, cache.delete_expired)
    if tables := [table_cache(layer) for layer in implied_tables(alias)]:
        count = sum(table.count_entries(expired_only=True) for table in tables)
        what = describe_count(count, kind="expired ")
        return _clearing(alias, what, lambda: sum(table.delete_expired() for table in tables))
    raise ClearingError("it removes its expired entries by itself")


def implied_tables(alias: str) -> list[str]:
    """Return the table layers that the LOCATION of a LayeredCache stands for."""
    tables = [layer for layer, _ in database_caches() if layer not in settings.CACHES]
    return [layer for layer in layers_of(alias) if layer in tables]


def plan_unused(alias: str, seconds: float) -> Clearing:
    """Remove the entries that were neither written nor seen to be read for so long."""
    cache: Any = caches[alias]
    if isinstance(cache, LayeredCache):
        layers = ", ".join(map(repr, cache.layers_that_track_use()))
        if not layers:
            raise ClearingError("no layer knows when an entry was last used")
        what = f"the entries unused for {seconds:,.0f} seconds in {layers}; no other layer knows"
        planned = Clearing(
            alias=alias,
            backend=type(cache).__name__,
            what=what,
            run=lambda: _clear_unused(cache, seconds),
        )
    elif getattr(cache, "tracks_use", False):
        what = f"{describe_count(cache.count_unused(seconds), kind='unused ')}"
        planned = _clearing(alias, what, lambda: cache.delete_unused(seconds))
    elif hasattr(cache, "delete_unused"):
        raise ClearingError("it records no reads, because it has neither MAX_BYTES nor MAX_ENTRIES")
    else:
        raise ClearingError("it does not know when an entry was last used")
    if keeps_sessions(alias):
        return replace(planned, warning="sessions are kept in it: users may be logged out.")
    return planned


def _clear_unused(cache: LayeredCache, seconds: float) -> Cleared:
    removed = cache.delete_unused(seconds)
    layers = tuple(
        (layer, "failed; it still has its entries" if count is None else _describe_removed(count))
        for layer, count in removed.items()
    )
    left = tuple(layer for layer, count in removed.items() if count is None)
    return Cleared(layers=layers, left=left)


def _describe_removed(count: int) -> str:
    return f"removed {describe_count(count)}"


def plan_static(alias: str) -> Clearing:
    """Plan to remove the shared ids of static files."""
    what = "the ids of static files; running servers keep those they know until they restart"
    return _clearing(alias, what, lambda: forget_shared(alias))


def plan_log(database: str) -> Clearing | None:
    """Plan to reset the log of a database; None if it has none of its own."""
    connection = connections[database]
    if mirrored_by(connection) or LOG not in connection.introspection.table_names():
        return None

    def begin() -> Cleared:
        begin_anew(connection)
        return Cleared(done="begun anew")

    what = "the log of invalidations: every entry computed before becomes invalid"
    return Clearing(alias=f"DATABASES[{database!r}]", what=what, run=begin)


def warnings_for(alias: str) -> Iterator[str]:
    """Yield warnings to show before an alias is emptied."""
    if keeps_sessions(alias):
        yield "sessions are kept in it: users may be logged out"
    for whole in settings.CACHES:
        if is_layer_of(alias, whole):
            yield f"it is a layer of {whole!r}, whose other layers keep their entries"
    if hasattr(caches[alias], "clear_entries") or isinstance(caches[alias], LayeredCache):
        return
    for other in aliases_sharing_storage(alias):
        sessions = ", the sessions in it too" if keeps_sessions(other) else ""
        yield f"CACHES[{other!r}] has the same LOCATION and may be emptied with it{sessions}"
    yield from foreign_keys(alias)


def keeps_sessions(alias: str) -> bool:
    """Tell whether sessions are in an alias, or in a layer that this process shares."""
    if settings.SESSION_ENGINE not in SESSION_ENGINES:
        return False
    kept_in = settings.SESSION_CACHE_ALIAS
    return alias == kept_in or (is_layer_of(alias, kept_in) and not is_local_alias(alias))


def is_layer_of(alias: str, whole: str) -> bool:
    """Tell whether an alias is a layer of another one."""
    return alias in layers_of(whole)


def describe_count(count: int, *, kind: str = "") -> str:
    """Return ``1 entry`` or ``1,204 expired entries``."""
    return f"{count:,} {kind}{'entry' if count == 1 else 'entries'}"


def _clearing(alias: str, what: str, run: Callable[[], int | None]) -> Clearing:
    backend = type(caches[alias]).__name__
    return Clearing(alias=alias, backend=backend, what=what, run=lambda: Cleared(count=run()))


def _by_layer(
    alias: str, what: str, run: Callable[[], dict[str, bool]], *, is_part: bool = False
) -> Clearing:
    def clear() -> Cleared:
        reached = run()
        unsearchable = caches[alias].unsearchable_layers()  # type: ignore[attr-defined]
        layers = tuple(
            (layer, _describe_layer(layer in unsearchable, is_reached, is_part))
            for layer, is_reached in reached.items()
        )
        # A layer cannot be reset for a part of its entries: they may come back with the layer.
        left = [layer for layer, is_reached in reached.items() if is_part and not is_reached]
        return Cleared(layers=layers, left=tuple(left))

    return Clearing(alias=alias, backend=type(caches[alias]).__name__, what=what, run=clear)


def _describe_layer(is_unsearchable: bool, is_reached: bool, is_part: bool) -> str:
    if not is_reached:
        if is_part:
            return "not reached; it still has its entries"
        return "not reached; its old entries are not read any more"
    if is_unsearchable:
        return "reset; its old entries are never read again, and expire"
    return "cleared"


def _count(cache: Any, *arguments: str, expired_only: bool = False, kind: str = "") -> str:
    return describe_count(cache.count_entries(*arguments, expired_only=expired_only), kind=kind)


def _reach_of_clear(alias: str) -> str:
    names = [f"{cls.__module__}.{cls.__qualname__}" for cls in type(caches[alias]).__mro__]
    reach = next((REACH_OF_CLEAR[name] for name in names if name in REACH_OF_CLEAR), None)
    if reach is None:
        return "everything that its backend's clear() reaches"
    return reach.format(location=shown_location(alias))
