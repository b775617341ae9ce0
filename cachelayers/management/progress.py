"""The output of ``warm_cache``: progress, results and last runs."""

from __future__ import annotations

import os
import shutil
import time
from typing import Any, Protocol

from django.core.management.base import OutputWrapper

from cachelayers.warming import LastRun, RunState, State, Summary, WarmerStatus

BAR_CELLS = 24
DRAW_SECONDS = 0.1
LINE_SECONDS = 5.0
SECONDS_PER_MINUTE = 60
ERASE_LINE = "\r\x1b[2K"


class Progress(Protocol):
    """Shows each finished item."""

    def advance(self) -> None:
        """Called for each finished item."""

    def finish(self) -> None:
        """Called when the run is over or interrupted; leaves the cursor at the start of a line."""


class NoProgress:
    """Shows nothing, for ``--verbosity 0`` and if each item has its own line."""

    def advance(self) -> None: ...

    def finish(self) -> None: ...


class Tally:
    """Counts items, and computes the rate and the time left."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self._started_at = time.monotonic()

    @property
    def seconds(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self._started_at

    def __str__(self) -> str:
        percent = 100 * self.done // max(1, self.total)
        return f"{self.done:,}/{self.total:,}  {percent:3}%  {self._pace()}"

    def _pace(self) -> str:
        if not self.done:
            return "starting"
        seconds = max(self.seconds, 1e-6)
        left = describe_seconds((self.total - self.done) * seconds / self.done)
        return f"{self.done / seconds:,.1f}/s  {left} left"


class ProgressBar:
    """Redraws one line."""

    def __init__(self, stream: OutputWrapper, total: int) -> None:
        self._stream = stream
        self._tally = Tally(total)
        self._drawn_at = 0.0
        self._draw()

    def advance(self) -> None:
        """Draw, but not so often that drawing costs more than the work."""
        self._tally.done += 1
        if time.monotonic() - self._drawn_at >= DRAW_SECONDS:
            self._draw()

    def finish(self) -> None:
        """Draw the end and go to the next line."""
        self._draw()
        self._stream.write("\n", ending="")
        self._stream.flush()

    def _draw(self) -> None:
        self._drawn_at = time.monotonic()
        filled = BAR_CELLS * self._tally.done // max(1, self._tally.total)
        text = f"[{'#' * filled:.<{BAR_CELLS}}] {self._tally}"
        # One cell is left free: a full line would wrap and could not be erased.
        width = shutil.get_terminal_size().columns - 1
        self._stream.write(ERASE_LINE + text[:width], ending="")
        self._stream.flush()


class PlainProgress:
    """Writes a line every few seconds, for logs."""

    def __init__(self, stream: OutputWrapper, total: int) -> None:
        self._stream = stream
        self._tally = Tally(total)
        self._written_at = time.monotonic()

    def advance(self) -> None:
        """Write a line if the last one is some seconds old."""
        self._tally.done += 1
        if time.monotonic() - self._written_at >= LINE_SECONDS:
            self._written_at = time.monotonic()
            self._stream.write(str(self._tally))
            self._stream.flush()

    def finish(self) -> None: ...


def make_progress(stream: OutputWrapper, total: int, *, verbosity: int) -> Progress:
    """Return the progress display for the stream and the verbosity."""
    if verbosity != 1 or not total:
        return NoProgress()
    if stream.isatty() and os.environ.get("TERM") != "dumb":
        return ProgressBar(stream, total)
    return PlainProgress(stream, total)


def describe_seconds(seconds: float) -> str:
    """Return ``8 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    minutes, rest = divmod(round(seconds), SECONDS_PER_MINUTE)
    hours, minutes = divmod(minutes, SECONDS_PER_MINUTE)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


NO_WARMERS = (
    "No warmer is registered. Decorate a function with @warmer in a module warmers.py of an "
    "app in INSTALLED_APPS."
)
NOTHING_DUE = "Nothing is due."
NOTHING_INTERRUPTED = "Nothing was interrupted."
NO_LOCALE_MIDDLEWARE = (
    "LocaleMiddleware is not in MIDDLEWARE, so --language makes no difference, unless a"
    " middleware of the site's own reads Accept-Language."
)


def describe_summary(summary: Summary) -> str:
    """Return ``5 warmed, 0 already warm, 0 failed, in 0.1 s.``"""
    counts = [f"{summary.counts[state]:,} {state.value}" for state in State]
    return f"{', '.join(counts)}, in {describe_duration(summary.seconds)}."


def describe_run(run: LastRun) -> str:
    """Return the last run as one line."""
    if run.state is RunState.QUEUED:
        return f"waits in the task queue since {run.queued_at:%Y-%m-%d %H:%M:%S} UTC"
    counts = f"{run.warmed:,} warmed, {run.already_warm:,} already warm, {run.failed:,} failed"
    if run.is_running:
        return f"is running ({run.percent}%): {counts}"
    taken = f", in {describe_duration(run.seconds)}" if run.seconds is not None else ""
    return f"{run.state.value}, begun {run.started_at:%Y-%m-%d %H:%M:%S} UTC: {counts}{taken}"


def describe_duration(seconds: float) -> str:
    """Return a duration, with tenths below a minute."""
    return f"{seconds:.1f} s" if seconds < SECONDS_PER_MINUTE else describe_seconds(seconds)


def status_as_json(status: WarmerStatus) -> dict[str, Any]:
    """Return a warmer and its last run, for programs."""
    run = status.last_run
    return {
        "name": status.warmer.name,
        "every": status.warmer.every_seconds,
        "defined_at": status.warmer.defined_at,
        "is_due": status.is_due(),
        "last_run": None
        if run is None
        else {
            "state": run.state.value,
            "started_at": run.started_at.isoformat() if run.started_at else None,
            "seconds": run.seconds,
            "total": run.total,
            "warmed": run.warmed,
            "already_warm": run.already_warm,
            "failed": run.failed,
            "failures": [{"label": one.label, "reason": one.reason} for one in run.failures],
        },
    }
