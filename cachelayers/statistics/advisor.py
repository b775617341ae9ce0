"""Add up timed samples, and say what should be cached and what that would save."""

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
from cachelayers.invalidation.dialects import LOG, NOW_MS
from cachelayers.invalidation.tags import table_tag
from cachelayers.statistics.table import HOUR_SECONDS, MICROSECONDS, Cost, Row, read_costs
from cachelayers.utils.tracing import UNTRACKED, Sample, Table, pending_samples

MOST_SEEN = 20_000  # things whose last time is remembered
MOST_SUMS = 1_000  # that are written at once; texts with values in them are all different
MOST_KEPT = 20_000  # samples, while the database is down
TAGS_PER_STATEMENT = 100
ALWAYS = float("inf")

Key = tuple[int, str, str]  # hour, kind and name
Open = Callable[[str], AbstractContextManager[BaseDatabaseWrapper]]


@dataclass(slots=True)
class Sum:
    """What one thing has cost in one hour. Each sample stands for several."""

    place: str
    tables: str
    calls: float = 0
    seconds: float = 0.0
    repeats: float = 0
    repeated_seconds: float = 0.0
    changed: float = 0

    def row(self, key: Key) -> Row:
        """Return what is added to the table."""
        return (
            *key,
            self.place,
            self.tables,
            round(self.calls),
            round(self.seconds * MICROSECONDS),
            round(self.repeats),
            round(self.repeated_seconds * MICROSECONDS),
            round(self.changed),
        )


class Timings:
    """The sums that are still to be written, and when each thing was last done."""

    def __init__(self) -> None:
        """Know nothing."""
        self._sums: dict[Key, Sum] = {}
        self._samples: list[Sample] = []
        self._seen: OrderedDict[tuple[str, str, int], float] = OrderedDict()

    def has_any(self) -> bool:
        """Tell whether there is anything to write."""
        return bool(pending_samples or self._samples or self._sums)

    def rows(self, open_connection: Open) -> list[Row]:
        """Add up what is waiting, and return what is to be added to the table."""
        self._samples = [*self._samples, *drained()][-MOST_KEPT:]
        changed_at = last_changes(self._samples, open_connection)
        for sample in self._samples:
            self._add(sample, changed_at)
        self._samples = []
        if len(self._sums) > MOST_SUMS:
            dearest = sorted(self._sums, key=lambda key: self._sums[key].seconds, reverse=True)
            self._sums = {key: self._sums[key] for key in dearest[:MOST_SUMS]}
        return [total.row(key) for key, total in self._sums.items()]

    def forget(self, rows: Sequence[Row]) -> None:
        """Forget what is written."""
        for hour, kind, name, *_ in rows:
            self._sums.pop((hour, kind, name), None)

    def _add(self, sample: Sample, changed_at: Mapping[Table, float]) -> None:
        stands_for = 1 / max(package_settings().ADVISE_SAMPLE, 1e-6)
        key = int(sample.at) // HOUR_SECONDS * HOUR_SECONDS, sample.kind, sample.name
        total = self._sums.setdefault(key, Sum(sample.place, ""))
        total.place, total.tables = sample.place, text_of(sample.tables) or total.tables
        total.calls += stands_for
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

    def _compare(self, sample: Sample, changed_at: Mapping[Table, float]) -> tuple[bool, bool]:
        """Tell whether this was done before, and whether what it reads has changed since then.

        What has changed after it was done again, and before it is looked at here, counts as changed
        too: rather too little is promised than too much.
        """
        if sample.kind in {"recall", "fragment"}:
            return False, sample.was_invalid
        thing = sample.kind, sample.name, sample.arguments
        before = self._seen.pop(thing, None)
        self._seen[thing] = sample.at
        if len(self._seen) > MOST_SEEN:
            self._seen.popitem(last=False)
        if before is None:
            return False, False
        return True, any(changed_at.get(table, 0.0) >= before for table in sample.tables)


def drained() -> list[Sample]:
    """Take all samples that are waiting."""
    found = []
    while pending_samples:
        try:
            found.append(pending_samples.popleft())
        except IndexError:  # in a process without the interpreter's lock
            break
    return found


def last_changes(samples: Iterable[Sample], open_connection: Open) -> dict[Table, float]:
    """Return when each table of some samples was last changed, by this machine's clock.

    Where the log cannot be read, all of them count as changed just now.
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
    """Return when tables were last changed, in seconds since 1970 by this machine's clock."""
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
    """Return tables as the column has them: ``database.table``, separated by spaces."""
    return " ".join(sorted(f"{database}.{name}" for database, name in tables))[:1000]


def tables_of(text: str) -> list[Table]:
    """Return what such a text names."""
    parts = (one.partition(".") for one in text.split())
    return [(database, name) for database, _, name in parts if database in connections.settings]


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
