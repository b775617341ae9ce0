"""Writes the counts of this process every few seconds, in a thread with its own connection.

The connection is separate from requests and their transactions. If the database is down, that is
logged and the counts wait. The first finished unit of work starts the thread; it ends when nothing
happens any more, and before a fork.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import django.db
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.conf import package_settings, statistics_database
from cachelayers.statistics.advisor import Timings
from cachelayers.statistics.table import (
    HOUR_SECONDS,
    MINUTE_SECONDS,
    STATISTICS_TABLE,
    TIMINGS_TABLE,
    add_rows,
    delete_old,
    row_of,
)
from cachelayers.utils.counters import (
    Figures,
    Name,
    figures_of_process,
    figures_to_write,
    heartbeat,
)
from cachelayers.utils.endings import endings
from cachelayers.utils.locks import ForkSafeLock
from cachelayers.utils.rate_limit import RateLimit

logger = logging.getLogger("cachelayers.statistics")

LONGEST_WAIT_SECONDS = 1.0  # for the thread to end before a fork
TEST_RUNNERS = frozenset({"django.test.runner", "_pytest"})  # modules that only test runners load
# Before the first write after a quiet time, so that a developer sees the counts of a page at once.
# Each further pause is twice as long, up to STATS_SECONDS.
FIRST_PAUSE_SECONDS = 1.0
LISTENING_SECONDS = 10.0  # between two notifications, if nothing is written

News = Mapping[Name, Figures]
Listener = Callable[[News], None]


class Writer:
    """What this process has written and reported so far, and the thread for it."""

    def __init__(self) -> None:
        self.listeners: list[Listener] = []
        self.failures = 0  # since the process began
        self._notified: dict[Name, Figures] = {}  # to the listeners
        self._written: dict[Name, Figures] = {}
        self._timings = Timings()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._reports = RateLimit()
        self._is_failing = False
        self._prune_at = 0  # seconds since 1970
        self._lock = ForkSafeLock()
        self._thread_lock = ForkSafeLock()

    # When

    def wake(self) -> None:
        """Start the thread, unless it is running or not needed."""
        with self._thread_lock:
            if not heartbeat.is_asleep or self._pause_seconds() is None or is_under_test():
                return
            heartbeat.is_asleep = False
            self._stop = threading.Event()
            self._thread = threading.Thread(
                target=self._run, args=(self._stop,), name="cachelayers-statistics", daemon=True
            )
            try:
                self._thread.start()
            except RuntimeError:  # the interpreter is shutting down
                self._thread, heartbeat.is_asleep = None, True

    def stop_thread(self) -> None:
        """Stop the thread until the next wake()."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            self._stop.set()
            thread.join(LONGEST_WAIT_SECONDS)

    def reset_after_fork(self) -> None:
        """In a forked child: all counts are zero, and there is no thread."""
        self._notified, self._written, self._timings = {}, {}, Timings()
        endings.clear()
        self._thread = None
        if self._is_connected:
            heartbeat.is_asleep = True

    _is_connected = False

    def connect(self) -> None:
        """Connect wake() to finished units, and write once more when the process ends."""
        self._is_connected = True
        heartbeat.connect(self.wake)
        atexit.register(self.end)

    def end(self) -> None:
        """Write the rest, unless the last write failed: the exit must not wait for a database."""
        if self._pause_seconds() is not None and not self._is_failing and not is_under_test():
            self.stop_thread()
            self.write()

    def _pause_seconds(self) -> float | None:
        """Return the time between two writes; None if there is nothing to do."""
        seconds = package_settings().STATS_SECONDS
        return LISTENING_SECONDS if seconds is None and self.listeners else seconds

    def _run(self, stop: threading.Event) -> None:
        """Write again and again until nothing is new. This is the body of the thread."""
        pause = FIRST_PAUSE_SECONDS
        try:
            while (seconds := self._pause_seconds()) is not None:
                if stop.wait(min(pause, seconds)):
                    return
                if not self._has_news():
                    return
                self.write()
                pause *= 2
        finally:
            if self._stop is stop:
                heartbeat.is_asleep = True

    def _has_news(self) -> bool:
        return bool(self._timings.has_any() or difference(self._written, figures_to_write()))

    # What

    def write(self) -> bool:
        """Notify the listeners and add to the tables. Return whether that succeeded."""
        with self._lock:
            self._tell_listeners()
            if package_settings().STATS_SECONDS is None:
                self._written = dict(figures_to_write())
                return True
            try:
                self._add_to_tables()
            except (django.db.Error, OSError) as error:
                self._report(error)
                return False
            self._is_failing = False
            return True

    def notify_listeners(self) -> None:
        with self._lock:
            self._tell_listeners()

    def _tell_listeners(self) -> None:
        if not self.listeners:
            return
        now = figures_of_process()
        news, self._notified = difference(self._notified, now), dict(now)
        for listener in self.listeners:
            listener(news)

    def _add_to_tables(self) -> None:
        """Add the new counts. Written rows are remembered at once; the others are tried again."""
        news = difference(self._written, figures_to_write())
        if not news and not self._timings.has_any():
            return
        minute = int(time.time()) // MINUTE_SECONDS * MINUTE_SECONDS
        rows = [row_of(minute, name, figures) for name, figures in news.items()]
        with own_connection(statistics_database()) as connection:
            for part in add_rows(connection, STATISTICS_TABLE, rows):
                for _, cache, layer, *_ in part:
                    name = cache, layer
                    self._written[name] = self._written.get(name, Figures()).plus(news[name])
            for part in add_rows(connection, TIMINGS_TABLE, self._timings.rows(own_connection)):
                self._timings.forget(part)
            if minute >= self._prune_at:
                self._prune_at = minute + HOUR_SECONDS
                delete_old(connection)

    def _report(self, error: BaseException) -> None:
        """Log it, at most once a minute."""
        self.failures += 1
        self._is_failing = True
        database = statistics_database()
        if self._reports.is_due(database):
            logger.warning(
                "The statistics were not written to DATABASES[%r]: %s: %s. They are kept, and"
                " written when it works. If the table is missing, run"
                " `manage.py migrate cachelayers --database=%s`.",
                database,
                type(error).__name__,
                error,
                database,
            )


def difference(before: News, now: News) -> dict[Name, Figures]:
    """Return the counts since then, without unchanged ones."""
    nothing = Figures()
    found = {name: figures.minus(before.get(name, nothing)) for name, figures in now.items()}
    return {name: figures for name, figures in found.items() if any(figures)}


@contextmanager
def own_connection(database: str) -> Iterator[BaseDatabaseWrapper]:
    """Yield a new connection, on which the application has no transaction."""
    connection = connections.create_connection(database)
    try:
        yield connection
    finally:
        connection.close()


def is_under_test() -> bool:
    """Tell whether this process runs tests, or has run some.

    A thread that writes would disturb the transactions of tests and the removal of their databases,
    and write to the site's database afterwards. Tests call flush() instead.
    """
    is_prepared = hasattr(sys.modules.get("django.core.mail"), "outbox")
    return is_prepared or not TEST_RUNNERS.isdisjoint(sys.modules)


writer = Writer()


def flush() -> bool:
    """Write the counts of this process now. Return whether that succeeded.

    It uses its own connection, not the caller's transaction.
    """
    return writer.write()


os.register_at_fork(before=writer.stop_thread, after_in_child=writer.reset_after_fork)
