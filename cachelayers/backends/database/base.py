"""What every operation of a DatabaseCache needs: settings, places, expiries, rows, values.

The operations themselves are in cache.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from random import randrange
from typing import Any, Final, NoReturn

from django.core.cache.backends.base import DEFAULT_TIMEOUT, InvalidCacheKey
from django.core.exceptions import ImproperlyConfigured

from cachelayers.backends.async_twins import AsyncTwins
from cachelayers.backends.database.alias import find_alias
from cachelayers.backends.database.options import DatabaseOptions, find_problems
from cachelayers.backends.database.parts import Parts, parts_of
from cachelayers.backends.database.table import NEVER_MS, Row
from cachelayers.conf import database_alias_of
from cachelayers.entries.keys import MAX_KEY_BYTES, Place
from cachelayers.entries.values import Undecodable

MISS: Final = object()
READS_PER_NOTED_READ = 16  # a sample is enough to tell what is used from what is not

# What Django's own validation warns of; found by one search instead of a loop over the key.
find_odd_character = re.compile(r"[\x00-\x20\x7f]").search
MEMCACHED_KEY_LENGTH = 250


class TableCache(AsyncTwins):
    """A cache of one alias, put together from its settings."""

    def __init__(self, location: str, params: Mapping[str, Any]) -> None:
        """Take the settings; what is wrong with them is raised by the first operation.

        Not here: Django's own system checks make every cache, and would break off before the
        errors that cachelayers.checks has to say.
        """
        super().__init__(dict(params))
        self.alias = find_alias(location, params)
        problems = find_problems(f"CACHES[{self.alias!r}]", location, params)
        self._problem = next(map(str, problems), None)
        if self._problem is None:
            database = database_alias_of({"LOCATION": location})
            options = DatabaseOptions(**params.get("OPTIONS", {}))
            self._assemble(parts_of(self.alias, database, options))

    def _assemble(self, parts: Parts) -> None:
        """Take what all caches of this alias share; bound here, as each call looks it up."""
        self._place_of = parts.place_of
        self._packer, self._pack, self._unpack = (
            parts.packer, parts.packer.pack, parts.packer.unpack
        )  # fmt: skip
        self._table, self._hand, self._health = parts.table, parts.hand, parts.health
        self._guard, self._attempt = parts.guard, parts.guard.attempt
        self._is_distrusted = parts.guard.is_distrusted
        self._notes_reads, self._reads_to_note = parts.hand.is_bounded, 1

    def __getattr__(self, name: str) -> NoReturn:
        """Say what is wrong with the settings, where ``_assemble`` has set nothing."""
        problem = self.__dict__.get("_problem")
        if problem is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        raise ImproperlyConfigured(problem)

    def _place(self, key: str, version: int | None) -> Place:
        """Return the place of a key; raise InvalidCacheKey for one that cannot be."""
        if not isinstance(key, str):
            raise InvalidCacheKey(
                f"CACHES[{self.alias!r}]: the key {key!r} is of type {type(key).__name__}."
                " Give a string, for example str(key)."
            )
        made = self.make_key(key, version)
        if not isinstance(made, str):
            raise InvalidCacheKey(
                f"CACHES[{self.alias!r}] KEY_FUNCTION made {made!r} of the key {key!r}."
                " It must return a string."
            )
        self.validate_key(made)
        return self._place_of(made)

    def validate_key(self, key: str) -> None:
        """Warn, as every Django backend does, of keys that memcached would refuse."""
        if len(key) > MEMCACHED_KEY_LENGTH or find_odd_character(key):
            super().validate_key(key)
            key_bytes = len(key.encode("utf-8", "surrogatepass"))
            if key_bytes > MAX_KEY_BYTES:
                raise InvalidCacheKey(
                    f"CACHES[{self.alias!r}]: a key of {key_bytes} bytes is too long: {key[:60]!r}"
                    f"... Keep it within {MAX_KEY_BYTES} bytes, for example by a hash."
                )

    def _note_read(self, place: Place) -> None:
        """Tell the hand of one read in sixteen on average.

        At random: a page that makes sixteen calls would else have the same one noted each time.
        """
        self._reads_to_note -= 1
        if self._reads_to_note <= 0:
            self._reads_to_note = randrange(1, 2 * READS_PER_NOTED_READ)  # noqa: S311
            self._hand.note_read(place.id)

    def _unpacked(self, key: bytes, form: int, number: int | None, data: bytes | None) -> Any:
        """Return the value of a row, or MISS where it cannot be had or trusted."""
        try:
            return self._unpack(key, form, number, data)
        except Undecodable as error:
            self._report_undecodable(key, error)
            return MISS

    def _report_undecodable(self, key: bytes, error: Undecodable) -> None:
        """Log and count a value that is a miss because it cannot be had or trusted."""
        self._health.undecodable.tell(f"the value of {key!r} is a miss: {error}", error)

    def _expiry(self, timeout: Any) -> int:
        """Return when an entry written now expires, in milliseconds; 0: it is not even stored."""
        seconds = self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout
        if seconds is None:
            return NEVER_MS
        if not isinstance(seconds, (int, float)) or not math.isfinite(seconds):
            raise TypeError(
                f"CACHES[{self.alias!r}]: the timeout {seconds!r} is no number of seconds."
                " Give seconds, or None for an entry that never expires."
            )
        if seconds <= 0:
            return 0
        return min(now_ms() + math.ceil(seconds * 1000), NEVER_MS)

    def _row(self, place: Place, value: Any, expires: int) -> Row:
        """Return the row for a value."""
        packed = self._pack(place.key, value)
        return Row(
            place.id, place.key, expires, now_ms(), packed.format, packed.number, packed.data
        )


def now_ms() -> int:
    """Return the time now in milliseconds since 1970."""
    # Through the module: Django's own tests patch time.time.
    return int(time.time() * 1000)
