"""Count what ends entries: how many, and how long it took to compute them again.

A recall notes it when it has computed an entry that a change had ended. The statistics write the
sums. If a change anywhere in a table has ended an entry, the next statement that reads the whole
table is remembered, so that the statistics can say why.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import NamedTuple

from cachelayers.utils.locks import ForkSafeLock
from cachelayers.utils.tracing import Tag, function_of_project

MOST_GROUPS = 300  # between two writes; user tags may contain values
MOST_READS = 300
OTHERS = "others:"
UNKNOWN = "unknown:"

Explain = Callable[[str], str]  # from the table's tag


class WholeRead(NamedTuple):
    """A statement that read a whole table. ``explain`` parses it, and returns the reason."""

    place: str  # the function that ran it
    explain: Explain


class Ended(NamedTuple):
    """The entries that one kind of dependency has ended."""

    entries: int
    seconds: float  # that it took to compute them again
    read: WholeRead | None


def group_of(tag: str | None) -> str:
    """Return what a tag is counted as: with its table and column, without a value."""
    if tag is None:
        return UNKNOWN
    kind, _, rest = tag.partition(":")
    if kind == "slice":
        return ":".join(tag.split(":", 3)[:3])
    if kind == "row":
        return f"row:{rest.partition(':')[0]}"
    if kind == "key":
        return "key:"
    if kind == "word" and not rest.startswith("function:"):
        head, _, last = rest.rpartition(":")
        if head and any(character.isdigit() for character in last):
            return f"word:{head}:*"
    return tag


class Endings:
    """What has ended entries since the last write."""

    def __init__(self) -> None:
        # Tags of tables, whose next read is noted; the execute wrapper looks at it.
        self.wanted: set[Tag] = set()
        self._sums: dict[Tag, tuple[int, float]] = {}
        self._reads: dict[Tag, WholeRead] = {}
        self._noted: set[Tag] = set()  # since the last write
        self._lock = ForkSafeLock()

    def has_any(self) -> bool:
        """Return whether there is anything to write."""
        return bool(self._sums)

    def want(self, database: str, tag: str | None) -> None:
        """Have the next read of a whole table noted, if its change has ended an entry."""
        if tag is not None and tag.startswith("table:") and len(self.wanted) < MOST_READS:
            with self._lock:
                if (database, tag) not in self._noted:
                    self.wanted.add((database, tag))

    def add(self, database: str, tag: str | None, seconds: float) -> None:
        """Count an entry that was ended, and is computed again."""
        with self._lock:
            group = database, group_of(tag)
            if group not in self._sums and len(self._sums) >= MOST_GROUPS:
                group = database, OTHERS
            entries, total = self._sums.get(group, (0, 0.0))
            self._sums[group] = entries + 1, total + seconds

    def note_read(self, database: str, tags: Iterable[str], explain: Explain) -> None:
        """Before a read: remember it, if it reads a whole table that is wanted."""
        found = self.wanted.intersection((database, tag) for tag in tags)
        if found:
            read = WholeRead(function_of_project(sys._getframe(1)), explain)
            with self._lock:
                self._remember(found, read)

    def note_reason(self, database: str, tag: str, reason: str) -> None:
        """Remember a reason that is not one statement's."""
        with self._lock:
            self._remember({(database, tag)}, WholeRead("", lambda _: reason))

    def _remember(self, found: set[Tag], read: WholeRead) -> None:
        self.wanted -= found
        self._noted |= found
        if len(self._reads) + len(found) > MOST_READS:
            self._reads = {}
        self._reads.update(dict.fromkeys(found, read))

    def read_of(self, database: str, tag: str) -> WholeRead | None:
        """Return the last noted read of a whole table."""
        return self._reads.get((database, tag))

    def drained(self) -> dict[Tag, Ended]:
        """Return the sums by database and group, and begin with new ones."""
        with self._lock:
            sums, self._sums, self._noted = self._sums, {}, set()
            return {
                group: Ended(*numbers, self._reads.get(group)) for group, numbers in sums.items()
            }

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self.wanted.clear()
            self._sums, self._reads, self._noted = {}, {}, set()


endings = Endings()
