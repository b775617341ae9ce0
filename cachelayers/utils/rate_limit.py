"""Report the same thing at most once a minute, or once per process."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Hashable

from cachelayers.utils.locks import ForkSafeLock

REPORT_EVERY_SECONDS = 60.0
MOST_REPORTED = 1_000  # reports that are remembered; the oldest may be repeated


class RateLimit:
    """When each report is due again. ``seconds``: between two reports; inf: report once."""

    def __init__(self, seconds: float = REPORT_EVERY_SECONDS) -> None:
        self._seconds = seconds
        self._next_at: OrderedDict[Hashable, float] = OrderedDict()  # of time.monotonic()
        self._lock = ForkSafeLock()

    def is_due(self, thing: Hashable) -> bool:
        """Return whether its report is due, and if so count it as reported now."""
        now = time.monotonic()
        if now < self._next_at.get(thing, now):
            return False
        with self._lock:
            if now < self._next_at.get(thing, now):
                return False
            self._next_at[thing] = now + self._seconds
            self._next_at.move_to_end(thing)
            while len(self._next_at) > MOST_REPORTED:
                self._next_at.popitem(last=False)
            return True

    def clear(self) -> None:
        """Forget what was reported."""
        with self._lock:
            self._next_at.clear()
