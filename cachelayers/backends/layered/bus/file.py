"""A table beside the entries, in an SQLite file of the cache's own, as bus.

No write of the cache touches the site's database: it neither waits for those who write there nor
holds them up. SQLite writes one after the other, so the ids are in the order of the commits.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from cachelayers.backends.database.events import Event
from cachelayers.backends.database.events import Events as EventTable
from cachelayers.backends.layered.bus.base import Apply, Bus, Events, names_of, this_process

READ_AT_ONCE = 10_000
EVENTS_KEPT = 20_000
ONE_IN = 500  # writes delete what is more than is kept
EVERYTHING = "*"


class FileBus(Bus):
    """The events of one LayeredCache in its own SQLite file. Shared by the threads of a process."""

    costs_a_write = True

    def __init__(self, cache: str, table: EventTable) -> None:
        """``cache``: the alias of the LayeredCache."""
        super().__init__(f"{cache}: its file")
        self.cache, self.table = cache, table
        self._last: Event | None = None  # that was read; None: nothing was read yet

    def read(self, apply: Apply) -> Events:
        """Read from the last event on, itself included.

        Where it is not there any more, or another one in its place, the file is another one or it
        was deleted with the older ones: anything may have changed.
        """
        last = self._last
        found = [] if last is None else self.table.read(last.id, READ_AT_ONCE)
        if not found or found[0] != last or len(found) == READ_AT_ONCE:
            events, last = Events(everything=True), self._newest()
        else:
            events, last = self._events(found[1:]), found[-1]
        apply(events)
        self._last = last
        return events

    def _newest(self) -> Event:
        """Return the newest event; the first of all is one of our own."""
        newest = self.table.newest()
        if newest is None:
            self.table.write([(self.cache, this_process(), "")])
            newest = self.table.newest()
        if newest is None:
            raise LookupError("An event that was just written is not there.")
        return newest

    def _events(self, found: Sequence[Event]) -> Events:
        mine = this_process()
        others = [one for one in found if one.cache == self.cache and one.process != mine]
        names = [one.name for one in others if one.name]
        return Events(names, EVERYTHING in names)

    def append(self, event: bytes) -> bool:
        """Tell the others."""
        process, names = names_of(event)
        if names != []:
            self.table.write([(self.cache, process, name) for name in names or [EVERYTHING]])
        if not random.randrange(ONE_IN):  # noqa: S311 - not a secret
            self.table.delete_all_but(EVENTS_KEPT)
        return True
