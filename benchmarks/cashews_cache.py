"""cashews with the methods of the other caches. Named as a BACKEND in the benchmarks' settings.

cashews is an async library. Each object here, of which Django makes one for each thread, has its
own event loop and runs every call on it to its end. The figures include that cost, which is lower
on an async site.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any


class CashewsCache:
    """One cashews ``Cache`` with its own event loop; LOCATION is the argument of ``setup()``."""

    def __init__(self, location: str, params: Mapping[str, Any]) -> None:
        """Connect on first use, as cashews does."""
        self._cache = import_module("cashews").Cache()
        self._cache.setup(location, **params.get("OPTIONS", {}))
        self._loop = asyncio.new_event_loop()
        self._run = self._loop.run_until_complete

    def get(self, key: str) -> Any:
        """Return the value or None."""
        return self._run(self._cache.get(key))

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values found, by key."""
        keys = list(keys)
        values = self._run(self._cache.get_many(*keys))
        return {key: value for key, value in zip(keys, values, strict=True) if value is not None}

    def set(self, key: str, value: Any, timeout: int) -> None:
        self._run(self._cache.set(key, value, expire=timeout))

    def set_many(self, values: Mapping[str, Any], timeout: int) -> None:
        self._run(self._cache.set_many(values, expire=timeout))

    def add(self, key: str, value: Any, timeout: int) -> bool:
        """Write a value if there is none."""
        return bool(self._run(self._cache.set(key, value, expire=timeout, exist=False)))

    def delete(self, key: str) -> bool:
        """Delete a value; return whether there was one."""
        return bool(self._run(self._cache.delete(key)))

    def incr(self, key: str) -> int:
        """Add one to a number."""
        return int(self._run(self._cache.incr(key)))

    def touch(self, key: str, timeout: int) -> bool:
        """Change the expiry; in memory cashews does not return whether there was a value."""
        was_there = self._run(self._cache.expire(key, timeout))
        return was_there is None or bool(was_there)

    def clear(self) -> None:
        self._run(self._cache.clear())

    def close(self, **kwargs: Any) -> None:
        """End the loop and its tasks: Django forgets the object after the run."""
        if not self._loop.is_closed():
            self._run(self._cache.close())
            self._loop.close()
