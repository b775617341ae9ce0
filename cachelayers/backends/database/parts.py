"""What all instances of one cache alias in a process have in common.

Django makes a cache object per thread, and under ASGI one per request; connections, the eviction
hand and what is known of faults must outlive them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from cachelayers.backends.database.guard import Guard
from cachelayers.backends.database.hand import Hand
from cachelayers.backends.database.health import Health
from cachelayers.backends.database.options import DatabaseOptions
from cachelayers.backends.database.table import EntryTable
from cachelayers.entries.keys import Place, id_range_of, key_head_of, place_finder
from cachelayers.entries.values import ValuePacker
from cachelayers.locks import ForkSafeLock


class Parts(NamedTuple):
    """The working parts of one cache alias."""

    place_of: Callable[[str], Place]
    packer: ValuePacker
    table: EntryTable
    health: Health
    hand: Hand
    guard: Guard


_parts: dict[tuple[str, str, DatabaseOptions], Parts] = {}
_parts_lock = ForkSafeLock()


def parts_of(alias: str, database: str, options: DatabaseOptions) -> Parts:
    """Return the parts of an alias, made when first asked for."""
    known = alias, database, options
    with _parts_lock:
        if known not in _parts:
            _parts[known] = make_parts(alias, database, options)
        return _parts[known]


def make_parts(alias: str, database: str, options: DatabaseOptions) -> Parts:
    """Put the parts together."""
    id_range = id_range_of(alias)
    packer = ValuePacker(
        serializer=options.SERIALIZER,
        compression=options.COMPRESSION,
        compression_min_bytes=options.COMPRESSION_MIN_BYTES,
        signed=options.SIGNED,
    )
    table = EntryTable(database, id_range, key_head_of(alias), options.BUSY_SECONDS)
    hand = Hand(alias, id_range, max_bytes=options.MAX_BYTES, max_entries=options.MAX_ENTRIES)
    health = Health(alias, database)
    return Parts(place_finder(alias), packer, table, health, hand, Guard(table, health, hand))
