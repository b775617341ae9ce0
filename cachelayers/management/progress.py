"""The output of ``warm_cache``: progress, results and last runs."""

from __future__ import annotations

import os
import shutil
import time
from typing import Any

from django.core.management.base import OutputWrapper

from cachelayers.warming import LastRun, RunState, State, Summary, WarmerStatus

BAR_CELLS = 24
DRAW_SECONDS = 0.1
LINE_SECONDS = 5.0
SECONDS_PER_MINUTE = 60
ERASE_LINE = "\r\x1b[2K"


class Progress:
    """Shows how far a run is: a bar on a terminal, elsewhere a line every few seconds."""

    def __init__(self, stream: OutputWrapper, total: int, *, is_bar: bool) -> None:
        self._stream = stream
        self._total = total
        self._is_bar = is_bar
        self._done = 0
        self._began = self._shown_at = time.monotonic()
        if is_bar:
            self._show()

    def advance(self) -> None:
        """Count an item, and show it unless the last time was just before."""
        self._done += 1
        pause = DRAW_SECONDS if self._is_bar else LINE_SECONDS
        if time.monotonic() - self._shown_at >= pause:
            self._show()

    def finish(self) -> None:
        """Leave the cursor at the start of a line; the run is over or interrupted."""
        if self._is_bar:
            self._show()
            self._stream.write("\n", ending="")
            self._stream.flush()

    def _show(self) -> None:
        self._shown_at = time.monotonic()
        total = max(1, self._total)
        text = f"{self._done:,}/{self._total:,}  {100 * self._done // total:3}%  {self._pace()}"
        if self._is_bar:
            filled = BAR_CELLS * self._done // total
            # One cell is left free: a full line would wrap and could not be erased.
            width = shutil.get_terminal_size().columns - 1
            text = f"[{'#' * filled:.<{BAR_CELLS}}] {text}"[:width]
            self._stream.write(ERASE_LINE + text, ending="")
        else:
            self._stream.write(text)
        self._stream.flush()

    def _pace(self) -> str:
        if not self._done:
            return "starting"
        seconds = max(time.monotonic() - self._began, 1e-6)
        left = describe_seconds((self._total - self._done) * seconds / self._done)
        return f"{self._done / seconds:,.1f}/s  {left} left"


def make_progress(stream: OutputWrapper, total: int, *, verbosity: int) -> Progress | None:
    """Return the progress display, or None if there is none for this verbosity."""
    if verbosity != 1 or not total:
        return None
    is_bar = stream.isatty() and os.environ.get("TERM") != "dumb"
    return Progress(stream, total, is_bar=is_bar)


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
