"""Warm items one after the other or in threads. Called by ``warm_cache``."""

import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import Event, Thread

from django.core.cache import caches
from django.db import connections

from cachelayers.warming.items import Item, warm_item
from cachelayers.warming.outcomes import Outcome

# How long an interrupted run waits for the items in hand.
STOP_SECONDS = 3.0
# A signal that comes in the instant before a wait begins is handled when the wait ends.
SIGNAL_SECONDS = 0.5


def warm_items(
    items: Sequence[Item],
    *,
    concurrency: int,
    only_missing: bool,
    on_outcome: Callable[[Outcome], None],
) -> None:
    """Warm all; ``on_outcome`` is called in this thread, once for each item that ended.

    An interrupted run tells what ended by then and raises KeyboardInterrupt.
    """
    if concurrency == 1:
        for item in items:
            on_outcome(warm_item(item, only_missing=only_missing))
        return
    crew = Crew(items, only_missing=only_missing)
    try:
        crew.start(min(concurrency, len(items)))
        for _ in items:
            on_outcome(crew.next_outcome())
    finally:
        crew.stop()
        crew.tell_rest(on_outcome)


class Crew:
    """Threads that take items from one queue and put outcomes on another."""

    def __init__(self, items: Sequence[Item], *, only_missing: bool) -> None:
        self._only_missing = only_missing
        self._waiting: SimpleQueue[Item] = SimpleQueue()
        self._outcomes: SimpleQueue[Outcome] = SimpleQueue()
        self._stopped = Event()
        self._threads: list[Thread] = []
        for item in items:
            self._waiting.put(item)

    def start(self, size: int) -> None:
        """Start that many threads."""
        for number in range(1, size + 1):
            # Daemons: an item that hangs must not keep an interrupted command from ending.
            thread = Thread(target=self._work, name=f"warm_cache-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def next_outcome(self) -> Outcome:
        """Wait for the next item to end; Ctrl-C is never further away than SIGNAL_SECONDS."""
        while True:
            try:
                return self._outcomes.get(timeout=SIGNAL_SECONDS)
            except Empty:
                continue

    def stop(self) -> None:
        """Let the threads finish what they have in hand, and wait for them a while."""
        self._stopped.set()
        deadline = time.monotonic() + STOP_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def tell_rest(self, on_outcome: Callable[[Outcome], None]) -> None:
        """Report the outcomes that nobody has asked for yet."""
        while True:
            try:
                outcome = self._outcomes.get_nowait()
            except Empty:
                return
            on_outcome(outcome)

    def _work(self) -> None:
        try:
            while not self._stopped.is_set():
                item = self._waiting.get_nowait()
                self._outcomes.put(warm_item(item, only_missing=self._only_missing))
        except Empty:
            return
        finally:
            # Both belong to the thread: nobody else could close them after it.
            caches.close_all()
            connections.close_all()
