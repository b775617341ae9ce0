"""get_or_set() computes once for all threads and tasks of a process that miss one key at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache

from cachelayers.conf import package_settings
from cachelayers.flights import Flight, begin_or_join, land

PAUSE_SECONDS = 0.005  # between two looks of async code whether a value has been computed
LONGEST_PAUSE_SECONDS = 0.05


class SingleFlight(BaseCache):
    """Django's get_or_set(), which others wait for instead of computing the same."""

    alias: str

    def get_or_set(
        self, key: Any, default: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> Any:
        """Return the value, or store and return what ``default`` is or, called, returns."""
        if not callable(default):
            return super().get_or_set(key, default, timeout, version)
        found = self.get(key, self._missing_key, version)
        if found is not self._missing_key:
            return found
        with self._flight(key, version) as (flight, is_mine):
            if not is_mine and not flight.is_of_this_thread():
                flight.landed.wait(package_settings().LEASE_SECONDS)
            # It looks again: who came before may have stored it meanwhile, or may have failed.
            return super().get_or_set(key, default, timeout, version)

    async def aget_or_set(
        self, key: Any, default: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> Any:
        """Do what ``get_or_set`` does."""
        found = await self.aget(key, self._missing_key, version)
        if found is not self._missing_key:
            return found
        if not callable(default):
            return await self._aadd_and_get(key, default, timeout, version)
        with self._flight(key, version) as (flight, is_mine):
            end, pause = time.monotonic() + package_settings().LEASE_SECONDS, PAUSE_SECONDS
            while not is_mine and not flight.landed.is_set() and time.monotonic() < end:
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)
            found = await self.aget(key, self._missing_key, version)
            if found is not self._missing_key:
                return found
            return await self._aadd_and_get(key, default(), timeout, version)

    async def _aadd_and_get(self, key: Any, value: Any, timeout: Any, version: int | None) -> Any:
        """Store a value unless another is there now, and return which one is.

        Not Django's `aget_or_set`: it runs our `get_or_set` in a thread, which would wait for us.
        """
        await self.aadd(key, value, timeout, version)
        return await self.aget(key, value, version)

    @contextmanager
    def _flight(self, key: Any, version: int | None) -> Iterator[tuple[Flight, bool]]:
        name = self.alias, self.make_key(key, version)
        flight, is_mine = begin_or_join(name)
        try:
            yield flight, is_mine
        finally:
            if is_mine:
                land(name, flight)
