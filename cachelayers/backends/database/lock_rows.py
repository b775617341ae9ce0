"""Locks as rows of the table of entries: the token of the holder, its end, and a fencing number.

``cache`` and ``raising`` derive from it. A row changes only if it is still the one that was read.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from cachelayers.backends.database.base import MISS, TableCache, now_ms
from cachelayers.backends.database.table import NEVER_MS, Row
from cachelayers.entries import LOCK_SUFFIX, PackedValue, RowKey

DAY_MS = 86_400_000  # after which a lock's row may go; then the clock gives the next number

# Runs an operation on the table, and raises CacheUnavailable if it fails.
Run = Callable[..., Any]


class LockRow:
    """The holder of one lock, in one row: see ``locking.LockStore``."""

    def __init__(self, cache: TableCache, key: str, run: Run) -> None:
        """``key``: the full key, before LOCK_SUFFIX."""
        self._cache, self._run = cache, run
        self._row_key: RowKey = cache._row_key_of(f"{key}{LOCK_SUFFIX}")

    def take(self, token: str, seconds: float | None) -> int | None:
        """Insert the row, or exchange it for one whose holder's time is over."""
        return self._run(self._take, token, seconds)  # type: ignore[no-any-return]

    def prolong(self, token: str, seconds: float, *, from_now: bool) -> bool:
        return bool(self._run(self._change, token, seconds, from_now))

    def drop(self, token: str) -> bool:
        return bool(self._run(self._change, token, None, True))

    def holder(self) -> str | None:
        row, (token, until, _) = self._run(self._read)
        return token if row is not None and until > now_ms() else None

    def _read(self) -> tuple[Any, tuple[str, int, int]]:
        """Return the row as it is stored or None, and its token, end and number."""
        row = self._cache._table.read(self._row_key, now_ms())
        value: Any = MISS if row is None else self._cache._unpacked(*row)
        try:
            token, until, number = value
        except (TypeError, ValueError):
            return row, ("", 0, 0)  # undecodable: nobody holds it
        return row, (token, until, number)

    def _take(self, token: str, seconds: float | None) -> int | None:
        row, (_, until, last) = self._read()
        if until > now_ms():
            return None
        number = max(time.time_ns() // 1_000, last + 1)
        end = NEVER_MS if seconds is None else now_ms() + math.ceil(seconds * 1000)
        if row is None:
            new = self._new_row(token, end, number)
            is_mine = self._cache._table.add(new, now_ms())
        else:
            is_mine = self._exchange(row, token, end, number)
        return number if is_mine else None

    def _change(self, token: str, seconds: float | None, from_now: bool) -> bool:
        """Give the holder another end; None: it holds the lock no longer."""
        row, (holder, until, number) = self._read()
        if row is None or holder != token or until <= now_ms():
            return False
        if seconds is None:
            return self._exchange(row, "", 0, number)
        since = now_ms() if from_now else until
        return self._exchange(row, token, since + math.ceil(seconds * 1000), number)

    def _exchange(self, row: Any, token: str, end: int, number: int) -> bool:
        new = self._new_row(token, end, number)
        return self._cache._table.exchange(new, PackedValue(*row[2:]))

    def _new_row(self, token: str, end: int, number: int) -> Row:
        """Return the row. As "used" until the lock's end, it is not evicted before."""
        now = now_ms()
        expires = min(max(end, now) + DAY_MS, NEVER_MS)
        row = self._cache._row(self._row_key, [token, end, number], expires)
        return row._replace(used=max(end, now))
