"""Gather which tags a process has read from a log. Filled by the log, emptied by the bus."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

LoggedTag = tuple[str, int]  # with its position


class TagFollower:
    """The tags that are new since it was last emptied. The log fills it with its lock held."""

    def __init__(self) -> None:
        """Know nothing: before the first look anything may have changed."""
        self._new: set[str] = set()
        self._everything = True
        # Rows at or above the watermark are read again, since older ones may still be committed.
        self._seen: set[LoggedTag] = set()

    def take(self, rows: Iterable[LoggedTag], watermark: int, *, begins_anew: bool) -> None:
        """Take what a refresh has read; ``begins_anew``: it is another log than before."""
        found = set(rows)
        self._everything = self._everything or begins_anew
        self._new.update(tag for tag, _ in found - self._seen)
        self._seen = {(tag, position) for tag, position in found if position >= watermark}

    def gathered(self) -> Sequence[str] | None:
        """Return the tags that are new; None: anything may have changed."""
        return None if self._everything else list(self._new)

    def forget(self) -> None:
        """Begin to gather anew."""
        self._new, self._everything = set(), False
