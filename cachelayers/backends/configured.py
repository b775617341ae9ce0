"""A backend made from settings, which may be wrong: what all our backends begin with."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from django.core.cache.backends.base import (
    DEFAULT_TIMEOUT,
    BaseCache,
    InvalidCacheKey,
    default_key_func,
)
from django.core.exceptions import ImproperlyConfigured

from cachelayers.backends.alias import find_alias
from cachelayers.backends.async_twins import AsyncTwins
from cachelayers.backends.settings import Problem, as_number
from cachelayers.backends.single_flight import SingleFlight

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
