"""The current state of every layer and log. It takes a few round trips.

``cache_stats``, the admin's overview and the metrics exporters use it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.core.cache import caches
from django.db import DatabaseError, connections

from cachelayers.backends import DatabaseCache, LayeredCache, MemoryCache
from cachelayers.conf import package_settings
from cachelayers.invalidation import LOG, NOW_MS, dialect_for
from cachelayers.utils.text import without_secrets

LONGEST_ERROR = 200


@dataclass(frozen=True, slots=True)
class LayerState:
    """The state of a cache in CACHES, or of one layer of a LayeredCache."""

    cache: str
    layer: str  # "": the cache itself, if it has no layers
    backend: str  # class name
    error: str | None  # None: it works
    is_skipped: bool  # by the circuit breaker of this process, until it works again
    entries: int | None  # None: unknown. For a memory cache, of this process.
    bytes: int | None
    max_bytes: int | None = None  # None: no bound, or unknown
    # Failures of this process's calls since it began, and since when the layer is skipped.
    failures: int = 0
    skipped_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class LogState:
    """The size of a database's log of invalidations, and the lag of its readers."""

    database: str
    rows: int
    oldest_at: datetime | None
    newest_at: datetime | None
    # How long rows have been unsettled: a transaction that began before them is still open or, on
    # MySQL and MariaDB, might be.
    lag_seconds: float
    error: str | None = None


def layer_states() -> list[LayerState]:
    """Return the state of every cache in CACHES, and of each layer of a LayeredCache."""
    return [state for alias in settings.CACHES for state in states_of(alias)]


def states_of(alias: str) -> list[LayerState]:
    """Return the state of a cache, or one per layer."""
    backend: str = settings.CACHES[alias].get("BACKEND", "").rpartition(".")[2]
    error, facts = None, {}
    try:
        cache: Any = caches[alias]
        if isinstance(cache, LayeredCache):
            return [
                LayerState(
                    alias,
                    found["alias"],
                    found["backend"],
                    found["error"],
                    found["is_skipped"],
                    found.get("entries"),
                    found.get("bytes"),
                    found.get("max_bytes"),
                    found["failures"],
                    time_at(found["skipped_since"]),
                )
                for found in cache.describe_layers()
            ]
        cache.has_key("cachelayers.probe")  # not counted in the statistics, unlike get()
        facts = describe(cache)
    # A wrong LOCATION raises errors of the client's library; the operator needs to see which.
    except Exception as caught:  # noqa: BLE001
        error = without_secrets(f"{type(caught).__name__}: {caught}")[:LONGEST_ERROR]
    entries, size, bound = (facts.get(name) for name in ("entries", "bytes", "max_bytes"))
    return [LayerState(alias, "", backend, error, False, entries, size, bound)]


def describe(cache: Any) -> dict[str, int]:
    """Return the size of a cache that is not a layer."""
    if isinstance(cache, MemoryCache):
        store = cache.store
        return {"entries": len(store.records), "bytes": store.bytes, "max_bytes": store.max_bytes}
    return cache.describe() if isinstance(cache, DatabaseCache) else {}


def log_states() -> list[LogState]:
    return [state for database in connections if (state := log_state(database)) is not None]


def log_state(database: str) -> LogState | None:
    """Return the state of a database's log; None if it has none."""
    connection = connections[database]
    try:
        with connection.cursor() as cursor:
            if LOG not in connection.introspection.table_names(cursor):
                return None
            dialect = dialect_for(connection.vendor, package_settings().LATE_COMMIT_SECONDS)
            cursor.execute(
                f"SELECT COUNT(*), MIN(at), MAX(at), {NOW_MS[connection.vendor]}, MIN(CASE WHEN"
                f" {dialect.position} >= {dialect.watermark} THEN at END) FROM {LOG}"
            )
            rows, oldest, newest, now, unsettled = cursor.fetchone()
    except DatabaseError as error:
        text = without_secrets(f"{type(error).__name__}: {error}")
        return LogState(database, 0, None, None, 0.0, text)
    lag_seconds = 0.0 if unsettled is None else max(now - unsettled, 0) / 1000
    return LogState(database, rows, time_of(oldest), time_of(newest), lag_seconds)


def time_of(milliseconds: int | None) -> datetime | None:
    """Return a time from the log."""
    return None if milliseconds is None else time_at(milliseconds / 1000)


def time_at(seconds: float | None) -> datetime | None:
    """Return a time from time.time()."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
