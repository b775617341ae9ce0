"""Checked settings, async methods and single flight, shared by all backends.

Each backend's ``cache`` module derives its cache class from ConfiguredCache.
"""

from __future__ import annotations

import asyncio
import math
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NamedTuple, NoReturn, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.core.cache import CacheHandler
from django.core.cache.backends.base import (
    DEFAULT_TIMEOUT,
    BaseCache,
    InvalidCacheKey,
    default_key_func,
    get_key_func,
)
from django.core.exceptions import ImproperlyConfigured

from cachelayers.conf import aliases_configured_as, package_settings
from cachelayers.durations import HOW_TO_WRITE, as_seconds
from cachelayers.utils.single_flight import Flight, begin_or_join, complete

FRAMES_TO_THE_HANDLER = 6  # one or two __init__ methods of subclasses may stand in between


def find_alias(backend: type, location: str, params: Mapping[str, Any]) -> str:
    """Return the alias of the backend whose ``__init__`` is running, or "" if it has none.

    Only the cache handler knows the alias: two aliases may have equal settings, and ``caches[alias]
    is self`` is False in another thread, where the alias has another object.
    """
    frame: FrameType | None = sys._getframe(1)
    for _ in range(FRAMES_TO_THE_HANDLER):
        if frame is None:
            break
        if isinstance(frame.f_locals.get("self"), CacheHandler) and "alias" in frame.f_locals:
            return str(frame.f_locals["alias"])
        frame = frame.f_back
    return next(iter(aliases_configured_as(backend, location, params)), "")


SETTINGS_KEYS = {
    "BACKEND", "LOCATION", "TIMEOUT", "OPTIONS", "KEY_PREFIX", "VERSION", "KEY_FUNCTION",
}  # fmt: skip


class Problem(NamedTuple):
    """An error in a cache's settings: place and value in ``text``, the cure in ``cure``."""

    id: str
    text: str
    cure: str

    def __str__(self) -> str:
        return f"{self.text} {self.cure}"


def find_common_problems(
    where: str,
    params: Mapping[str, Any],
    known_options: Mapping[str, Any],
    unmet_demand: Callable[[str, Any], str | None],
) -> Iterator[Problem]:
    """Yield the errors in the settings of one cache. ``where`` names the cache in messages.

    ``unmet_demand`` returns the requirement that an option's value does not meet, or None.
    """
    for key in sorted(set(params) - SETTINGS_KEYS):
        yield Problem(
            "cachelayers.E003",
            f"{where} has the unknown key {key!r}.",
            f"Known are {', '.join(sorted(SETTINGS_KEYS))}; a cache's own options go into OPTIONS.",
        )
    timeout = params.get("TIMEOUT")
    if timeout is not None and not is_number(as_seconds(as_number(timeout))):
        yield Problem(
            "cachelayers.E004",
            f"{where} TIMEOUT is {timeout!r}.",
            f"{HOW_TO_WRITE}, or None for entries that never expire.",
        )
    yield from find_key_problems(where, params)
    options = params.get("OPTIONS", {})
    if not isinstance(options, Mapping):
        yield Problem(
            "cachelayers.E004", f"{where} OPTIONS is {options!r}.", "It must be a dictionary."
        )
        return
    for name, value in options.items():
        if name not in known_options:
            yield Problem(
                "cachelayers.E003",
                f"{where} OPTIONS has the unknown key {name!r}.",
                f"Known are {', '.join(sorted(known_options))}.",
            )
        elif demand := unmet_demand(name, value):
            yield Problem("cachelayers.E004", f"{where} OPTIONS {name} is {value!r}.", demand)


def find_key_problems(where: str, params: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the errors in KEY_PREFIX, VERSION and KEY_FUNCTION."""
    prefix, version = params.get("KEY_PREFIX", ""), params.get("VERSION", 1)
    function = params.get("KEY_FUNCTION")
    if not isinstance(prefix, str):
        yield Problem("cachelayers.E004", f"{where} KEY_PREFIX is {prefix!r}.", "Give a text.")
    if not is_whole(as_number(version)):
        yield Problem(
            "cachelayers.E004", f"{where} VERSION is {version!r}.", "Give a whole number."
        )
    try:
        get_key_func(function)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        yield Problem(
            "cachelayers.E004",
            f"{where} KEY_FUNCTION is {function!r}.",
            f"Give a function of key, prefix and version, or its dotted path ({error}).",
        )


def unmet_bound_demand(value: Any) -> str | None:
    """Return the requirement for a bound if ``value`` does not meet it."""
    met = value is None or (is_whole(value) and value > 0)
    return None if met else "Give a whole number above 0, or None for no bound."


def as_number(value: Any) -> Any:
    """Return a text as a number: values from environment variables are texts."""
    if isinstance(value, str):
        for kind in (int, float):
            with suppress(ValueError):
                return kind(value)
    return value


def is_whole(value: Any) -> bool:
    """Return whether a value is an integer; True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number; True and False are not."""
    return is_whole(value) or (isinstance(value, float) and value - value == 0)


PAUSE_SECONDS = 0.005  # between two checks of async code whether a value has been computed
LONGEST_PAUSE_SECONDS = 0.05


class SingleFlight(BaseCache):
    """Django's get_or_set() with single flight: concurrent callers wait for one compute."""

    alias: str

    def get_or_set(
        self, key: Any, default: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> Any:
        """Return the value of a live entry; else store and return ``default``, or its result."""
        if not callable(default):
            return super().get_or_set(key, default, timeout, version)
        found = self.get(key, self._missing_key, version)
        if found is not self._missing_key:
            return found
        with self._flight(key, version) as (flight, is_mine):
            if not is_mine and not flight.is_of_this_thread():
                flight.completed.wait(package_settings().LEASE_SECONDS)
            # Look again: the other flight may have stored the value, or may have failed.
            return super().get_or_set(key, default, timeout, version)

    async def aget_or_set(
        self, key: Any, default: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> Any:
        found = await self.aget(key, self._missing_key, version)
        if found is not self._missing_key:
            return found
        if not callable(default):
            return await self._aadd_and_get(key, default, timeout, version)
        with self._flight(key, version) as (flight, is_mine):
            end, pause = time.monotonic() + package_settings().LEASE_SECONDS, PAUSE_SECONDS
            while not is_mine and not flight.completed.is_set() and time.monotonic() < end:
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)
            found = await self.aget(key, self._missing_key, version)
            if found is not self._missing_key:
                return found
            return await self._aadd_and_get(key, default(), timeout, version)

    async def _aadd_and_get(self, key: Any, value: Any, timeout: Any, version: int | None) -> Any:
        """Store a value unless a live entry exists; return the value that the cache then has.

        Django's `aget_or_set` would run our `get_or_set` in a thread, which would wait for this
        flight.
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
                complete(name, flight)


Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")


class AsyncTwins(BaseCache):
    """Async methods that run their sync method in the thread of the request's database work.

    Django's own bulk methods and ``aincr`` loop or combine get and set: many round trips, and not
    atomic. Thread-sensitive, to share the caller's connection and transaction.
    """

    def get_shared(self, key: str) -> Any:
        """Return a value that other processes may have stored since the last lookup, or None.

        Not counted in the statistics.
        """
        raise LookupError  # implemented by each backend

    async def _perform(
        self,
        method: Callable[Parameters, Answer],
        *arguments: Parameters.args,
        **keywords: Parameters.kwargs,
    ) -> Answer:
        """Run a sync method without blocking the event loop."""
        return await sync_to_async(method)(*arguments, **keywords)

    async def aadd(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        return await self._perform(self.add, key, value, timeout, version)

    async def aget_shared(self, key: str) -> Any:
        return await self._perform(self.get_shared, key)

    async def aget(self, key: str, default: Any = None, version: int | None = None) -> Any:
        return await self._perform(self.get, key, default, version)

    async def atouch(
        self, key: str, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        return await self._perform(self.touch, key, timeout, version)

    async def adelete(self, key: str, version: int | None = None) -> bool:
        return await self._perform(self.delete, key, version)

    async def aget_many(self, keys: Iterable[str], version: int | None = None) -> dict[str, Any]:
        return await self._perform(self.get_many, keys, version)

    async def aset_many(
        self,
        data: dict[str, Any],
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> list[str]:
        return await self._perform(self.set_many, data, timeout, version)

    async def adelete_many(self, keys: Iterable[str], version: int | None = None) -> None:
        await self._perform(self.delete_many, keys, version)

    async def ahas_key(self, key: str, version: int | None = None) -> bool:
        return await self._perform(self.has_key, key, version)

    async def aincr_version(self, key: str, delta: int = 1, version: int | None = None) -> int:
        return await self._perform(self.incr_version, key, delta, version)

    async def adecr_version(self, key: str, delta: int = 1, version: int | None = None) -> int:
        return await self._perform(self.decr_version, key, delta, version)

    async def aclear(self) -> None:
        await self._perform(self.clear)

    async def aclose(self, **kwargs: Any) -> None:
        await self._perform(self.close, **kwargs)


# The same characters as in Django's validation; one search is faster than its loop over the key.
find_odd_character = re.compile(r"[\x00-\x20\x7f]").search
MEMCACHED_KEY_LENGTH = 250


def with_numbers(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return a cache's settings with durations and texts from the environment as numbers."""
    given = {name: as_number(params[name]) for name in ("TIMEOUT", "VERSION") if name in params}
    if "TIMEOUT" in given:
        given["TIMEOUT"] = as_seconds(given["TIMEOUT"])
    return {**params, **given}


class ConfiguredCache(AsyncTwins, SingleFlight):
    """A cache of one alias, made from its settings."""

    def __init__(self, location: str, params: Mapping[str, Any], alias: str | None = None) -> None:
        """Check the settings; the first operation raises their errors.

        ``alias``: only needed if the cache is not made by Django's handler.

        Errors are not raised here, because Django's system checks create every cache, and would
        stop before cachelayers.checks can report the errors.
        """
        self.alias = find_alias(type(self), location, params) if alias is None else alias
        problems = self.find_problems(f"CACHES[{self.alias!r}]", location, params)
        self._problem = next(map(str, problems), None)
        # Django's constructor reads OPTIONS and imports KEY_FUNCTION, so invalid settings stay out.
        super().__init__({} if self._problem else with_numbers(params))
        self._has_plain_keys = type(self).make_key is BaseCache.make_key
        if self._problem is None:
            self._assemble(location, params.get("OPTIONS", {}))

    @staticmethod
    def find_problems(where: str, location: str, params: Mapping[str, Any]) -> Iterator[Problem]:
        """Yield the errors in the settings of one cache. ``where`` names the cache in messages."""
        raise LookupError  # implemented by each backend

    def _assemble(self, location: str, options: Mapping[str, Any]) -> None:
        """Set the components from valid settings."""
        raise LookupError  # implemented by each backend

    def __getattr__(self, name: str) -> NoReturn:
        """Raise ImproperlyConfigured for invalid settings, with which ``_assemble`` did not run."""
        problem = self.__dict__.get("_problem")
        if problem is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        raise ImproperlyConfigured(problem)

    def _full_key(self, key: Any, version: int | None) -> str:
        """Return the full key; raise InvalidCacheKey for an invalid one.

        A key that is not a string counts as its str(), as in every Django cache.
        """
        if self._has_plain_keys and self.key_func is default_key_func:
            # Inlined for speed: two calls take as long as finding a row.
            made = f"{self.key_prefix}:{self.version if version is None else version}:{key!s}"
        else:
            made = self.make_key(key, version)
        if not isinstance(made, str):
            raise InvalidCacheKey(
                f"CACHES[{self.alias!r}] KEY_FUNCTION made {made!r} of the key {key!r}."
                " It must return a string."
            )
        self.validate_key(made)
        return made

    def validate_key(self, key: str) -> None:
        """Warn of keys that memcached would refuse, as every Django backend does."""
        if len(key) > MEMCACHED_KEY_LENGTH or find_odd_character(key):
            super().validate_key(key)

    def _seconds(self, timeout: Any) -> float | None:
        """Return how long a new entry lives, in seconds. None: no expiry; 0 or less: not stored."""
        seconds = self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout
        if seconds is None:
            return None
        if isinstance(seconds, (int, float)) and math.isfinite(seconds):
            return seconds
        if hasattr(seconds, "__float__") and math.isfinite(seconds):
            return float(seconds)  # a number of numpy's, or a Decimal
        if is_number(found := as_seconds(seconds)):
            return float(found)
        raise TypeError(
            f"CACHES[{self.alias!r}]: the timeout {seconds!r} is not a duration."
            f" {HOW_TO_WRITE}, or None for an entry that never expires."
        )
