"""Which generation of its entries each shared layer is at. Used by the flows.

Every name in a layer begins with the layer's epoch. Whoever could not write to a layer makes its
epoch a later one, so that nothing that is in it by now will be read again, also if the server comes
back with all its old values or carries out late what it was sent. clear() does the same.

The record of all epochs is kept in every shared layer, and the highest counts. An epoch that is
marked as out belongs to a layer that misses writes: whoever can reach it begins a new one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"

# By layer: the epoch; below zero: the layer is out, as of the epoch without the sign.
Record = Mapping[str, int]


def later_than(epoch: int) -> int:
    """Return a new epoch: the time, unless the clock is behind.

    Not a counter: where every record is lost, an epoch that was in use must not come again.
    """
    return max(time.time_ns() // 1_000, abs(epoch) + 1)


def merged(records: Iterable[Record]) -> dict[str, int]:
    """Return the highest epoch of each layer; of equals the one that says it is out."""
    best: dict[str, int] = {}
    for record in records:
        for alias, epoch in record.items():
            known = best.get(alias, 0)
            if abs(epoch) > abs(known) or (abs(epoch) == abs(known) and epoch < known):
                best[alias] = epoch
    return best


def record_of(value: Any) -> Record:
    """Return what a layer has stored as the record, or an empty one."""
    if not isinstance(value, dict):
        return {}
    return {
        alias: epoch
        for alias, epoch in value.items()
        if isinstance(alias, str) and type(epoch) is int
    }


def head_of(cache: str, epoch: int) -> str:
    """Return what names begin with in an epoch of a layer of the LayeredCache ``cache``."""
    digits = ""
    while epoch:
        epoch, digit = divmod(epoch, 36)
        digits = DIGITS[digit] + digits
    return f"{own_names(cache)}{digits}:"


def record_name(cache: str) -> str:
    """Return the name of the record; no entry's name is like it."""
    return f"{own_names(cache)}epochs"


def own_names(cache: str) -> str:
    """Return what all names of a LayeredCache begin with, and nobody else's: printable."""
    return f"~{quote(cache, safe='')}:"
