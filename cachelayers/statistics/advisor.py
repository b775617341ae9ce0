"""Sums up timed samples, and computes what a cache would save.

The statistics thread (`writing`) stores the sums; ``cache_stats --advise`` and the admin read them.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.conf import package_settings
from cachelayers.invalidation import LOG, NOW_MS, table_tag
from cachelayers.statistics.table import (
    ENDED,
    HOUR_SECONDS,
    MICROSECONDS,
    Cost,
    Row,
    read_costs,
)
from cachelayers.utils.endings import endings
from cachelayers.utils.tracing import (
    LONGEST_NAME,
    UNTRACKED,
    Sample,
    Table,
    pending_samples,
)

MOST_REMEMBERED = 20_000  # things whose last time is remembered
MOST_SUMS = 1_000  # rows per write; texts that contain values are all different
MOST_KEPT = 20_000  # samples, while the database is down
TAGS_PER_STATEMENT = 100
ALWAYS = float("inf")

Key = tuple[int, str, str]  # hour, kind and name
Open = Callable[[str], AbstractContextManager[BaseDatabaseWrapper]]


@dataclass(slots=True)
class Sum:
    """The cost of one thing in one hour. Each sample represents several calls."""

    place: str
    tables: str
    calls: float = 0
    seconds: float = 0.0
    repeats: float = 0
    repeated_seconds: float = 0.0
    changed: float = 0
    stored_bytes: float = 0

    def row(self, key: Key) -> Row:
        """Return the row to add to the table."""
        return (
            *key,
            self.place,
            self.tables,
            round(self.calls),
            round(self.seconds * MICROSECONDS),
            round(self.repeats),
            round(self.repeated_seconds * MICROSECONDS),
            round(self.changed),
            round(self.stored_bytes),
        )


class Timings:
    """The sums that are not written yet, and the last time of each thing."""

    def __init__(self) -> None:
        self._sums: dict[Key, Sum] = {}
        self._samples: list[Sample] = []
        self._last_run_at: OrderedDict[tuple[str, str, int], float] = OrderedDict()

    def has_any(self) -> bool:
        """Tell whether there is anything to write."""
        return bool(pending_samples or self._samples or self._sums or endings.has_any())

    def rows(self, open_connection: Open) -> list[Row]:
        """Sum up the waiting samples, and return the rows to add to the table."""
        self._samples = [*self._samples, *drained()][-MOST_KEPT:]
        changed_at = last_changes(self._samples, open_connection)
        for sample in self._samples:
            self._add(sample, changed_at)
        self._samples = []
        self._add_endings()
        if len(self._sums) > MOST_SUMS:
            dearest = sorted(self._sums, key=lambda key: self._sums[key].seconds, reverse=True)
            self._sums = {key: self._sums[key] for key in dearest[:MOST_SUMS]}
        return [total.row(key) for key, total in self._sums.items()]

    def forget(self, rows: Sequence[Row]) -> None:
        """Remove rows that are written."""
        for hour, kind, name, *_ in rows:
            self._sums.pop((hour, kind, name), None)

    def _add(self, sample: Sample, changed_at: Mapping[Table, float]) -> None:
        stands_for = 1 / max(package_settings().ADVISE_SAMPLE, 1e-6)
        key = int(sample.at) // HOUR_SECONDS * HOUR_SECONDS, sample.kind, sample.name
        total = self._sums.setdefault(key, Sum(sample.place, ""))
        total.place, total.tables = sample.place, text_of(sample.tables) or total.tables
        total.calls += stands_for
        total.stored_bytes += stands_for * sample.stored_bytes
        if sample.is_kept:
            total.repeats += stands_for
            total.repeated_seconds += stands_for * sample.seconds
            return
        total.seconds += stands_for * sample.seconds
        is_again, has_changed = self._compare(sample, changed_at)
        if has_changed:
            total.changed += stands_for
        elif is_again:
            total.repeats += stands_for
            total.repeated_seconds += stands_for * sample.seconds

    def _add_endings(self) -> None:
        """Add what has ended entries; in the column for tables, why a whole table has."""
        hour = int(time.time()) // HOUR_SECONDS * HOUR_SECONDS
        for (database, group), one in endings.drained().items():
            key = hour, ENDED, f"{database} {group}"[:LONGEST_NAME]
            total = self._sums.setdefault(key, Sum("", ""))
            total.changed += one.entries
            total.seconds += one.seconds
            if one.read is not None and (reason := one.read.explain(group)):
                total.place, total.tables = one.read.place, reason

    def _compare(self, sample: Sample, changed_at: Mapping[Table, float]) -> tuple[bool, bool]:
        """Tell whether this ran before, and whether its tables have changed since then.

        A change between the repetition and this check counts too, so that the advice promises too
        little rather than too much.
        """
        if sample.kind in {"recall", "fragment"}:
            return False, sample.was_invalid
        thing = sample.kind, sample.name, sample.arguments
        before = self._last_run_at.pop(thing, None)
        self._last_run_at[thing] = sample.at
        if len(self._last_run_at) > MOST_REMEMBERED:
            self._last_run_at.popitem(last=False)
        if before is None:
            return False, False
        return True, any(changed_at.get(table, 0.0) >= before for table in sample.tables)


def drained() -> list[Sample]:
    """Return all waiting samples, and remove them."""
    found = []
    while pending_samples:
        try:
            found.append(pending_samples.popleft())
        except IndexError:  # in a process without the GIL
            break
    return found


def last_changes(samples: Iterable[Sample], open_connection: Open) -> dict[Table, float]:
    """Return when each table of the samples last changed, by this machine's clock.

    If the log cannot be read, all count as changed now.
    """
    tables = {table for sample in samples for table in sample.tables} - {UNTRACKED}
    found: dict[Table, float] = {}
    for database in sorted({database for database, _ in tables}):
        names = sorted(name for alias, name in tables if alias == database)
        try:
            with open_connection(database) as connection:
                found |= {
                    (database, name): at for name, at in read_changes(connection, names).items()
                }
        except DatabaseError:
            found |= {(database, name): ALWAYS for name in names}
    return found


def read_changes(connection: BaseDatabaseWrapper, names: Sequence[str]) -> dict[str, float]:
    """Return when tables last changed, in seconds since 1970 by this machine's clock."""
    by_tag = {table_tag(name): name for name in names}
    found = {}
    tags = list(by_tag)
    for start in range(0, len(tags), TAGS_PER_STATEMENT):
        part = tags[start : start + TAGS_PER_STATEMENT]
        places = ", ".join(["%s"] * len(part))
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT tag, MAX(at), {NOW_MS[connection.vendor]} FROM {LOG}"
                f" WHERE tag IN ({places}) GROUP BY tag",
                part,
            )
            for tag, at, now in cursor.fetchall():
                found[by_tag[tag]] = time.time() - (now - at) / 1000
    return found


def text_of(tables: Iterable[Table]) -> str:
    """Return tables in the column's format: ``database.table``, separated by spaces."""
    return " ".join(sorted(f"{database}.{name}" for database, name in tables))[:1000]


def tables_of(text: str) -> list[Table]:
    """Return the tables in such a text."""
    parts = (one.partition(".") for one in text.split())
    return [(database, name) for database, _, name in parts if database in connections.settings]


KEPT_KINDS = frozenset({"recall", "fragment"})


@dataclass(frozen=True, slots=True)
class Change:
    """How often a table has changed, according to the log."""

    table: str
    database: str
    # Rows of the log in that time. It is a minimum, because older rows of a table are pruned.
    times: int
    last_at: datetime | None  # exact; None: not in that time


@dataclass(frozen=True, slots=True)
class Advice:
    """The cost of one thing, and what a cache would save or saves."""

    kind: str  # "view", "function", "query", "fragment" or "recall"
    name: str
    place: str  # the function that runs it; "" if that is the name, or unknown
    calls: int
    seconds: float  # total time
    repeats: int  # repetitions before any change; for cached values: hits
    changed: int  # repetitions after a change; for cached values: invalid entries
    # time of the repetitions; for cached values: the time that they would have taken
    saving_seconds: float
    is_kept: bool  # it is cached already
    tables: list[str]  # the tracked tables that it reads
    is_untracked: bool  # it also reads data whose changes are not tracked
    changes: list[Change]
    stored_bytes: int = 0  # for cached values: of all that were stored; 0: unknown


def advice(
    since_seconds: float = 86_400, most: int = 20, kinds: Collection[str] | None = None
) -> list[Advice]:
    """Return the sampled things, by the time that a cache would save or saves.

    Views, functions and queries contain each other, so their savings must not be added up.
    """
    first_hour = int(time.time() - since_seconds) // HOUR_SECONDS * HOUR_SECONDS
    costs = [
        cost
        for cost in read_costs(first_hour)
        if (cost.kind != ENDED if kinds is None else cost.kind in kinds)
    ]
    costs.sort(key=lambda cost: (cost.repeated_seconds, cost.seconds), reverse=True)
    chosen = costs[:most]
    changes = changes_of({table for cost in chosen for table in tables_of(cost.tables)}, first_hour)
    return [advice_on(cost, changes) for cost in chosen]


def advice_on(cost: Cost, changes: dict[Table, Change]) -> Advice:
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
        cost.stored_bytes,
    )


def changes_of(tables: Collection[Table], since: float) -> dict[Table, Change]:
    """Return how often tables have changed since a time, without those whose log is unreadable."""
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
    """Return for each table the number of log rows since a time, and the time of the last one."""
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
