"""One run: claims the sources, plans them, warms the items and records the results.

``warm_cache`` starts it; a ``Reporter`` shows the progress.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from django.core.cache import caches
from django.db import DatabaseError, connections

from cachelayers.warming.clients import PLAIN, Client, Variant
from cachelayers.warming.items import (
    Item,
    Outcome,
    State,
    TookTooLong,
    WarmingError,
    failure,
    warm_item,
)
from cachelayers.warming.plan import Plan, can_interrupt, time_limit
from cachelayers.warming.runs import AlreadyRunning, Record, RunState, Source, claim, number_of

# How long an interrupted run waits for the current items.
STOP_SECONDS = 3.0
# A signal that arrives just before a wait begins is handled when the wait ends.
SIGNAL_SECONDS = 0.5


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
class RunOptions:
    """The options of a run."""

    concurrency: int = 1
    only_missing: bool = False
    rate: float | None = None  # items per second
    time_limit: float | None = None  # seconds per item
    variants: Sequence[Variant] = (PLAIN,)
    shard: Shard | None = None
    resume: bool = False
    token: str = ""  # of a claim made for this run


OnOutcome = Callable[[int, Outcome], None]


class Pace:
    """Limits how many items per second begin, over all threads."""

    def __init__(self, rate: float | None) -> None:
        """``rate``: items per second; None for no limit."""
        self._pause_seconds = 1 / rate if rate else 0.0
        self._next_at = time.monotonic()
        self._lock = threading.Lock()

    def wait(self, stopped: threading.Event) -> None:
        """Wait until this item may begin, or the run is stopped."""
        if not self._pause_seconds:
            return
        with self._lock:
            turn = max(self._next_at, time.monotonic())
            self._next_at = turn + self._pause_seconds
        stopped.wait(max(0.0, turn - time.monotonic()))


def warm_items(items: Sequence[Item], options: RunOptions, on_outcome: OnOutcome) -> None:
    """Warm all items; ``on_outcome`` is called in this thread, once for each finished item.

    Its first argument is the item's index. An interrupted run reports the items finished by then,
    and raises KeyboardInterrupt.
    """
    # A hanging item in another thread can be abandoned; in this thread a signal has to end it.
    if options.concurrency == 1 and (can_interrupt() or not options.time_limit):
        warm_in_turn(items, options, on_outcome)
    else:
        warm_in_threads(items, options, on_outcome)


def warm_in_turn(items: Sequence[Item], options: RunOptions, on_outcome: OnOutcome) -> None:
    """Warm all items in this thread."""
    pace, never = Pace(options.rate), threading.Event()
    for number, item in enumerate(items):
        pace.wait(never)
        try:
            with time_limit(options.time_limit):
                outcome = warm_item(item, only_missing=options.only_missing)
        except TookTooLong as error:  # at the moment when it had ended
            outcome = failure(item.label, error)
        on_outcome(number, outcome)


class Workers:
    """Threads that take items in order, and are replaced if an item hangs.

    Not a ThreadPoolExecutor: Python waits for its threads at the end of the process, so an item
    that hangs would keep the command from ending.
    """

    def __init__(self, items: Sequence[Item], options: RunOptions) -> None:
        self.outcomes: SimpleQueue[tuple[int, Outcome]] = SimpleQueue()
        self._items = items
        self._options = options
        self._pace = Pace(options.rate)
        self._stopped = threading.Event()
        self._waiting: SimpleQueue[int] = SimpleQueue()
        for number in range(len(items)):
            self._waiting.put(number)
        # The current items: their threads and begins. Who removes an item reports its outcome.
        self._current: dict[int, tuple[threading.Thread, float]] = {}
        self._threads: set[threading.Thread] = set()

    def start(self) -> None:
        # Daemons: a hanging item must not keep the command from ending.
        thread = threading.Thread(target=self._work, name="warm_cache", daemon=True)
        self._threads.add(thread)
        thread.start()

    def stop(self) -> None:
        """Let the threads finish their current items, and wait for them a while."""
        self._stopped.set()
        deadline = time.monotonic() + STOP_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def give_up_overdue(self) -> None:
        limit = self._options.time_limit or float("inf")
        for number, (thread, began) in self._current.copy().items():
            overdue = time.monotonic() - began >= limit
            if overdue and self._current.pop(number, None) is not None:
                label = self._items[number].label
                self.outcomes.put((number, failure(label, TookTooLong(limit))))
                self._threads.remove(thread)
                self.start()

    def _work(self) -> None:
        try:
            with suppress(Empty):
                while self._work_on(self._waiting.get_nowait()):
                    pass
        finally:
            # Both belong to this thread, and no other thread can close them.
            caches.close_all()
            connections.close_all()

    def _work_on(self, number: int) -> bool:
        self._pace.wait(self._stopped)
        if self._stopped.is_set():
            return False
        self._current[number] = threading.current_thread(), time.monotonic()
        outcome = warm_item(self._items[number], only_missing=self._options.only_missing)
        if self._current.pop(number, None) is None:  # another thread has taken this one's place
            return False
        self.outcomes.put((number, outcome))
        return True


def warm_in_threads(items: Sequence[Item], options: RunOptions, on_outcome: OnOutcome) -> None:
    workers = Workers(items, options)
    looked_at = time.monotonic()
    left = len(items)
    try:
        for _ in range(min(options.concurrency, len(items))):
            workers.start()
        while left:
            if time.monotonic() - looked_at >= SIGNAL_SECONDS:
                looked_at = time.monotonic()
                workers.give_up_overdue()
            try:
                done = workers.outcomes.get(timeout=SIGNAL_SECONDS)
            except Empty:
                continue
            left -= 1
            on_outcome(*done)
    finally:
        workers.stop()
        while not workers.outcomes.empty():
            on_outcome(*workers.outcomes.get())


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
class Job:
    """A source, and the function that adds its items to a plan; the run fills in the rest."""

    source: Source
    add_to: Callable[[Plan], None]
    items: list[Item] = field(default_factory=list)
    record: Record | None = None  # until it is done


class Run:
    """One run, from the claims to the last records."""

    def __init__(
        self, jobs: Sequence[Job], site: Client, options: RunOptions, reporter: Reporter
    ) -> None:
        self.summary = Summary()
        self._wanted = jobs
        self._jobs: list[Job] = []  # without those that other processes are warming
        self._options = options
        self._reporter = reporter
        self._plan = Plan(site, variants=options.variants, seconds_each=options.time_limit)
        self._keeps_records = True

    @property
    def is_refused(self) -> bool:
        """Tell whether other processes are warming all of the sources."""
        return not self._jobs

    @property
    def items(self) -> list[Item]:
        """Return the items left to warm, in order."""
        return [item for job in self._jobs for item in job.items]

    def carry_out(self) -> None:
        """Do the run. KeyboardInterrupt is raised after the interruption is recorded."""
        try:
            self.plan(keeps_records=True)
            self._reporter.begin(self)
            self._warm()
        finally:
            for job in self._jobs:
                self._end(job, RunState.INTERRUPTED)

    def plan(self, *, keeps_records: bool) -> None:
        """Collect the items. ``keeps_records``: also claim and record the run."""
        self._keeps_records = keeps_records
        # All are claimed before the first is planned, so that an interrupted run knows its sources.
        for job in self._wanted:
            try:
                job.record = self._claim(job.source)
                self._jobs.append(job)
            except AlreadyRunning as error:
                self.summary.add(failure(str(job.source), WarmingError(str(error))))
        for job in self._jobs:
            self._plan_job(job)
            self._keep_alive()

    def _claim(self, source: Source) -> Record | None:
        if not self._keeps_records:
            return None
        options = self._options
        try:
            return claim(
                source,
                time_limit=options.time_limit,
                resume=options.resume,
                token=options.token,
            )
        except DatabaseError as error:
            self._keeps_records = False
            self._reporter.warn(
                f"This run is not recorded, and another one may do the same meanwhile: {error}"
            )
            return None

    def _plan_job(self, job: Job) -> None:
        plan = self._plan
        began = time.monotonic()
        plan.items, plan.failures = [], []
        try:
            job.add_to(plan)
        finally:
            for outcome in plan.failures:
                self._count(job, outcome)
        for item in plan.items:
            if self._options.shard is not None and not self._options.shard.holds(item):
                continue
            if job.record is not None and number_of(item.identity) in job.record.done:
                self.summary.left_out += 1
            else:
                job.items.append(item)
        if job.record is not None:
            total = len(job.items) + len(plan.failures)
            seconds = time.monotonic() - began
            self._write(partial(job.record.planned, total, seconds=seconds))

    def _count(self, job: Job, outcome: Outcome, identity: str | None = None) -> None:
        self.summary.add(outcome)
        if job.record is not None:
            self._write(partial(job.record.count, outcome, identity))

    def _warm(self) -> None:
        planned = [(job, item) for job in self._jobs for item in job.items]

        def take(number: int, outcome: Outcome) -> None:
            job, item = planned[number]
            self._count(job, outcome, item.identity)
            self._end_if_complete(job)
            self._keep_alive()
            self._reporter.advance(outcome)

        for job in self._jobs:
            self._end_if_complete(job)
        warm_items([item for _, item in planned], self._options, take)

    def _end_if_complete(self, job: Job) -> None:
        if job.record is not None and job.record.is_complete:
            self._end(job, RunState.FINISHED)

    def _end(self, job: Job, state: RunState) -> None:
        if job.record is not None:
            self._write(partial(job.record.end, state))
            job.record = None

    def _keep_alive(self) -> None:
        for job in self._jobs:
            if job.record is not None:
                self._write(job.record.stay_alive)

    def _write(self, write: Callable[[], None]) -> None:
        # Warm even if a record cannot be written: the database may be back soon.
        try:
            write()
        except DatabaseError as error:
            if self._keeps_records:
                self._keeps_records = False
                self._reporter.warn(f"The record of this run could not be written: {error}")
