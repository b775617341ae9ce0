"""The tables of statistics and timings: adding to rows, reading and pruning them.

`writing` and `advisor` add to them; ``cache_stats`` and the admin read them.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, Max, Sum

from cachelayers.conf import DAY_SECONDS, package_settings, statistics_database
from cachelayers.models import Statistic, Timing
from cachelayers.utils.counters import UNTRACKED_TABLES, Figures, Name

STATISTICS = Statistic._meta.db_table
TIMINGS = Timing._meta.db_table
MINUTE_SECONDS = 60
HOUR_SECONDS = 3600
ENDED = "ended"  # the kind of timings that tell what has ended entries
ROWS_PER_STATEMENT = 50
MICROSECONDS = 1_000_000

# Times are stored as integers, in microseconds.
COLUMNS = tuple(name.replace("_seconds", "_us") for name in Figures._fields)
TIME_COLUMNS = frozenset({"saved_us", "computing_us"})


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose rows have a key, texts, and numbers that are added up."""

    name: str
    key: tuple[str, ...]
    texts: tuple[str, ...]  # the newest value that is not empty is stored
    numbers: tuple[str, ...]

    def upsert(self, connection: BaseDatabaseWrapper, rows: int) -> str:
        """Return a statement that adds so many rows to the table."""
        quote = connection.ops.quote_name
        table = quote(self.name)
        key, texts, numbers = (
            [quote(column) for column in columns]
            for columns in (self.key, self.texts, self.numbers)
        )
        columns = [*key, *texts, *numbers]
        row = f"({', '.join(['%s'] * len(columns))})"
        insert = f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([row] * rows)}"
        if connection.vendor == "mysql":
            # VALUES() is deprecated in MySQL, but MariaDB has no alternative.
            newest = [
                f"{column} = COALESCE(NULLIF(VALUES({column}), ''), {column})" for column in texts
            ]
            sums = [f"{column} = {column} + VALUES({column})" for column in numbers]
            return f"{insert} ON DUPLICATE KEY UPDATE {', '.join([*newest, *sums])}"
        newest = [
            f"{column} = COALESCE(NULLIF(excluded.{column}, ''), {table}.{column})"
            for column in texts
        ]
        sums = [f"{column} = {table}.{column} + excluded.{column}" for column in numbers]
        return (
            f"{insert} ON CONFLICT ({', '.join(key)}) DO UPDATE SET {', '.join([*newest, *sums])}"
        )


STATISTICS_TABLE = Table(STATISTICS, ("minute", "cache", "layer"), (), COLUMNS)
TIMINGS_TABLE = Table(
    TIMINGS,
    ("hour", "kind", "name"),
    ("place", "tables"),
    ("calls", "total_us", "repeats", "repeated_us", "changed", "stored_bytes"),
)

Row = tuple[Any, ...]


def add_rows(
    connection: BaseDatabaseWrapper, table: Table, rows: Iterable[Row]
) -> Iterator[Sequence[Row]]:
    """Add rows in several statements; yield the rows of each one after it has run.

    They are sorted by key, because two processes that update rows in another order could deadlock.
    """
    ordered = sorted(rows, key=lambda row: row[: len(table.key)])
    for start in range(0, len(ordered), ROWS_PER_STATEMENT):
        part = ordered[start : start + ROWS_PER_STATEMENT]
        with connection.cursor() as cursor:
            statement = table.upsert(connection, len(part))
            cursor.execute(statement, [value for row in part for value in row])
        yield part


def row_of(minute: int, name: Name, figures: Figures) -> Row:
    """Return the row to add for a minute."""
    return (
        minute,
        *name,
        *(number_of(column, value) for column, value in zip(COLUMNS, figures, strict=True)),
    )


def number_of(column: str, value: float) -> int:
    """Return a figure in the column's unit."""
    return round(value * MICROSECONDS) if column in TIME_COLUMNS else int(value)


def read_steps(first_minute: int, step_seconds: int) -> dict[int, dict[Name, Figures]]:
    """Return the figures since a minute, by time step and name."""
    rows = (
        Statistic.objects.using(statistics_database())
        .filter(minute__gte=first_minute)
        .exclude(cache=UNTRACKED_TABLES)
        .annotate(step=F("minute") - F("minute") % step_seconds)
        .values_list("step", "cache", "layer")
        .annotate(*(Sum(column) for column in COLUMNS))
        .order_by()
    )
    found: defaultdict[int, dict[Name, Figures]] = defaultdict(dict)
    for at, cache, layer, *numbers in rows:
        found[at][cache, layer] = figures_of(numbers)
    return dict(found)


def figures_of(numbers: Sequence[int]) -> Figures:
    found: list[Any] = [
        int(number) / MICROSECONDS if column in TIME_COLUMNS else int(number)
        for column, number in zip(COLUMNS, numbers, strict=True)
    ]
    return Figures(*found)


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one thing since an hour."""

    kind: str
    name: str
    place: str
    tables: str
    calls: int
    seconds: float
    repeats: int
    repeated_seconds: float
    changed: int
    stored_bytes: int


def read_costs(first_hour: int) -> list[Cost]:
    """Return the sums of all timings since an hour."""
    rows = (
        Timing.objects.using(statistics_database())
        .filter(hour__gte=first_hour)
        .values_list("kind", "name")
        .annotate(Max("place"), Max("tables"), *(Sum(number) for number in TIMINGS_TABLE.numbers))
        .order_by()
    )
    return [
        Cost(
            kind,
            name,
            place,
            tables,
            int(calls),
            int(total_us) / MICROSECONDS,
            int(repeats),
            int(repeated_us) / MICROSECONDS,
            int(changed),
            int(size),
        )
        for kind, name, place, tables, calls, total_us, repeats, repeated_us, changed, size in rows
    ]


def delete_old(connection: BaseDatabaseWrapper) -> int:
    """Delete rows older than the retention time; return how many."""
    oldest = int(time.time() - package_settings().STATS_DAYS * DAY_SECONDS)
    deleted = 0
    with connection.cursor() as cursor:
        for table in (STATISTICS_TABLE, TIMINGS_TABLE):
            name, column = map(connection.ops.quote_name, (table.name, table.key[0]))
            cursor.execute(f"DELETE FROM {name} WHERE {column} < %s", [oldest])
            deleted += cursor.rowcount
    return deleted


@dataclass(frozen=True, slots=True)
class Total:
    """The figures of a cache or layer in some time."""

    cache: str
    layer: str  # "": the whole cache
    figures: Figures


@dataclass(frozen=True, slots=True)
class Point:
    """The figures of one time step."""

    at: datetime  # the beginning of the step
    figures: Figures


@dataclass(frozen=True, slots=True)
class Series:
    """The figures of a cache or layer over time."""

    cache: str
    layer: str
    points: list[Point]


def totals(since_seconds: float = 3600) -> list[Total]:
    """Return the sums of every cache and layer that was used in the last seconds.

    They cover whole minutes, from the one in which that time began.
    """
    steps = read_steps(first_minute(since_seconds), MINUTE_SECONDS)
    summed: dict[Name, Figures] = {}
    for by_name in steps.values():
        for name, figures in by_name.items():
            summed[name] = summed.get(name, Figures()).plus(figures)
    return [
        Total(*name, figures) for name, figures in sorted(with_layers_own_figures(summed).items())
    ]


def series(since_seconds: float = 3600, step_seconds: int = 60) -> list[Series]:
    """Return the same over time. Steps are whole minutes, and begin at round times."""
    step_seconds = max(step_seconds // MINUTE_SECONDS, 1) * MINUTE_SECONDS
    first = first_minute(since_seconds) // step_seconds * step_seconds
    steps = {
        at: with_layers_own_figures(by_name)
        for at, by_name in read_steps(first, step_seconds).items()
    }
    names = sorted({name for by_name in steps.values() for name in by_name})
    return [Series(*name, list(points_of(name, steps, first, step_seconds))) for name in names]


@dataclass(frozen=True, slots=True)
class UntrackedReads:
    """How often cached values were made from a table whose changes do not invalidate."""

    database: str
    table: str
    reads: int


def untracked_reads(since_seconds: float = 3600) -> list[UntrackedReads]:
    """Return the untracked tables that cached values were made from, the most read first."""
    rows = (
        Statistic.objects.using(statistics_database())
        .filter(minute__gte=first_minute(since_seconds), cache=UNTRACKED_TABLES)
        .values_list("layer")
        .annotate(reads=Sum("misses"))
        .order_by("-reads", "layer")
    )
    parts = ((name.partition(":"), reads) for name, reads in rows)
    return [UntrackedReads(database, table, int(reads)) for (database, _, table), reads in parts]


def points_of(
    name: Name, steps: Mapping[int, Mapping[Name, Figures]], first: int, step_seconds: int
) -> Iterator[Point]:
    """Yield a point for every step until now."""
    for at in range(first, int(time.time()) + 1, step_seconds):
        figures = steps.get(at, {}).get(name, Figures())
        yield Point(datetime.fromtimestamp(at, UTC), figures)


def with_layers_own_figures(found: Mapping[Name, Figures]) -> dict[Name, Figures]:
    """Return the figures, with the errors and evictions of a layer's alias added to its hits.

    The cache that is the layer counts them, for every stack that uses it.
    """
    return {
        (cache, layer): figures._replace(
            errors=figures.errors + found[layer, ""].errors,
            evictions=figures.evictions + found[layer, ""].evictions,
        )
        if layer and (layer, "") in found
        else figures
        for (cache, layer), figures in found.items()
    }


def first_minute(since_seconds: float) -> int:
    """Return the beginning of the minute in which that time began, in seconds since 1970."""
    return int(time.time() - since_seconds) // MINUTE_SECONDS * MINUTE_SECONDS
