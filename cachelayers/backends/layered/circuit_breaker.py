"""The circuit breaker of a layer: a layer that is down is skipped, and retried after a pause.

One per alias and process. A failure opens it: the layer is not asked. After a pause, which doubles
each time up to a bound, one caller tries (half-open), while all others go on without the layer.
"""

from __future__ import annotations

import logging
import random
import time

from cachelayers.backends.faults import error_text
from cachelayers.signals import layer_failed, layer_recovered
from cachelayers.utils.counters import counts
from cachelayers.utils.locks import ForkSafeLock

logger = logging.getLogger("cachelayers.backends.layered")

FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 3.0
JITTER = 0.2  # part of the pause: a site's processes must not all retry at the same moment
PROBE_SECONDS = 5.0  # after which an unfinished probe no longer counts
SLOW_CALLS = 5  # in a row
FAR_TOO_SLOW = 3  # times the limit: one such call is enough


class Breaker:
    """The health of one layer, as this process knows it."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.is_open = False
        self.failures = 0  # since the process began
        self.open_since: float | None = None  # of time.time()
        self._slow_calls = 0
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self.try_at = 0.0  # of time.monotonic()
        self._waited_seconds = 0.0
        self._lock = ForkSafeLock()

    def takes_probe(self) -> bool:
        """Return whether this caller is the one to try an open layer now."""
        if time.monotonic() < self.try_at:
            return False
        with self._lock:
            if not self.is_open or time.monotonic() < self.try_at:
                return False
            self.try_at = time.monotonic() + max(PROBE_SECONDS, 2 * self._waited_seconds)
            return True

    def fail(self, operation: str, error: BaseException, waited_seconds: float = 0.0) -> None:
        """Open, or stay open for longer; log the opening.

        After an unbounded wait, such as for name resolution, the pause is twice that wait: callers
        must spend less time waiting than not. A slow call that succeeds, such as a large bulk
        write, is no such wait.
        """
        counts.add(self.alias, "errors")
        with self._lock:
            was_open, self.is_open = self.is_open, True
            self.failures += 1
            self.open_since = self.open_since or time.time()
            pause = self._pause_seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
            self._waited_seconds = waited_seconds
            self.try_at = time.monotonic() + max(pause, 2 * waited_seconds)
            self._pause_seconds = min(self._pause_seconds * 2, LONGEST_PAUSE_SECONDS)
        if not was_open:
            logger.error(
                "CACHES[%r]: %s failed: %s: %s. The layer is skipped until it works again.",
                self.alias,
                operation,
                type(error).__name__,
                error_text(error),
            )
            layer_failed.send_robust(type(self), alias=self.alias, error=error)

    def note_duration(self, operation: str, seconds: float, limit_seconds: float) -> None:
        """Open after slow answers: several in a row, or one that is far too slow."""
        if seconds <= limit_seconds:
            self._slow_calls = 0
            return
        self._slow_calls += 1
        if seconds > FAR_TOO_SLOW * limit_seconds:  # the limit applies to each piece of an answer
            self._slow_calls = 0
            self.fail(operation, TimeoutError(f"a call took {seconds:.1f} s"))
        elif self._slow_calls >= SLOW_CALLS:
            self._slow_calls = 0
            self.fail(operation, TimeoutError(f"{SLOW_CALLS} calls took over {limit_seconds} s"))

    def close(self) -> None:
        """Use the layer again after a successful probe."""
        with self._lock:
            was_open, self.is_open, self.open_since = self.is_open, False, None
            self._pause_seconds = FIRST_PAUSE_SECONDS
        if was_open:
            logger.warning("CACHES[%r] works again.", self.alias)
            layer_recovered.send_robust(type(self), alias=self.alias)


_breakers: dict[str, Breaker] = {}


def breaker_of(alias: str) -> Breaker:
    """Return the breaker of an alias, shared by all caches that have it as a layer or a bus."""
    breaker = _breakers.get(alias)
    return breaker if breaker is not None else _breakers.setdefault(alias, Breaker(alias))


def known_breakers() -> dict[str, Breaker]:
    """Return the breakers of this process, by alias."""
    return dict(_breakers)
