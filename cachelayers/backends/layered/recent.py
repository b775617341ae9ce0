"""Which names were written lately, so that nobody fills the memory with what he read before.

A reader takes a number before he reads a shared layer. If the name was written since, by this
process or as the bus tells, what he has read may be older, and is not kept.
"""

from __future__ import annotations

from collections.abc import Iterable

MOST_NAMES = 20_000


class Recent:
    """Numbers of writes, by name. Not thread-safe by itself: see State."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.number = 0
        self._written: dict[str, int] = {}
        self._floor = 0  # of what was written before, it is not known what it was

    def note(self, names: Iterable[str]) -> None:
        """Count a write of names."""
        self.number += 1
        for name in names:
            self._written[name] = self.number
        if len(self._written) > MOST_NAMES:
            self.note_everything()

    def note_everything(self) -> None:
        """Count a write of all names."""
        self.number += 1
        self._floor = self.number
        self._written = {}

    def was_written(self, name: str, since: int) -> bool:
        """Tell whether a name was written after a number was taken."""
        return self._floor > since or self._written.get(name, 0) > since
