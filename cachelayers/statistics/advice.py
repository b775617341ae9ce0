"""Say what should be cached: what a site spends its time on, and what a cache would save of it.

Measured, not guessed: a query, a function or a view that is done again with the same arguments,
while nothing it reads has changed, would have been a hit.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.invalidation.dialects import LOG, NOW_MS
from cachelayers.invalidation.tags import table_tag
from cachelayers.samples import Table
from cachelayers.statistics.table import HOUR_SECONDS, Cost, read_costs
from cachelayers.statistics.timings import tables_of

KEPT_KINDS = frozenset({"recall", "fragment"})


@dataclass(frozen=True, slots=True)
class Change:
    """How often a table has changed, as far as the log still tells."""

    table: str
    database: str
    # Rows of the log within that time: at least so often. Older ones of the same table are pruned.
    times: int
    last_at: datetime | None  # exact; None: not within that time


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing, what it costs, and what a cache would save or saves of it."""

    kind: str  # "view", "function", "query", "fragment" or "recall"
    name: str
    place: str  # the function that runs it; "" where that is the name, or is not known
    calls: int
    seconds: float  # spent on it
    repeats: int  # done again before anything had changed; of what is kept: found in a cache
    changed: int  # done again after something had changed; of what is kept: found to be invalid
    saving_seconds: float  # what the repeats cost; of what is kept: what they would have cost
    is_kept: bool  # it is in a cache already
    tables: list[str]  # what it reads, as far as that is tracked
    is_untracked: bool  # it reads more than that, of which nobody knows when it changes
    changes: list[Change]


def advice(
    since_seconds: float = 86_400, most: int = 20, kinds: Collection[str] | None = None
) -> list[Advice]:
    """Return what was sampled, by what a cache would save or saves, the largest first.

    Views, functions and queries contain each other: what they save is not to be added up.
    """
    first_hour = int(time.time() - since_seconds) // HOUR_SECONDS * HOUR_SECONDS
    costs = [cost for cost in read_costs(first_hour) if kinds is None or cost.kind in kinds]
    costs.sort(key=lambda cost: (cost.repeated_seconds, cost.seconds), reverse=True)
    chosen = costs[:most]
    changes = changes_of({table for cost in chosen for table in tables_of(cost.tables)}, first_hour)
    return [advice_on(cost, changes) for cost in chosen]


def advice_on(cost: Cost, changes: dict[Table, Change]) -> Advice:
    """Return a cost with what is known of its tables."""
    tables = tables_of(cost.tables)
    return Advice(
        cost.kind,
        cost.name,
        "" if cost.place == cost.name else cost.place,
        cost.calls,
        cost.seconds,
        cost.repeats,
        cost.changed,
        cost.repeated_seconds,
        cost.kind in KEPT_KINDS,
        [name for _, name in tables],
        len(cost.tables.split()) > len(tables),
        [changes[table] for table in tables if table in changes],
    )


def changes_of(tables: Collection[Table], since: float) -> dict[Table, Change]:
    """Return how often tables have changed since a moment; those whose log cannot be read lack."""
    found: dict[Table, Change] = {}
    for database in sorted({database for database, _ in tables}):
        names = sorted(name for alias, name in tables if alias == database)
        try:
            logged = read_log(connections[database], names, since)
        except DatabaseError:
            continue
        for name in names:
            times, at = logged.get(name, (0, None))
            last_at = None if at is None else datetime.fromtimestamp(at / 1000, UTC)
            found[database, name] = Change(name, database, times, last_at)
    return found


def read_log(
    connection: BaseDatabaseWrapper, names: Collection[str], since: float
) -> dict[str, tuple[int, int]]:
    """Return how many rows each table has in the log since a moment, and when the last was."""
    by_tag = {table_tag(name): name for name in names}
    ago_ms = int((time.time() - since) * 1000)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT tag, COUNT(*), MAX(at) FROM {LOG} WHERE tag IN"
            f" ({', '.join(['%s'] * len(by_tag))}) AND at >= {NOW_MS[connection.vendor]} - %s"
            " GROUP BY tag",
            [*by_tag, ago_ms],
        )
        return {by_tag[tag]: (times, at) for tag, times, at in cursor.fetchall()}
