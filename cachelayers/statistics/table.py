"""The SQL of the tables of statistics and timings: rows are added to, read in steps, pruned."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, Max, Sum

from cachelayers.conf import DAY_SECONDS, package_settings, statistics_database
from cachelayers.models import Statistic, Timing
from cachelayers.stats import Figures, Name

STATISTICS = Statistic._meta.db_table
TIMINGS = Timing._meta.db_table
MINUTE_SECONDS = 60
HOUR_SECONDS = 3600
ROWS_PER_STATEMENT = 50
MICROSECONDS = 1_000_000

# Two of the figures are times, and whole numbers of another unit in the table.
COLUMNS = tuple(name.replace("_seconds", "_us") for name in Figures._fields)
TIME_COLUMNS = frozenset({"saved_us", "computing_us"})


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose rows have a key, a text or two, and numbers that are added up."""

    name: str
    key: tuple[str, ...]
    texts: tuple[str, ...]  # the newest counts
    numbers: tuple[str, ...]

    def upsert(self, connection: BaseDatabaseWrapper, rows: int) -> str:
        """Return a statement that adds so many rows to what is there."""
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
            # VALUES(), which MySQL would rather see replaced: MariaDB knows nothing else.
            newest = [f"{column} = VALUES({column})" for column in texts]
            sums = [f"{column} = {column} + VALUES({column})" for column in numbers]
            return f"{insert} ON DUPLICATE KEY UPDATE {', '.join([*newest, *sums])}"
        newest = [f"{column} = excluded.{column}" for column in texts]
        sums = [f"{column} = {table}.{column} + excluded.{column}" for column in numbers]
        return (
            f"{insert} ON CONFLICT ({', '.join(key)}) DO UPDATE SET {', '.join([*newest, *sums])}"
        )


STATISTICS_TABLE = Table(STATISTICS, ("minute", "cache", "layer"), (), COLUMNS)
TIMINGS_TABLE = Table(
    TIMINGS,
    ("hour", "kind", "name"),
    ("place", "tables"),
    ("calls", "total_us", "repeats", "repeated_us", "changed"),
)

Row = tuple[Any, ...]


def add_rows(
    connection: BaseDatabaseWrapper, table: Table, rows: Iterable[Row]
) -> Iterator[Sequence[Row]]:
    """Add rows to what is there, some in each statement; yield those that are written.

    Sorted by their key: two processes that add to the same rows in another order could deadlock.
    """
    ordered = sorted(rows, key=lambda row: row[: len(table.key)])
    for start in range(0, len(ordered), ROWS_PER_STATEMENT):
        part = ordered[start : start + ROWS_PER_STATEMENT]
        with connection.cursor() as cursor:
            statement = table.upsert(connection, len(part))
            cursor.execute(statement, [value for row in part for value in row])
        yield part


def row_of(minute: int, name: Name, figures: Figures) -> Row:
    """Return the row of what is to be added to a minute."""
    return (
        minute,
        *name,
        *(number_of(column, value) for column, value in zip(COLUMNS, figures, strict=True)),
    )


def number_of(column: str, value: float) -> int:
    """Return a figure as its column has it."""
    return round(value * MICROSECONDS) if column in TIME_COLUMNS else int(value)


def read_steps(first_minute: int, step_seconds: int) -> dict[int, dict[Name, Figures]]:
    """Return what was counted since a minute, by the step of time in which it was, and by name."""
    rows = (
        Statistic.objects.using(statistics_database())
        .filter(minute__gte=first_minute)
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
    """Return what the columns say."""
    found: list[Any] = [
        int(number) / MICROSECONDS if column in TIME_COLUMNS else int(number)
        for column, number in zip(COLUMNS, numbers, strict=True)
    ]
    return Figures(*found)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one thing has cost since an hour, as the table has it."""

    kind: str
    name: str
    place: str
    tables: str
    calls: int
    seconds: float
    repeats: int
    repeated_seconds: float
    changed: int


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
        )
        for kind, name, place, tables, calls, total_us, repeats, repeated_us, changed in rows
    ]


def delete_old(connection: BaseDatabaseWrapper) -> int:
    """Delete what is older than statistics are kept; return how many rows."""
    oldest = int(time.time() - package_settings().STATS_DAYS * DAY_SECONDS)
    deleted = 0
    with connection.cursor() as cursor:
        for table in (STATISTICS_TABLE, TIMINGS_TABLE):
            name, column = map(connection.ops.quote_name, (table.name, table.key[0]))
            cursor.execute(f"DELETE FROM {name} WHERE {column} < %s", [oldest])
            deleted += cursor.rowcount
    return deleted
