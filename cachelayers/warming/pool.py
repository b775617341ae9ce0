"""Warms items in this thread or in a pool of threads, with a rate limit. `run` calls it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from typing import Any

from django.core.cache import caches
from django.db import connections

from cachelayers.warming.items import Item, warm_item
from cachelayers.warming.outcomes import Outcome, TookTooLong, failure

SOON_SECONDS = 0.001  # 0 would mean never
CAN_INTERRUPT = hasattr(signal, "SIGALRM")  # not on Windows


def can_interrupt() -> bool:
    """Tell whether this thread can be interrupted: signals reach the main thread only."""
    return CAN_INTERRUPT and threading.current_thread() is threading.main_thread()


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise TookTooLong in the block after so many seconds, if this thread allows it."""
    if not seconds or not can_interrupt() or is_alarm_set_within(seconds):
        yield
        return

    def give_up(*_arguments: Any) -> None:
        raise TookTooLong(seconds)

    began = time.monotonic()
    before = signal.signal(signal.SIGALRM, give_up)
    others, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before if before is not None else signal.SIG_DFL)
        if others:
            left = others - (time.monotonic() - began)
            signal.setitimer(signal.ITIMER_REAL, max(left, SOON_SECONDS))


def is_alarm_set_within(seconds: float) -> bool:
    """Tell whether another alarm, such as a test runner's, comes before this one would."""
    return 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= seconds


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


# How long an interrupted run waits for the current items.
STOP_SECONDS = 3.0
# A signal that arrives just before a wait begins is handled when the wait ends.
SIGNAL_SECONDS = 0.5

OnOutcome = Callable[[int, Outcome], None]


@dataclass(frozen=True, kw_only=True)
class PoolOptions:
    """How to warm the items."""

    concurrency: int = 1
    only_missing: bool = False
    rate: float | None = None  # items per second
    time_limit: float | None = None  # seconds per item


def warm_items(items: Sequence[Item], options: PoolOptions, on_outcome: OnOutcome) -> None:
    """Warm all items; ``on_outcome`` is called in this thread, once for each finished item.

    Its first argument is the item's index. An interrupted run reports the items finished by then,
    and raises KeyboardInterrupt.
    """
    # A hanging item in another thread can be abandoned; in this thread a signal has to end it.
    if options.concurrency == 1 and (can_interrupt() or not options.time_limit):
        warm_in_turn(items, options, on_outcome)
        return
    worker_pool = WorkerPool(items, options)
    try:
        worker_pool.start(min(options.concurrency, len(items)))
        for _ in items:
            on_outcome(*worker_pool.next_outcome())
    finally:
        worker_pool.stop()
        worker_pool.report_rest(on_outcome)


def warm_in_turn(items: Sequence[Item], options: PoolOptions, on_outcome: OnOutcome) -> None:
    """Warm all items in this thread."""
    pace, never = Pace(options.rate), Event()
    for number, item in enumerate(items):
        pace.wait(never)
        try:
            with time_limit(options.time_limit):
                outcome = warm_item(item, only_missing=options.only_missing)
        except TookTooLong as error:  # at the moment when it had ended
            outcome = failure(item.label, error)
        on_outcome(number, outcome)


@dataclass(eq=False)
class Worker:
    """A thread of the pool, and its current item."""

    number: int
    thread: Thread | None = None
    item: int | None = None
    began: float = 0.0
    is_abandoned: bool = False


@dataclass(eq=False)
class Waiting:
    """The indexes of the items that no worker has taken yet."""

    next: int
    end: int
    lock: Lock = field(default_factory=Lock)

    def take(self) -> int | None:
        """Return the next one, or None."""
        with self.lock:
            if self.next >= self.end:
                return None
            self.next += 1
            return self.next - 1


class WorkerPool:
    """Threads that take items in order and put their outcomes on a queue."""

    def __init__(self, items: Sequence[Item], options: PoolOptions) -> None:
        self._items = items
        self._options = options
        self._pace = Pace(options.rate)
        self._waiting = Waiting(next=0, end=len(items))
        self._outcomes: SimpleQueue[tuple[int, Outcome]] = SimpleQueue()
        self._stopped = Event()
        self._workers: list[Worker] = []
        self._looked_at = time.monotonic()
        self._lock = Lock()  # for a worker's end and its being abandoned

    def start(self, size: int) -> None:
        for _ in range(size):
            worker = Worker(len(self._workers) + 1)
            # Daemons: a hanging item must not keep an interrupted command from ending.
            worker.thread = Thread(
                target=self._work,
                args=(worker,),
                name=f"warm_cache-{worker.number}",
                daemon=True,
            )
            self._workers.append(worker)
            worker.thread.start()

    def next_outcome(self) -> tuple[int, Outcome]:
        """Wait for the next outcome. Ctrl-C is handled within SIGNAL_SECONDS."""
        while True:
            if time.monotonic() - self._looked_at >= SIGNAL_SECONDS:
                self._abandon_overdue()
            try:
                return self._outcomes.get(timeout=SIGNAL_SECONDS)
            except Empty:
                continue

    def stop(self) -> None:
        """Let the threads finish their current items, and wait for them a while."""
        self._stopped.set()
        deadline = time.monotonic() + STOP_SECONDS
        for worker in self._workers:
            if worker.thread is not None and not worker.is_abandoned:
                worker.thread.join(max(0.0, deadline - time.monotonic()))

    def report_rest(self, on_outcome: OnOutcome) -> None:
        """Report the outcomes that are still on the queue."""
        while True:
            try:
                number, outcome = self._outcomes.get_nowait()
            except Empty:
                return
            on_outcome(number, outcome)

    def _abandon_overdue(self) -> None:
        self._looked_at = time.monotonic()
        limit = self._options.time_limit
        if not limit:
            return
        for worker in list(self._workers):
            with self._lock:
                number = worker.item
                if number is None or worker.is_abandoned:
                    continue
                if time.monotonic() - worker.began < limit:
                    continue
                worker.is_abandoned = True
            label = self._items[number].label
            self._outcomes.put((number, failure(label, TookTooLong(limit))))
            self.start(1)

    def _work(self, worker: Worker) -> None:
        try:
            while not worker.is_abandoned and not self._stopped.is_set():
                number = self._waiting.take()
                if number is None:
                    return
                self._pace.wait(self._stopped)
                if self._stopped.is_set():
                    return
                self._warm(worker, number)
        finally:
            # Both belong to this thread, and no other thread can close them.
            caches.close_all()
            connections.close_all()

    def _warm(self, worker: Worker, number: int) -> None:
        with self._lock:
            worker.item, worker.began = number, time.monotonic()
        outcome = warm_item(self._items[number], only_missing=self._options.only_missing)
        with self._lock:
            worker.item = None
            if not worker.is_abandoned:
                self._outcomes.put((number, outcome))
