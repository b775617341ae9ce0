"""DatabaseCache as a layer: values as it stores them; the database increments and touches.

Made by ``make_layer``, on a RaisingTable.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

from django.db import connections, transaction

from cachelayers.backends.database.base import milliseconds, seconds_since_1970
from cachelayers.backends.database.raising import EventRows, RaisingTable, TimedValue
from cachelayers.backends.layered.layers.base import TOMBSTONE, TOMBSTONE_SECONDS, Layer, LayerEntry
from cachelayers.backends.locking import Lock
from cachelayers.conf import table_alias
from cachelayers.invalidation import transaction_of
from cachelayers.locations import is_file

TOMBSTONE_VALUE = b"\0cachelayers.detour"


class TableLayer(Layer):
    is_transactional = True

    @classmethod
    def make(
        cls,
        alias: str,
        backend: type,
        location: Any,
        params: Mapping[str, Any],
        limit_seconds: float,
    ) -> Self:
        """Return the layer over the table that raises; its BUSY_SECONDS are its time limit."""
        return cls(alias, RaisingTable(location, params, table_alias(alias)))

    def __init__(self, alias: str, table: RaisingTable) -> None:
        """``table``: with the layer's own settings."""
        super().__init__(alias)
        self.table = table
        self.tracks_use = table.tracks_use
        # of the bus, if its events are in the same file
        self.rows_of_event: Callable[[bytes], EventRows] | None = None

    @property
    def carries_events(self) -> bool:
        """Return whether a write and its event are one step."""
        return self.rows_of_event is not None

    def read_many(self, names: Sequence[str]) -> dict[str, LayerEntry]:
        """Return the live entries, in one statement."""
        return {
            name: layer_entry_of(timed) for name, timed in self.table.read_entries(names).items()
        }

    def write_many(
        self, entries: Mapping[str, LayerEntry], event: bytes | None = None
    ) -> Sequence[str]:
        timed = {name: timed_value_of(entry) for name, entry in entries.items()}
        self.table.write_entries(timed, self._rows(event))
        return []

    def delete_many(self, names: Sequence[str], event: bytes | None = None) -> bool:
        """Delete; for several names it is unknown whether there were entries."""
        if len(names) == 1:
            return self.table.delete_entry(names[0], self._rows(event))
        self.table.delete_entries(names, self._rows(event))
        return False

    def add(self, name: str, entry: LayerEntry, event: bytes | None = None) -> bool:
        """Write if there is no live entry; a tombstone does not count as one."""
        rows = self._rows(event)
        if self.table.add_entry(name, timed_value_of(entry), rows):
            return True
        found = self.table.read_entries([name]).get(name)
        if found is None:
            return self.table.add_entry(name, timed_value_of(entry), rows)
        if layer_entry_of(found) is not TOMBSTONE:
            return False
        # Of several callers that see the tombstone, one replaces it.
        is_mine = self.table.replace_value(name, found, entry.value)
        return is_mine and self.table.touch_entry(name, milliseconds(entry.expires), rows)

    def add_to_empty(self, name: str, entry: LayerEntry) -> bool:
        """Write if there is neither a live entry nor a tombstone."""
        return self.table.add_entry(name, timed_value_of(entry))

    def increment(self, name: str, delta: Any, event: bytes | None = None) -> Any:
        return self.table.increment(name, delta, self._rows(event))

    def touch(self, name: str, expires: float, event: bytes | None = None) -> bool:
        return self.table.touch_entry(name, milliseconds(expires), self._rows(event))

    def overwrite(self, name: str, entry: LayerEntry, event: bytes | None = None) -> bool:
        """Overwrite in one statement. The caller has seen that there is no tombstone."""
        return self.table.overwrite_entry(name, timed_value_of(entry), self._rows(event))

    def find_names(
        self, head: str, is_wanted: Callable[[str], bool], size: int
    ) -> Iterator[Sequence[str]]:
        """Yield pages; only what expires soon may be a tombstone, and is read."""
        for page in self.table.find_keys(head, size):
            soon = milliseconds(time.time() + TOMBSTONE_SECONDS)
            wanted = {name: expires for name, expires in page if is_wanted(name[len(head) :])}
            doubtful = [name for name, expires in wanted.items() if expires <= soon]
            found = self.read_many(doubtful) if doubtful else {}
            dead = {name for name in doubtful if found.get(name, TOMBSTONE) is TOMBSTONE}
            yield [name[len(head) :] for name in wanted if name not in dead]

    def lock(self, name: str, **options: Any) -> Lock:
        """Return a lock in the table."""
        return self.table.lock(name, **options)  # type: ignore[no-any-return]

    def _rows(self, event: bytes | None) -> EventRows:
        return [] if event is None or self.rows_of_event is None else self.rows_of_event(event)

    def clear_names(self, head: str) -> None:
        self.table.delete_prefix(head)

    def delete_unused(self, head: str, seconds: float) -> int:
        """Delete in one statement."""
        return self.table.delete_unused(head, seconds)

    def view(self, names: Sequence[str]) -> tuple[float, Sequence[str]]:
        """Return how old a transaction's reads may be, and the names that it has not written."""
        if not self.waits_for_commit():
            return time.monotonic(), names
        transaction_now = transaction_of(connections[self.table.database])
        if transaction_now.is_dirty:
            return float("-inf"), ()
        foreign = [name for name in names if not transaction_now.has_written_entry(name)]
        return transaction_now.sees_as_of(), foreign

    def note_own(self, names: Sequence[str]) -> None:
        """Remember names that were written within the caller's transaction."""
        if self.waits_for_commit():
            transaction_of(connections[self.table.database]).note_entries(names)

    def waits_for_commit(self) -> bool:
        """Return whether the table is part of the caller's transaction."""
        return self.table.is_in_transaction()

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call back after the transaction has committed; at once if there is none."""
        if is_file(self.table.database):
            callback()
        else:
            transaction.on_commit(callback, using=self.table.database, robust=True)

    def describe(self) -> dict[str, Any]:
        """Count the entries, and their bytes if they have a bound, in the alias's range."""
        return self.table.describe()


def timed_value_of(entry: LayerEntry) -> TimedValue:
    """Return an entry in the table's form."""
    if entry is TOMBSTONE:
        return TimedValue(TOMBSTONE_VALUE, milliseconds(time.time() + TOMBSTONE_SECONDS))
    return TimedValue(entry.value, milliseconds(entry.expires))


def layer_entry_of(timed: TimedValue) -> LayerEntry:
    """Return an entry of the table as a LayerEntry."""
    if type(timed.value) is bytes and timed.value == TOMBSTONE_VALUE:
        return TOMBSTONE
    return LayerEntry(timed.value, seconds_since_1970(timed.expires_ms))
