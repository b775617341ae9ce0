"""What all backends share: checked settings, async twins, one compute in ``get_or_set``."""

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
from cachelayers.utils.single_flight import Flight, begin_or_join, complete

FRAMES_TO_THE_HANDLER = 6  # a subclass's __init__ or two may stand in between


def find_alias(backend: type, location: str, params: Mapping[str, Any]) -> str:
    """Return the alias of the backend whose ``__init__`` is running, or "" where it has none.

    The handler that makes it knows the alias; the settings do not always, since two aliases may be
    configured alike. Asking ``caches[alias] is self`` later fails in another thread, where the same
    alias is another object.
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
    """What is wrong in a cache's settings: place and value in ``text``, the cure in ``cure``."""

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
    """Yield what is wrong with the settings of the cache called ``where`` in messages.

    ``unmet_demand`` returns what an option asks for where a value does not meet it.
    """
    for key in sorted(set(params) - SETTINGS_KEYS):
        yield Problem(
            "cachelayers.E003",
            f"{where} has the unknown key {key!r}.",
            f"Known are {', '.join(sorted(SETTINGS_KEYS))}; a cache's own options go into OPTIONS.",
        )
    timeout = params.get("TIMEOUT")
    if timeout is not None and not is_number(as_number(timeout)):
        yield Problem(
            "cachelayers.E004",
            f"{where} TIMEOUT is {timeout!r}.",
            "Give seconds as a number, or None for entries that never expire.",
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
    """Yield what is wrong with what keys are made of."""
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
    """Return what a bound asks for, where ``value`` is none."""
    met = value is None or (is_whole(value) and value > 0)
    return None if met else "Give a whole number above 0, or None for no bound."


def as_number(value: Any) -> Any:
    """Return the number that a text stands for, as environment variables give it."""
    if isinstance(value, str):
        for kind in (int, float):
            with suppress(ValueError):
                return kind(value)
    return value


def is_whole(value: Any) -> bool:
    """Tell a whole number from everything else, from True too."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Tell a finite number from everything else, from True too."""
    return is_whole(value) or (isinstance(value, float) and value - value == 0)


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
                flight.completed.wait(package_settings().LEASE_SECONDS)
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
            while not is_mine and not flight.completed.is_set() and time.monotonic() < end:
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
                complete(name, flight)


Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")


class AsyncTwins(BaseCache):
    """Each twin is its sync method on the thread of the request's other database work.

    Django's own twins of bulk operations and of ``incr`` are loops and a get with a set: many
    round trips, and not atomic. Thread-sensitive, so that they share the caller's connection and
    its transaction.
    """

    def get_shared(self, key: str) -> Any:
        """Return what others may have stored since the last look, or None; not counted."""
        raise LookupError  # each backend has its own

    async def _perform(
        self,
        method: Callable[Parameters, Answer],
        *arguments: Parameters.args,
        **keywords: Parameters.kwargs,
    ) -> Answer:
        """Call a method so that the event loop need not wait for it."""
        return await sync_to_async(method)(*arguments, **keywords)

    async def aadd(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """Do what ``add`` does."""
        return await self._perform(self.add, key, value, timeout, version)

    async def aget_shared(self, key: str) -> Any:
        """Do what ``get_shared`` does."""
        return await self._perform(self.get_shared, key)

    async def aget(self, key: str, default: Any = None, version: int | None = None) -> Any:
        """Do what ``get`` does."""
        return await self._perform(self.get, key, default, version)

    async def aset(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        """Do what ``set`` does."""
        await self._perform(self.set, key, value, timeout, version)

    async def atouch(
        self, key: str, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """Do what ``touch`` does."""
        return await self._perform(self.touch, key, timeout, version)

    async def adelete(self, key: str, version: int | None = None) -> bool:
        """Do what ``delete`` does."""
        return await self._perform(self.delete, key, version)

    async def aget_many(self, keys: Iterable[str], version: int | None = None) -> dict[str, Any]:
        """Do what ``get_many`` does."""
        return await self._perform(self.get_many, keys, version)

    async def aset_many(
        self,
        data: dict[str, Any],
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> list[str]:
        """Do what ``set_many`` does."""
        return await self._perform(self.set_many, data, timeout, version)

    async def adelete_many(self, keys: Iterable[str], version: int | None = None) -> None:
        """Do what ``delete_many`` does."""
        await self._perform(self.delete_many, keys, version)

    async def ahas_key(self, key: str, version: int | None = None) -> bool:
        """Do what ``has_key`` does."""
        return await self._perform(self.has_key, key, version)

    async def aincr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Do what ``incr`` does, as one operation."""
        return await self._perform(self.incr, key, delta, version)

    async def adecr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Do what ``decr`` does, as one operation."""
        return await self._perform(self.decr, key, delta, version)

    async def aincr_version(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Do what ``incr_version`` does."""
        return await self._perform(self.incr_version, key, delta, version)

    async def adecr_version(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Do what ``decr_version`` does."""
        return await self._perform(self.decr_version, key, delta, version)

    async def aclear(self) -> None:
        """Do what ``clear`` does."""
        await self._perform(self.clear)

    async def aclose(self, **kwargs: Any) -> None:
        """Do what ``close`` does."""
        await self._perform(self.close, **kwargs)


# What Django's own validation warns of; found by one search instead of a loop over the key.
find_odd_character = re.compile(r"[\x00-\x20\x7f]").search
MEMCACHED_KEY_LENGTH = 250


def with_numbers(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return a cache's settings with numbers for the texts that environment variables give."""
    given = {name: as_number(params[name]) for name in ("TIMEOUT", "VERSION") if name in params}
    return {**params, **given}


class ConfiguredCache(AsyncTwins, SingleFlight):
    """A cache of one alias, put together from its settings."""

    def __init__(self, location: str, params: Mapping[str, Any], alias: str | None = None) -> None:
        """Take the settings; what is wrong with them is raised by the first operation.

        ``alias`` is given where it is not Django's handler that makes the cache.

        Not here: Django's own system checks make every cache, and would break off before the
        errors that cachelayers.checks has to say.
        """
        self.alias = find_alias(type(self), location, params) if alias is None else alias
        problems = self.find_problems(f"CACHES[{self.alias!r}]", location, params)
        self._problem = next(map(str, problems), None)
        # Django's own constructor looks into OPTIONS and imports KEY_FUNCTION, whatever they are.
        super().__init__({} if self._problem else with_numbers(params))
        self._has_plain_keys = type(self).make_key is BaseCache.make_key
        if self._problem is None:
            self._assemble(location, params.get("OPTIONS", {}))

    @staticmethod
    def find_problems(where: str, location: str, params: Mapping[str, Any]) -> Iterator[Problem]:
        """Yield what is wrong with the settings of the cache called ``where`` in messages."""
        raise LookupError  # each backend has its own

    def _assemble(self, location: str, options: Mapping[str, Any]) -> None:
        """Take the working parts, now that the settings are known to be right."""
        raise LookupError  # each backend has its own

    def __getattr__(self, name: str) -> NoReturn:
        """Say what is wrong with the settings, where ``_assemble`` has set nothing."""
        problem = self.__dict__.get("_problem")
        if problem is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        raise ImproperlyConfigured(problem)

    def _made_key(self, key: Any, version: int | None) -> str:
        """Return the full key; raise InvalidCacheKey for one that cannot be.

        A key that is no string counts as its str(), as in every Django cache.
        """
        if self._has_plain_keys and self.key_func is default_key_func:
            # The same, without two calls: they take as long as it takes to find a row.
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
        """Warn, as every Django backend does, of keys that memcached would refuse."""
        if len(key) > MEMCACHED_KEY_LENGTH or find_odd_character(key):
            super().validate_key(key)

    def _seconds(self, timeout: Any) -> float | None:
        """Return for how long an entry written now lives; None: for ever; 0 or less: not at all."""
        seconds = self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout
        if seconds is None:
            return None
        if isinstance(seconds, (int, float)) and math.isfinite(seconds):
            return seconds
        if hasattr(seconds, "__float__") and math.isfinite(seconds):
            return float(seconds)  # of numpy's numbers, or a Decimal
        raise TypeError(
            f"CACHES[{self.alias!r}]: the timeout {seconds!r} is no number of seconds."
            " Give seconds, or None for an entry that never expires."
        )
