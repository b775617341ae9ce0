"""Write what this process has counted, every few seconds, in a thread with its own connection.

Never in a request's transaction, and never at a request's cost: a database that is down is reported
in the log, and what was counted waits. The thread begins with the first unit of work that ends, and
ends when nothing happens any more; before a fork it ends too.
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
from cachelayers.utils.counters import Figures, Name, figures_of_process, heartbeat
from cachelayers.utils.locks import ForkSafeLock
from cachelayers.utils.rate_limit import RateLimit

logger = logging.getLogger("cachelayers.statistics")

LONGEST_WAIT_SECONDS = 1.0  # for the thread to end before a fork
TEST_RUNNERS = frozenset({"django.test.runner", "_pytest"})  # modules that nothing else loads
LISTENING_SECONDS = 10.0  # between two tellings, where nothing is written

News = Mapping[Name, Figures]
Listener = Callable[[News], None]


class Writer:
    """What this process has told the others of its counts, and who tells them."""

    def __init__(self) -> None:
        """Begin: nothing is written yet, and no thread runs."""
        self.listeners: list[Listener] = []
        self.failures = 0  # since the process began
        self._told: dict[Name, Figures] = {}  # to the listeners
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
        """Start the thread, unless it runs, or there is nothing for it to do."""
        with self._thread_lock:
            if not heartbeat.is_asleep or self._pause_seconds() is None or is_under_test():
                return
            heartbeat.is_asleep = False
            self._stop = threading.Event()
            self._thread = threading.Thread(
                target=self._go_on, args=(self._stop,), name="cachelayers-statistics", daemon=True
            )
            try:
                self._thread.start()
            except RuntimeError:  # the interpreter is shutting down
                self._thread, heartbeat.is_asleep = None, True

    def rest(self) -> None:
        """End the thread, until somebody wakes it again."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            self._stop.set()
            thread.join(LONGEST_WAIT_SECONDS)

    def begin_anew(self) -> None:
        """In a forked child: all counts are zero, and there is no thread."""
        self._told, self._written, self._timings = {}, {}, Timings()
        self._thread = None
        if self._is_connected:
            heartbeat.is_asleep = True

    _is_connected = False

    def connect(self) -> None:
        """Be woken from now on, and write once more when the process ends."""
        self._is_connected = True
        heartbeat.connect(self.wake)
        atexit.register(self.end)

    def end(self) -> None:
        """Write what is left, unless that failed the last time: nobody is to wait for it."""
        if self._pause_seconds() is not None and not self._is_failing and not is_under_test():
            self.rest()
            self.write()

    def _pause_seconds(self) -> float | None:
        """Return for how long to wait between two writes; None: there is nothing to do."""
        seconds = package_settings().STATS_SECONDS
        return LISTENING_SECONDS if seconds is None and self.listeners else seconds

    def _go_on(self, stop: threading.Event) -> None:
        """Write again and again, until nothing is new. The body of the thread."""
        try:
            while (seconds := self._pause_seconds()) is not None:
                if stop.wait(seconds):
                    return
                if not self._has_news():
                    return
                self.write()
        finally:
            if self._stop is stop:
                heartbeat.is_asleep = True

    def _has_news(self) -> bool:
        return bool(self._timings.has_any() or difference(self._written, figures_of_process()))

    # What

    def write(self) -> bool:
        """Tell the listeners, and add to the tables; return whether that went well."""
        with self._lock:
            self._tell_listeners()
            if package_settings().STATS_SECONDS is None:
                self._written = dict(figures_of_process())
                return True
            try:
                self._add_to_tables()
            except (django.db.Error, OSError) as error:
                self._report(error)
                return False
            self._is_failing = False
            return True

    def tell_listeners(self) -> None:
        """Tell the listeners now."""
        with self._lock:
            self._tell_listeners()

    def _tell_listeners(self) -> None:
        if not self.listeners:
            return
        now = figures_of_process()
        news, self._told = difference(self._told, now), dict(now)
        for listener in self.listeners:
            listener(news)

    def _add_to_tables(self) -> None:
        """Add what is new. What is written is remembered at once: the rest is tried again."""
        news = difference(self._written, figures_of_process())
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
        """Log it at most once a minute."""
        self.failures += 1
        self._is_failing = True
        database = statistics_database()
        if self._reports.is_due(database):
            logger.warning(
                "The statistics were not written to DATABASES[%r]: %s: %s. They are kept, and"
                " written when it works. Where the table is missing, run"
                " `manage.py migrate cachelayers --database=%s`.",
                database,
                type(error).__name__,
                error,
                database,
            )


def difference(before: News, now: News) -> dict[Name, Figures]:
    """Return what has been counted since, without what has not changed."""
    nothing = Figures()
    found = {name: figures.minus(before.get(name, nothing)) for name, figures in now.items()}
    return {name: figures for name, figures in found.items() if any(figures)}


@contextmanager
def own_connection(database: str) -> Iterator[BaseDatabaseWrapper]:
    """Give a connection that nobody else has: no transaction of the application's is on it."""
    connection = connections.create_connection(database)
    try:
        yield connection
    finally:
        connection.close()


def is_under_test() -> bool:
    """Tell whether this process runs tests, or has run some.

    There a thread that writes would meet the transactions of tests, and their databases when they
    are taken away; afterwards it would write to the site's own. What a test wants to see written,
    it writes with flush().
    """
    is_prepared = hasattr(sys.modules.get("django.core.mail"), "outbox")
    return is_prepared or not TEST_RUNNERS.isdisjoint(sys.modules)


writer = Writer()


def flush() -> bool:
    """Write now what this process has counted; return whether that went well.

    Over a connection of its own: not in the caller's transaction.
    """
    return writer.write()


os.register_at_fork(before=writer.rest, after_in_child=writer.begin_anew)
