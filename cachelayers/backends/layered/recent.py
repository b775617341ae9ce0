"""Which names were written lately, so that nobody fills the memory with what he read before.

A reader knows as of when what it reads in a shared layer is. If the name was written since, by this
process or as the bus tells, what it has read may be older, and is not kept. Times are those of
time.monotonic().
"""

from __future__ import annotations

import time
from collections.abc import Iterable

MOST_NAMES = 20_000


class Recent:
    """Times of writes, by name. Not thread-safe by itself: see State."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._written: dict[str, float] = {}
        self._floor = float("-inf")  # of what was written before, it is not known what it was

    def note(self, names: Iterable[str]) -> None:
        """Note a write of names."""
        now = time.monotonic()
        for name in names:
            self._written[name] = now
        if len(self._written) > MOST_NAMES:
            self.note_everything()

    def note_everything(self) -> None:
        """Note a write of all names."""
        self._floor = time.monotonic()
        self._written = {}

    def was_written(self, name: str, since: float) -> bool:
        """Tell whether a name was written at a time or after it."""
        return self._floor >= since or self._written.get(name, float("-inf")) >= since
