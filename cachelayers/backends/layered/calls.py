"""The steps of a LayeredCache's flows: a call of one layer behind its circuit breaker, or a poll.

``coordination`` and ``flows`` yield them; ``utils.flows`` runs them, sync or async.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Generator
from enum import Enum, auto
from typing import Any, Final

from asgiref.sync import sync_to_async

from cachelayers.backends.faults import cache_errors, error_text, refusals
from cachelayers.backends.layered.bus import Bus
from cachelayers.backends.layered.circuit_breaker import FAR_TOO_SLOW, logger
from cachelayers.backends.layered.layers import Layer
from cachelayers.utils.counters import counts
from cachelayers.utils.flows import Step, run_flow
from cachelayers.utils.rate_limit import RateLimit

STEPS_IN_LIMIT = 5  # more than the loop iterations until an answer reaches its task


class Outcome(Enum):
    """A result in place of an answer."""

    FAILED = auto()  # the layer is down, or the effect of the call is unknown
    REFUSED = auto()  # the layer is up, and rejected the operation


FAILED: Final = Outcome.FAILED
REFUSED: Final = Outcome.REFUSED


class Call:
    """An operation of a layer or of the bus."""

    __slots__ = ("arguments", "limit_seconds", "operation", "target")

    def __init__(
        self, target: Layer | Bus, operation: str, limit_seconds: float, *arguments: Any
    ) -> None:
        self.target, self.operation, self.arguments = target, operation, arguments
        self.limit_seconds = limit_seconds

    def run(self) -> Any:
        began = time.monotonic()
        try:
            answer = getattr(self.target, self.operation)(*self.arguments)
        except cache_errors() as error:
            return self._explain(error, time.monotonic() - began)
        except BaseException:  # a signal's, for example: the client may have an unread answer
            self.target.cut()
            raise
        self._note_duration(began)
        return answer

    async def arun(self) -> Any:
        """Run in async code.

        A call in another thread is timed there: it may wait long for the thread, and its answer for
        the event loop.
        """
        own = self.target.own_async(self.operation, self.arguments)
        if own is None:
            return await sync_to_async(self.run)()
        clock = LoopClock(self.limit_seconds / STEPS_IN_LIMIT)
        try:
            answer = await own
        except cache_errors() as error:
            return self._explain(error, clock.stop())
        finally:
            seconds = clock.stop()
        self.target.breaker.note_duration(self.operation, seconds, self.limit_seconds)
        return answer

    def _note_duration(self, began: float) -> None:
        seconds = time.monotonic() - began
        self.target.breaker.note_duration(self.operation, seconds, self.limit_seconds)

    def _explain(self, error: BaseException, seconds: float) -> Outcome:
        if isinstance(error, refusals()) and not isinstance(error, OSError):
            report_refusal(self.target.alias, self.operation, error)
            return REFUSED
        is_bounded = seconds <= FAR_TOO_SLOW * self.limit_seconds
        self.target.breaker.fail(self.operation, error, 0.0 if is_bounded else seconds)
        return FAILED


class LoopClock:
    """A clock that counts at most one step for each iteration of the event loop.

    A busy event loop is no reason to skip a layer that answers.
    """

    def __init__(self, step_seconds: float) -> None:
        self._step_seconds = step_seconds
        self._loop = asyncio.get_running_loop()
        self._began = time.monotonic()
        self._steps = 0
        self._step()

    def _step(self) -> None:
        self._steps += 1
        self._timer = self._loop.call_later(self._step_seconds, self._step)

    def stop(self) -> float:
        """Return the seconds counted."""
        self._timer.cancel()
        return min(time.monotonic() - self._began, self._steps * self._step_seconds)


class Poll:
    """A whole flow that runs in one thread, in async code too.

    So a cancelled task does not interrupt it, and no task waits for a lock that another task of its
    event loop holds.
    """

    def __init__(self, flow: Flow) -> None:
        self.flow = flow

    def run(self) -> Any:
        return run_flow(self.flow)

    async def arun(self) -> Any:
        return await sync_to_async(run_flow)(self.flow)


Flow = Generator[Step, Any, Any]

refused = RateLimit()


def report_refusal(alias: str, operation: str, error: BaseException) -> None:
    """Count an operation that a server rejected; log it at most once a minute."""
    counts.add(alias, "refused")
    if refused.is_due(alias):
        logger.log(
            logging.ERROR,
            "CACHES[%r]: %s was refused: %s: %s",
            alias,
            operation,
            type(error).__name__,
            error_text(error),
        )
