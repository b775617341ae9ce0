"""Refresh stale entries in a few threads of this process, after their readers were served."""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asgiref.sync import async_to_sync
from django.db import connections

from cachelayers.flows import arun, run
from cachelayers.invalidation.capture import apart_from_captures
from cachelayers.invalidation.units import Unit, unit_of_work
from cachelayers.lookup.faults import report_failed_refresh
from cachelayers.lookup.policy import Policy
from cachelayers.lookup.steps import Steps

THREADS = 4
MOST_WAITING = 32  # refreshes; more are not begun, and the entries stay stale for a while longer


class Pool:
    """Threads that are started when first needed; a forked child begins without any."""

    def __init__(self) -> None:
        """Begin without threads."""
        self._executor: ThreadPoolExecutor | None = None
        self._places = threading.BoundedSemaphore(THREADS + MOST_WAITING)

    def submit(self, work: Callable[[], Any]) -> bool:
        """Do it soon; tell whether there was a place."""
        if not self._places.acquire(blocking=False):
            return False
        if self._executor is None:
            self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="cachelayers-refresh")
        try:
            self._executor.submit(self._perform, work)
        except RuntimeError:  # the interpreter is shutting down
            self._places.release()
            return False
        return True

    def _perform(self, work: Callable[[], Any]) -> None:
        try:
            work()
        finally:
            self._places.release()


pool = Pool()


class StartRefresh:
    """Begin to refresh an entry; its result tells whether there was room for it.

    In a copy of the caller's context: the language, the time zone and the like are the caller's.
    What is async runs in an event loop of its own.
    """

    def __init__(self, policy: Policy, steps: Callable[[Unit], Steps]) -> None:
        self.policy, self.steps = policy, steps

    def run(self) -> bool:
        return self._start(run)

    async def arun(self) -> bool:
        return self._start(async_to_sync(arun))

    def _start(self, carry_out: Callable[[Steps], Any]) -> bool:
        context = contextvars.copy_context()
        return pool.submit(lambda: context.run(self._refresh, carry_out))

    def _refresh(self, carry_out: Callable[[Steps], Any]) -> None:
        """Refresh it. One that fails keeps its lease: nobody tries again before it runs out."""
        try:
            with apart_from_captures(), unit_of_work() as unit:
                carry_out(self.steps(unit))
        except Exception as error:  # noqa: BLE001 - whatever a user's function raises; all is logged
            report_failed_refresh(self.policy, error)
        finally:
            connections.close_all()


def begin_anew_after_fork() -> None:
    """Forget threads that the child has not got."""
    pool.__init__()  # type: ignore[misc] # everything in it belongs to the parent


os.register_at_fork(after_in_child=begin_anew_after_fork)
