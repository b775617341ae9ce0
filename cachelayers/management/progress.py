"""Show how far a run is: a bar on a terminal, a line now and then elsewhere. Used by commands."""

import os
import shutil
import time
from typing import Protocol

from django.core.management.base import OutputWrapper

BAR_CELLS = 24
DRAW_SECONDS = 0.1
LINE_SECONDS = 5.0
SECONDS_PER_MINUTE = 60
ERASE_LINE = "\r\x1b[2K"


class Progress(Protocol):
    """Told of each item that ended."""

    def advance(self) -> None:
        """One more item has ended."""

    def finish(self) -> None:
        """The run is over, or interrupted; leaves the cursor at the start of a line."""


class NoProgress:
    """Says nothing, for ``--verbosity 0`` and where each item has a line of its own."""

    def advance(self) -> None:
        """Say nothing."""

    def finish(self) -> None:
        """Say nothing."""


class Tally:
    """Counts, and tells the rate and the time left."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self._started_at = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the start."""
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
    """Draws one line over and over."""

    def __init__(self, stream: OutputWrapper, total: int) -> None:
        self._stream = stream
        self._tally = Tally(total)
        self._drawn_at = 0.0
        self._draw()

    def advance(self) -> None:
        """Draw, but not so often that the terminal costs more than the work."""
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

    def finish(self) -> None:
        """Leave the last word to the summary."""


def make_progress(stream: OutputWrapper, total: int, *, verbosity: int) -> Progress:
    """The kind of progress that suits the stream and the verbosity."""
    if verbosity != 1 or not total:
        return NoProgress()
    if stream.isatty() and os.environ.get("TERM") != "dumb":
        return ProgressBar(stream, total)
    return PlainProgress(stream, total)


def describe_seconds(seconds: float) -> str:
    """``8 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    minutes, rest = divmod(round(seconds), SECONDS_PER_MINUTE)
    hours, minutes = divmod(minutes, SECONDS_PER_MINUTE)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
