"""How fast a run may be, and how long one thing may take. Used by the crew and by the run."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cachelayers.warming.outcomes import TookTooLong

SOON_SECONDS = 0.001  # 0 would be never
CAN_INTERRUPT = hasattr(signal, "SIGALRM")  # not on Windows


def can_interrupt() -> bool:
    """Tell whether what runs in this thread can be interrupted: signals reach the main one only."""
    return CAN_INTERRUPT and threading.current_thread() is threading.main_thread()


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise TookTooLong in the block after so many seconds, where this thread allows it."""
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
    """Tell whether somebody else's alarm, such as a test runner's, comes before this one would."""
    return 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= seconds


class Pace:
    """Lets so many items a second begin, in all threads together."""

    def __init__(self, rate: float | None) -> None:
        """``rate``: items a second; None: as many as there are."""
        self._pause_seconds = 1 / rate if rate else 0.0
        self._next_at = time.monotonic()
        self._lock = threading.Lock()

    def wait(self, stopped: threading.Event) -> None:
        """Wait for this item's turn, or until it is stopped."""
        if not self._pause_seconds:
            return
        with self._lock:
            turn = max(self._next_at, time.monotonic())
            self._next_at = turn + self._pause_seconds
        stopped.wait(max(0.0, turn - time.monotonic()))
