"""Settings, row keys, expiries, rows and values of a DatabaseCache, needed by every operation.

The operations are in ``cache``, which derives DatabaseCache from TableCache.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from random import randrange
from typing import Any, Final, NamedTuple

from django.core.cache.backends.base import InvalidCacheKey

from cachelayers.backends.base import Problem
from cachelayers.backends.database.eviction import Evictor
from cachelayers.backends.database.guard import FAILED, Guard, Health
from cachelayers.backends.database.options import DatabaseOptions, find_problems
from cachelayers.backends.database.table import NEVER_MS, EntryTable, Row
from cachelayers.backends.names import NamedCache
from cachelayers.conf import table_database_of
from cachelayers.entries import (
    MAX_KEY_BYTES,
    PackedValue,
    RowKey,
    Undecodable,
    ValuePacker,
    id_range_of,
    key_head_of,
    row_key_finder,
)
from cachelayers.utils.counters import cell_of
from cachelayers.utils.locks import ForkSafeLock


class Components(NamedTuple):
    """The components of one cache alias."""

    row_key_of: Callable[[str], RowKey]
    packer: ValuePacker
    table: EntryTable
    health: Health
    evictor: Evictor
    guard: Guard


_components: dict[tuple[str, str, DatabaseOptions], Components] = {}
_components_lock = ForkSafeLock()


def components_of(alias: str, database: str, options: DatabaseOptions) -> Components:
    """Return the components of an alias, which all its cache objects in this process share."""
    known = alias, database, options
    with _components_lock:
        if known not in _components:
            _components[known] = make_components(alias, database, options)
        return _components[known]


def make_components(alias: str, database: str, options: DatabaseOptions) -> Components:
    id_range = id_range_of(alias)
    packer = ValuePacker(
        serializer=options.SERIALIZER,
        compression=options.COMPRESSION,
        compression_min_bytes=options.COMPRESSION_MIN_BYTES,
        signed=options.SIGNED,
    )
    table = EntryTable(database, id_range, key_head_of(alias), options.BUSY_SECONDS)
    evictor = Evictor(alias, id_range, max_bytes=options.MAX_BYTES, max_entries=options.MAX_ENTRIES)
    health = Health(alias, database)
    return Components(
        row_key_finder(alias), packer, table, health, evictor, Guard(table, health, evictor)
    )


MISS: Final = object()
READS_PER_NOTED_READ = 16  # a sample is enough to tell used entries from unused ones

LONGEST_CHARACTER = 4  # in UTF-8


class TableCache(NamedCache):
    """A cache of one alias in one table."""

    @staticmethod
    def find_problems(where: str, location: str, params: Mapping[str, Any]) -> Iterator[Problem]:
        return find_problems(where, location, params)

    def _assemble(self, location: str, options: Mapping[str, Any]) -> None:
        """Set the shared components as attributes: each operation reads them."""
        database = table_database_of({"LOCATION": location})
        components = components_of(self.alias, database, DatabaseOptions(**options))
        self._row_key_of = components.row_key_of
        self._packer, self._pack, self._unpack = (
            components.packer, components.packer.pack, components.packer.unpack
        )  # fmt: skip
        self._table, self._evictor, self._health = (
            components.table,
            components.evictor,
            components.health,
        )
        self._guard, self._attempt = components.guard, components.guard.attempt
        self._is_distrusted = components.guard.is_distrusted
        self._cell = cell_of(self.alias)
        self._notes_reads, self._reads_to_note = components.evictor.is_bounded, 1

    @property
    def tracks_use(self) -> bool:
        """Whether reads are noted, in samples: only if the alias has a bound."""
        return self._notes_reads

    def _row_key(self, key: str, version: int | None) -> RowKey:
        """Return the row key of a cache key; raise InvalidCacheKey for an invalid one."""
        return self._row_key_of(self._full_key(key, version))

    def validate_key(self, key: str) -> None:
        """Warn of keys that memcached would refuse; raise InvalidCacheKey for a key too long."""
        super().validate_key(key)
        if len(key) * LONGEST_CHARACTER > MAX_KEY_BYTES:
            key_bytes = len(key.encode("utf-8", "surrogatepass"))
            if key_bytes > MAX_KEY_BYTES:
                raise InvalidCacheKey(
                    f"CACHES[{self.alias!r}]: a key of {key_bytes} bytes is too long: {key[:60]!r}"
                    f"... Keep it within {MAX_KEY_BYTES} bytes, for example by a hash."
                )

    def _note_read(self, row_key: RowKey) -> None:
        """Pass on average one read in sixteen to the evictor.

        The choice is random: with a fixed step, a page that makes sixteen calls would always note
        the same entry.
        """
        self._reads_to_note -= 1
        if self._reads_to_note <= 0:
            self._reads_to_note = randrange(1, 2 * READS_PER_NOTED_READ)  # noqa: S311
            self._evictor.note_read(row_key.id)

    def _unpacked(
        self, key: bytes, expires: int, form: int, number: int | None, data: bytes | None
    ) -> Any:
        """Return a row's value, or MISS if it cannot be decoded or its signature is wrong."""
        try:
            return self._unpack(key, expires, form, number, data)
        except Undecodable as error:
            self._report_undecodable(key, error)
            return MISS

    def _increment_by_replacing(self, row_key: RowKey, delta: Any) -> Any:
        """Add where the database cannot: a signed, very large or non-integer number.

        Writes only if the value is still the one read; else reads again.
        """
        give_up_at = time.monotonic() + self._table.sessions.busy_seconds
        while (row := self._table.read(row_key, now_ms())) is not None:
            value = self._unpacked(*row)
            if value is MISS:
                return None
            total = value + delta
            new = self._pack(row_key.key, total, row[1])
            if self._table.replace(row_key, PackedValue(*row[2:]), new, now_ms()):
                return total
            if time.monotonic() > give_up_at:
                return FAILED
        return None

    def _touch_row(self, row_key: RowKey, expires: int) -> Any:
        """Give a live entry a new expiry; return whether there was one."""
        if not self._packer.signed:
            return self._table.touch(row_key, expires, now_ms())
        # The signature covers the expiry. Write only if the row is still the one read.
        give_up_at = time.monotonic() + self._table.sessions.busy_seconds
        while (row := self._table.read(row_key, now_ms())) is not None:
            key, old_expires, form, _, data = row
            try:
                new = self._packer.prolonged(key, old_expires, form, data, expires)
            except Undecodable as error:
                self._report_undecodable(row_key.key, error)
                return False
            if self._table.touch_signed(row_key, expires, data, new, now_ms()):
                return True
            if time.monotonic() > give_up_at:
                return FAILED
        return False

    def _report_undecodable(self, key: bytes, error: Undecodable) -> None:
        """Log and count a value that cannot be decoded or trusted, which is a miss."""
        self._health.undecodable.report(f"the value of {key!r} is a miss: {error}", error)

    def _expiry(self, timeout: Any) -> int:
        """Return the expiry of a new entry in milliseconds since 1970; 0: it is not stored."""
        seconds = self._seconds(timeout)
        if seconds is None:
            return NEVER_MS
        if seconds <= 0:
            return 0
        return min(now_ms() + math.ceil(seconds * 1000), NEVER_MS)

    def _row(self, row_key: RowKey, value: Any, expires: int) -> Row:
        packed = self._pack(row_key.key, value, expires)
        return Row(
            row_key.id, row_key.key, expires, now_ms(), packed.format, packed.number, packed.data
        )


def now_ms() -> int:
    """Return the current time in milliseconds since 1970."""
    # Through the module: Django's own tests patch time.time.
    return int(time.time() * 1000)


def milliseconds(expires: float) -> int:
    """Convert seconds since 1970 to the table's milliseconds."""
    return int(min(expires * 1000, NEVER_MS))


def seconds_since_1970(expires_ms: int) -> float:
    """Convert the table's milliseconds."""
    return math.inf if expires_ms == NEVER_MS else expires_ms / 1000
