"""Warm items one after the other or in threads. Called by the run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread

from django.core.cache import caches
from django.db import connections

from cachelayers.warming.items import Item, warm_item
from cachelayers.warming.limits import Pace, can_interrupt, time_limit
from cachelayers.warming.outcomes import Outcome, TookTooLong, failure

# How long an interrupted run waits for the items in hand.
STOP_SECONDS = 3.0
# A signal that comes in the instant before a wait begins is handled when the wait ends.
SIGNAL_SECONDS = 0.5

OnOutcome = Callable[[int, Outcome], None]


@dataclass(frozen=True, kw_only=True)
class Order:
    """How items are to be warmed."""

    concurrency: int = 1
    only_missing: bool = False
    rate: float | None = None  # items a second
    time_limit: float | None = None  # seconds for one item


def warm_items(items: Sequence[Item], order: Order, on_outcome: OnOutcome) -> None:
    """Warm all; ``on_outcome`` is called in this thread, once for each item that ended.

    It gets the item's number in the sequence. An interrupted run tells what ended by then and
    raises KeyboardInterrupt.
    """
    # In threads, what hangs can be left behind; in this one only where a signal ends it.
    if order.concurrency == 1 and (can_interrupt() or not order.time_limit):
        warm_in_turn(items, order, on_outcome)
        return
    crew = Crew(items, order)
    try:
        crew.start(min(order.concurrency, len(items)))
        for _ in items:
            on_outcome(*crew.next_outcome())
    finally:
        crew.stop()
        crew.tell_rest(on_outcome)


def warm_in_turn(items: Sequence[Item], order: Order, on_outcome: OnOutcome) -> None:
    """Warm all in this thread."""
    pace, never = Pace(order.rate), Event()
    for number, item in enumerate(items):
        pace.wait(never)
        try:
            with time_limit(order.time_limit):
                outcome = warm_item(item, only_missing=order.only_missing)
        except TookTooLong as error:  # in the instant in which it had ended
            outcome = failure(item.label, error)
        on_outcome(number, outcome)


@dataclass(eq=False)
class Worker:
    """A thread of the crew, and what it has in hand."""

    number: int
    thread: Thread | None = None
    item: int | None = None
    began: float = 0.0
    is_abandoned: bool = False


@dataclass(eq=False)
class Waiting:
    """The numbers of the items that nobody has taken yet."""

    next: int
    end: int
    lock: Lock = field(default_factory=Lock)

    def take(self) -> int | None:
        """The next one, or None."""
        with self.lock:
            if self.next >= self.end:
                return None
            self.next += 1
            return self.next - 1


class Crew:
    """Threads that take items in their order and put outcomes on a queue."""

    def __init__(self, items: Sequence[Item], order: Order) -> None:
        self._items = items
        self._order = order
        self._pace = Pace(order.rate)
        self._waiting = Waiting(next=0, end=len(items))
        self._outcomes: SimpleQueue[tuple[int, Outcome]] = SimpleQueue()
        self._stopped = Event()
        self._workers: list[Worker] = []
        self._looked_at = time.monotonic()
        self._lock = Lock()  # of a worker's end and its being abandoned

    def start(self, size: int) -> None:
        """Start that many threads."""
        for _ in range(size):
            worker = Worker(len(self._workers) + 1)
            # Daemons: an item that hangs must not keep an interrupted command from ending.
            worker.thread = Thread(
                target=self._work,
                args=(worker,),
                name=f"warm_cache-{worker.number}",
                daemon=True,
            )
            self._workers.append(worker)
            worker.thread.start()

    def next_outcome(self) -> tuple[int, Outcome]:
        """Wait for the next item to end; Ctrl-C is never further away than SIGNAL_SECONDS."""
        while True:
            if time.monotonic() - self._looked_at >= SIGNAL_SECONDS:
                self._abandon_overdue()
            try:
                return self._outcomes.get(timeout=SIGNAL_SECONDS)
            except Empty:
                continue

    def stop(self) -> None:
        """Let the threads finish what they have in hand, and wait for them a while."""
        self._stopped.set()
        deadline = time.monotonic() + STOP_SECONDS
        for worker in self._workers:
            if worker.thread is not None and not worker.is_abandoned:
                worker.thread.join(max(0.0, deadline - time.monotonic()))

    def tell_rest(self, on_outcome: OnOutcome) -> None:
        """Report the outcomes that nobody has asked for yet."""
        while True:
            try:
                number, outcome = self._outcomes.get_nowait()
            except Empty:
                return
            on_outcome(number, outcome)

    def _abandon_overdue(self) -> None:
        self._looked_at = time.monotonic()
        limit = self._order.time_limit
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
            # Both belong to the thread: nobody else could close them after it.
            caches.close_all()
            connections.close_all()

    def _warm(self, worker: Worker, number: int) -> None:
        with self._lock:
            worker.item, worker.began = number, time.monotonic()
        outcome = warm_item(self._items[number], only_missing=self._order.only_missing)
        with self._lock:
            worker.item = None
            if not worker.is_abandoned:
                self._outcomes.put((number, outcome))
