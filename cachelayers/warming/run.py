"""One run: claim what is to be warmed, plan it, warm it, write down how it went.

The flow of ``warm_cache``, without its words; who calls it says them (``Reporter``).
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
from cachelayers.warming.pool import Order, warm_items
from cachelayers.warming.runs import AlreadyRunning, Record, RunState, Source, claim, number_of


@dataclass(frozen=True, kw_only=True)
class Shard:
    """The part of all items that this machine warms: the i-th of n."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def holds(self, item: Item) -> bool:
        """Tell whether an item is in this part. By what it is, so that lists need not agree."""
        return number_of(item.identity) % self.of == self.number - 1


@dataclass(frozen=True, kw_only=True)
class Job:
    """A source, and how its items get into a plan."""

    source: Source
    add_to: Callable[[Plan], None]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a run goes."""

    order: Order = field(default_factory=Order)
    variants: Sequence[Variant] = (PLAIN,)
    shard: Shard | None = None
    resume: bool = False
    token: str = ""  # of a claim that was made for this run


class Summary:
    """Counts outcomes and keeps the failures."""

    def __init__(self) -> None:
        self.counts: Counter[State] = Counter()
        self.failures: list[Outcome] = []
        self.left_out = 0  # warmed before the interruption
        self._began = time.monotonic()

    def add(self, outcome: Outcome) -> None:
        """Count one."""
        self.counts[outcome.state] += 1
        if outcome.state is State.FAILED:
            self.failures.append(outcome)

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self._began

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {
            "warmed": self.counts[State.WARMED],
            "already_warm": self.counts[State.ALREADY_WARM],
            "failed": self.counts[State.FAILED],
            "left_out": self.left_out,
            "seconds": round(self.seconds, 3),
            "failures": [{"label": one.label, "reason": one.reason} for one in self.failures],
        }


class Reporter(Protocol):
    """Who is told how the run goes."""

    def begin(self, run: Run) -> None:
        """Everything is planned."""

    def advance(self, outcome: Outcome) -> None:
        """One more item has ended."""

    def warn(self, text: str) -> None:
        """Something is not as it should be, and the run goes on."""


@dataclass(eq=False, kw_only=True)
class RunningSource:
    """One source of a run, with its items and, as long as it is not done, its record."""

    jobs: Job
    record: Record | None
    items: list[Item] = field(default_factory=list)


class Run:
    """From the claim to the last word in the records."""

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
        self._plan = Plan(site, variants=options.variants, seconds_each=options.order.time_limit)
        self._parts: list[RunningSource] = []
        self._keeps_records = True

    @property
    def is_empty(self) -> bool:
        """Whether others are at everything that was wanted."""
        return not self._parts

    @property
    def items(self) -> list[Item]:
        """What is left to warm, in the order in which it will be."""
        return [item for part in self._parts for item in part.items]

    def carry_out(self) -> None:
        """Do everything; raises KeyboardInterrupt after the records say that it was one."""
        with self._recorded():
            self.plan(keeps_records=True)
            self._reporter.begin(self)
            self._warm()

    def plan(self, *, keeps_records: bool) -> None:
        """Find out what there is to warm; without records nobody learns of it."""
        self._keeps_records = keeps_records
        # All are claimed before the first is planned: an interrupted run knows what it was to do.
        for jobs in self._jobs:
            try:
                self._parts.append(RunningSource(jobs=jobs, record=self._claim(jobs.source)))
            except AlreadyRunning as error:
                self.refused.append(error)
                self._add_failure(failure(str(jobs.source), WarmingError(str(error))), None)
        for part in self._parts:
            self._plan_part(part)
            self._keep_alive()

    def _claim(self, source: Source) -> Record | None:
        if not self._keeps_records:
            return None
        options = self._options
        try:
            return claim(
                source,
                time_limit=options.order.time_limit,
                resume=options.resume,
                token=options.token,
            )
        except DatabaseError as error:
            self._keeps_records = False
            self._reporter.warn(
                f"This run is not recorded, and another one may do the same meanwhile: {error}"
            )
            return None

    def _plan_part(self, part: RunningSource) -> None:
        record = part.record
        began = time.monotonic()
        first_item, first_failure = len(self._plan.items), len(self._plan.failures)
        try:
            part.jobs.add_to(self._plan)
        finally:
            for outcome in self._plan.failures[first_failure:]:
                self._add_failure(outcome, record)
        for item in self._plan.items[first_item:]:
            self._add_item(item, part)
        if record is not None:
            total = len(part.items) + len(self._plan.failures) - first_failure
            seconds = time.monotonic() - began
            self._write(lambda: record.planned(total, seconds=seconds))

    def _add_item(self, item: Item, part: RunningSource) -> None:
        if self._options.shard is not None and not self._options.shard.holds(item):
            return
        if part.record is not None and number_of(item.identity) in part.record.done:
            self.summary.left_out += 1
        else:
            part.items.append(item)

    def _add_failure(self, outcome: Outcome, record: Record | None) -> None:
        self.summary.add(outcome)
        if record is not None:
            self._write(lambda: record.note(outcome))

    def _warm(self) -> None:
        places = [(part, item) for part in self._parts for item in part.items]
        for part in self._parts:
            self._end_if_complete(part)

        def take(number: int, outcome: Outcome) -> None:
            part, item = places[number]
            self.summary.add(outcome)
            if (record := part.record) is not None:
                self._write(lambda: record.note(outcome, item.identity))
                self._end_if_complete(part)
            self._keep_alive()
            self._reporter.advance(outcome)

        warm_items([item for _, item in places], self._options.order, take)

    def _end_if_complete(self, part: RunningSource) -> None:
        record = part.record
        if record is not None and record.is_complete:
            self._write(lambda: record.end(RunState.FINISHED))
            part.record = None

    def _keep_alive(self) -> None:
        for part in self._parts:
            if part.record is not None:
                self._write(part.record.stay_alive)

    @contextmanager
    def _recorded(self) -> Iterator[None]:
        """Write down what is still open at the end: the run was interrupted."""
        try:
            yield
        finally:
            for part in self._parts:
                if (record := part.record) is not None:
                    self._write(lambda record=record: record.end(RunState.INTERRUPTED))  # type: ignore[misc]
                    part.record = None

    def _write(self, write: Callable[[], None]) -> None:
        # A record that cannot be written is no reason not to warm: the database may be back soon.
        try:
            write()
        except DatabaseError as error:
            if self._keeps_records:
                self._keeps_records = False
                self._reporter.warn(f"The record of this run could not be written: {error}")
