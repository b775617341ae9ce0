"""One run: claims the sources, plans them, warms the items and records the results.

``warm_cache`` and `background` start it; a ``Reporter`` shows the progress.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from django.db import DatabaseError

from cachelayers.warming.addresses import PLAIN, Variant
from cachelayers.warming.clients import Client
from cachelayers.warming.items import Item
from cachelayers.warming.outcomes import Outcome, State, WarmingError, failure
from cachelayers.warming.plan import Plan
from cachelayers.warming.pool import PoolOptions, warm_items
from cachelayers.warming.runs import AlreadyRunning, Record, RunState, Source, claim, number_of


@dataclass(frozen=True, kw_only=True)
class Shard:
    """The part of all items that this machine warms: the i-th of n."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def holds(self, item: Item) -> bool:
        """Tell whether an item is in this shard, by its identity: the lists may differ."""
        return number_of(item.identity) % self.of == self.number - 1


@dataclass(frozen=True, kw_only=True)
class Job:
    """A source, and the function that adds its items to a plan."""

    source: Source
    add_to: Callable[[Plan], None]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options of a run."""

    pool: PoolOptions = field(default_factory=PoolOptions)
    variants: Sequence[Variant] = (PLAIN,)
    shard: Shard | None = None
    resume: bool = False
    token: str = ""  # of a claim made for this run


class Summary:
    """Counts outcomes and stores the failures."""

    def __init__(self) -> None:
        self.counts: Counter[State] = Counter()
        self.failures: list[Outcome] = []
        self.left_out = 0  # warmed before the interruption
        self._began = time.monotonic()

    def add(self, outcome: Outcome) -> None:
        self.counts[outcome.state] += 1
        if outcome.state is State.FAILED:
            self.failures.append(outcome)

    @property
    def seconds(self) -> float:
        """Return the seconds since the run began."""
        return time.monotonic() - self._began

    def as_json(self) -> dict[str, Any]:
        """Return everything, for programs."""
        return {
            "warmed": self.counts[State.WARMED],
            "already_warm": self.counts[State.ALREADY_WARM],
            "failed": self.counts[State.FAILED],
            "left_out": self.left_out,
            "seconds": round(self.seconds, 3),
            "failures": [{"label": one.label, "reason": one.reason} for one in self.failures],
        }


class Reporter(Protocol):
    """Shows the progress of a run."""

    def begin(self, run: Run) -> None:
        """Called when everything is planned."""

    def advance(self, outcome: Outcome) -> None:
        """Called for each finished item."""

    def warn(self, text: str) -> None:
        """Called for a problem that does not end the run."""


@dataclass(eq=False, kw_only=True)
class RunningSource:
    """One source of a run, with its items, and its record until it is done."""

    job: Job
    record: Record | None
    items: list[Item] = field(default_factory=list)


class Run:
    """One run, from the claims to the last records."""

    def __init__(
        self,
        jobs: Sequence[Job],
        site: Client,
        options: RunOptions,
        reporter: Reporter,
    ) -> None:
        self.summary = Summary()
        self.refused: list[AlreadyRunning] = []
        self._jobs = jobs
        self._options = options
        self._reporter = reporter
        self._plan = Plan(site, variants=options.variants, seconds_each=options.pool.time_limit)
        self._sources: list[RunningSource] = []
        self._keeps_records = True

    @property
    def is_empty(self) -> bool:
        """Tell whether other processes are warming all of the sources."""
        return not self._sources

    @property
    def items(self) -> list[Item]:
        """Return the items left to warm, in order."""
        return [item for source in self._sources for item in source.items]

    def carry_out(self) -> None:
        """Do the run. KeyboardInterrupt is raised after the interruption is recorded."""
        with self._recorded():
            self.plan(keeps_records=True)
            self._reporter.begin(self)
            self._warm()

    def plan(self, *, keeps_records: bool) -> None:
        """Collect the items. ``keeps_records``: also claim and record the run."""
        self._keeps_records = keeps_records
        # All are claimed before the first is planned, so that an interrupted run knows its sources.
        for job in self._jobs:
            try:
                self._sources.append(RunningSource(job=job, record=self._claim(job.source)))
            except AlreadyRunning as error:
                self.refused.append(error)
                self._add_failure(failure(str(job.source), WarmingError(str(error))), None)
        for running in self._sources:
            self._plan_source(running)
            self._keep_alive()

    def _claim(self, source: Source) -> Record | None:
        if not self._keeps_records:
            return None
        options = self._options
        try:
            return claim(
                source,
                time_limit=options.pool.time_limit,
                resume=options.resume,
                token=options.token,
            )
        except DatabaseError as error:
            self._keeps_records = False
            self._reporter.warn(
                f"This run is not recorded, and another one may do the same meanwhile: {error}"
            )
            return None

    def _plan_source(self, running: RunningSource) -> None:
        record = running.record
        began = time.monotonic()
        first_item, first_failure = len(self._plan.items), len(self._plan.failures)
        try:
            running.job.add_to(self._plan)
        finally:
            for outcome in self._plan.failures[first_failure:]:
                self._add_failure(outcome, record)
        for item in self._plan.items[first_item:]:
            self._add_item(item, running)
        if record is not None:
            total = len(running.items) + len(self._plan.failures) - first_failure
            seconds = time.monotonic() - began
            self._write(lambda: record.planned(total, seconds=seconds))

    def _add_item(self, item: Item, running: RunningSource) -> None:
        if self._options.shard is not None and not self._options.shard.holds(item):
            return
        if running.record is not None and number_of(item.identity) in running.record.done:
            self.summary.left_out += 1
        else:
            running.items.append(item)

    def _add_failure(self, outcome: Outcome, record: Record | None) -> None:
        self.summary.add(outcome)
        if record is not None:
            self._write(lambda: record.count(outcome))

    def _warm(self) -> None:
        planned = [(source, item) for source in self._sources for item in source.items]
        for running in self._sources:
            self._end_if_complete(running)

        def take(number: int, outcome: Outcome) -> None:
            running, item = planned[number]
            self.summary.add(outcome)
            if (record := running.record) is not None:
                self._write(lambda: record.count(outcome, item.identity))
                self._end_if_complete(running)
            self._keep_alive()
            self._reporter.advance(outcome)

        warm_items([item for _, item in planned], self._options.pool, take)

    def _end_if_complete(self, running: RunningSource) -> None:
        record = running.record
        if record is not None and record.is_complete:
            self._write(lambda: record.end(RunState.FINISHED))
            running.record = None

    def _keep_alive(self) -> None:
        for running in self._sources:
            if running.record is not None:
                self._write(running.record.stay_alive)

    @contextmanager
    def _recorded(self) -> Iterator[None]:
        """Record an interruption for what is still open at the end."""
        try:
            yield
        finally:
            for running in self._sources:
                if (record := running.record) is not None:
                    self._write(lambda record=record: record.end(RunState.INTERRUPTED))  # type: ignore[misc]
                    running.record = None

    def _write(self, write: Callable[[], None]) -> None:
        # Warm even if a record cannot be written: the database may be back soon.
        try:
            write()
        except DatabaseError as error:
            if self._keeps_records:
                self._keeps_records = False
                self._reporter.warn(f"The record of this run could not be written: {error}")
