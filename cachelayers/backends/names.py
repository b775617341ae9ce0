"""The methods that django-redis adds to Django's, for every backend of this package.

Each backend derives from NamedCache, and implements the few operations at its beginning.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from django.core.cache.backends.base import DEFAULT_TIMEOUT

from cachelayers.backends.base import ConfiguredCache
from cachelayers.backends.locking import AsyncLock
from cachelayers.backends.patterns import Pattern, Search
from cachelayers.entries import LEASE_SUFFIX
from cachelayers.exceptions import NotSupported

KEYS_AT_ONCE: Final = 1_000  # looked at in one step of a search
TRIES_TO_COUNT: Final = 5
PROBE = "cachelayers-probe"

# What only Redis can do, by django-redis's names.
SET_NAMES = (
    "sadd", "scard", "sdiff", "sdiffstore", "sinter", "sinterstore", "sismember", "smembers",
    "smismember", "smove", "spop", "srandmember", "srem", "sscan", "sscan_iter", "sunion",
    "sunionstore",
)  # fmt: skip
SORTED_SET_NAMES = (
    "zadd", "zcard", "zcount", "zincrby", "zpopmax", "zpopmin", "zrange", "zrangebyscore", "zrank",
    "zrem", "zremrangebyscore", "zrevrange", "zrevrangebyscore", "zscore",
)  # fmt: skip
HASH_NAMES = ("hset", "hdel", "hlen", "hkeys", "hexists")
NAMES_OF_REDIS = frozenset({"client", "get_client", *SET_NAMES, *SORTED_SET_NAMES, *HASH_NAMES})


class NamedCache(ConfiguredCache):
    """A cache with django-redis's methods. Times are seconds since 1970; ``math.inf``: no end."""

    def _expires_at(self, key: str, version: int | None) -> float | None:
        """Return when a live entry expires, or None."""
        raise LookupError  # implemented by each backend

    def _expire_at(self, key: str, expires: float, version: int | None) -> bool:
        """Give a live entry another expiry in the future; return whether there was one."""
        raise LookupError  # implemented by each backend

    def _overwrite(self, key: str, value: Any, timeout: Any, version: int | None) -> bool:
        """Store a value if there is a live entry, atomically; return whether there was one."""
        raise LookupError  # implemented by each backend

    def _pages(self, search: Search, size: int) -> Iterator[list[str]]:
        """Yield the keys found, in pages: each step looks at about ``size`` entries."""
        raise LookupError  # implemented by each backend

    def _delete_found(self, search: Search, size: int) -> int:
        """Delete the entries found, in pages; return how many."""
        raise LookupError  # implemented by each backend

    # Expiry

    def ttl(self, key: str, version: int | None = None) -> int | None:
        """Return the seconds left; 0: there is no live entry; None: it does not expire."""
        left = self.pttl(key, version)
        return None if left is None else (left + 500) // 1000  # rounded, as in Redis

    def pttl(self, key: str, version: int | None = None) -> int | None:
        """Return the milliseconds left; 0: there is no live entry; None: it does not expire."""
        expires = self._expires_at(key, version)
        if expires is None:
            return 0
        return None if expires == math.inf else max(round((expires - time.time()) * 1000), 0)

    def persist(self, key: str, version: int | None = None) -> bool:
        """Remove an entry's expiry; return whether there was one to remove."""
        expires = self._expires_at(key, version)
        if expires is None or expires == math.inf:
            return False
        return self._expire_at(key, math.inf, version)

    def expire(self, key: str, timeout: Any, version: int | None = None) -> bool:
        """Give an entry a new timeout; return whether there is one. 0 or less deletes it."""
        return self._expire_in(key, self._seconds(timeout), version)

    def pexpire(self, key: str, timeout: Any, version: int | None = None) -> bool:
        """Run ``expire``, with milliseconds."""
        seconds = self._seconds(timeout)
        if seconds is not None and isinstance(timeout, (int, float)):
            seconds /= 1000
        return self._expire_in(key, seconds, version)

    def expire_at(self, key: str, when: datetime | float, version: int | None = None) -> bool:
        """Let an entry expire at a time, or at seconds since 1970; return whether there is one."""
        return self._expire_then(key, when, 1, version)

    def pexpire_at(self, key: str, when: datetime | float, version: int | None = None) -> bool:
        """Run ``expire_at``, with a time or milliseconds since 1970."""
        return self._expire_then(key, when, 1000, version)

    def _expire_then(
        self, key: str, when: datetime | float, per_second: int, version: int | None
    ) -> bool:
        expires = when.timestamp() if isinstance(when, datetime) else when / per_second
        return self._expire_in(key, expires - time.time(), version)

    def _expire_in(self, key: str, seconds: float | None, version: int | None) -> bool:
        if seconds is None:
            return self._expire_at(key, math.inf, version)
        if seconds <= 0:
            return self.delete(key, version)
        return self._expire_at(key, time.time() + seconds, version)

    async def attl(self, key: str, version: int | None = None) -> int | None:
        return await self._perform(self.ttl, key, version)

    async def apttl(self, key: str, version: int | None = None) -> int | None:
        return await self._perform(self.pttl, key, version)

    async def apersist(self, key: str, version: int | None = None) -> bool:
        return await self._perform(self.persist, key, version)

    async def aexpire(self, key: str, timeout: Any, version: int | None = None) -> bool:
        return await self._perform(self.expire, key, timeout, version)

    async def apexpire(self, key: str, timeout: Any, version: int | None = None) -> bool:
        return await self._perform(self.pexpire, key, timeout, version)

    async def aexpire_at(
        self, key: str, when: datetime | float, version: int | None = None
    ) -> bool:
        return await self._perform(self.expire_at, key, when, version)

    async def apexpire_at(
        self, key: str, when: datetime | float, version: int | None = None
    ) -> bool:
        return await self._perform(self.pexpire_at, key, when, version)

    # Searching

    def keys(self, search: str, version: int | None = None) -> list[str]:
        """Return the keys of live entries that match a pattern, in any order."""
        return list(self.iter_keys(search, version=version))

    def iter_keys(
        self, search: str, itersize: int | None = None, version: int | None = None
    ) -> Iterator[str]:
        """Yield the keys of ``keys``; each step looks at about ``itersize`` entries."""
        found = self._search(search, version)
        for page in self._pages(found, max(itersize or KEYS_AT_ONCE, 1)):
            yield from (key for key in page if not key.endswith(LEASE_SUFFIX))

    def delete_pattern(
        self,
        pattern: str,
        version: int | None = None,
        prefix: str | None = None,
        itersize: int | None = None,
    ) -> int:
        """Delete the entries whose keys match a pattern; return how many.

        ``prefix``: in place of KEY_PREFIX. Raises CacheUnavailable if that fails: the cache may
        still have the entries.
        """
        found = self._search(pattern, version, prefix)
        return self._delete_found(found, max(itersize or KEYS_AT_ONCE, 1))

    async def akeys(self, search: str, version: int | None = None) -> list[str]:
        return await self._perform(self.keys, search, version)

    async def aiter_keys(
        self, search: str, itersize: int | None = None, version: int | None = None
    ) -> AsyncIterator[str]:
        found = self._search(search, version)
        pages = self._pages(found, max(itersize or KEYS_AT_ONCE, 1))
        while (page := await self._perform(next, pages, None)) is not None:
            for key in page:
                if not key.endswith(LEASE_SUFFIX):
                    yield key

    async def adelete_pattern(
        self,
        pattern: str,
        version: int | None = None,
        prefix: str | None = None,
        itersize: int | None = None,
    ) -> int:
        return await self._perform(self.delete_pattern, pattern, version, prefix, itersize)

    def _search(self, pattern: str, version: int | None, prefix: str | None = None) -> Search:
        """Return a search in the full keys; raise NotSupported if they do not hold the keys."""
        made = self.key_func(
            PROBE,
            self.key_prefix if prefix is None else prefix,
            self.version if version is None else version,
        )
        head, probe, tail = str(made).partition(PROBE)
        if not probe:
            raise NotSupported(
                f"CACHES[{self.alias!r}] has a KEY_FUNCTION whose keys do not contain the key, so"
                " keys cannot be searched."
            )
        return Search(head, tail, Pattern(pattern))

    # Locks

    def lock(
        self,
        key: str,
        version: int | None = None,
        timeout: Any = None,
        sleep: float = 0.1,
        blocking: bool = True,
        blocking_timeout: float | None = None,
        thread_local: bool = True,
    ) -> Any:
        """Return a lock, with the methods of redis-py's; it is not acquired yet.

        ``timeout``: how long it is held at most; None: until it is released.
        """
        options = {"sleep": sleep, "blocking": blocking, "blocking_timeout": blocking_timeout}
        return self._make_lock(
            self._lock_key(key, version), timeout=timeout, thread_local=thread_local, **options
        )

    def alock(self, key: str, version: int | None = None, **options: Any) -> AsyncLock:
        """Return ``lock()`` for async code; the arguments are the same."""
        lock = self.lock(key, version, **{**options, "thread_local": False})
        return AsyncLock(lock, self._perform)

    def _lock_key(self, key: str, version: int | None) -> str:
        return self._full_key(key, version)

    def _make_lock(self, key: str, **options: Any) -> Any:
        """Return a lock of a full key, with the options of Lock."""
        raise LookupError  # implemented by each backend

    # Writing on a condition

    def _set_if(
        self, key: str, value: Any, timeout: Any, version: int | None, *, nx: bool, xx: bool
    ) -> bool:
        """Store a value if there is no live entry (``nx``), or only if there is one (``xx``)."""
        if nx and xx:
            raise ValueError(f"set({key!r}): nx and xx exclude each other. Give one of them.")
        if nx:
            return self.add(key, value, timeout, version)
        seconds = self._seconds(timeout)
        if seconds is not None and seconds <= 0:
            return self.delete(key, version)
        return self._overwrite(key, value, timeout, version)

    # Counting

    def decr(
        self,
        key: str,
        delta: int = 1,
        version: int | None = None,
        *,
        ignore_key_check: bool = False,
    ) -> int:
        """Run ``incr`` with ``-delta``."""
        method: Any = self.incr
        total: int = method(key, -delta, version, ignore_key_check=ignore_key_check)
        return total

    async def aincr(
        self,
        key: str,
        delta: int = 1,
        version: int | None = None,
        *,
        ignore_key_check: bool = False,
    ) -> int:
        method: Any = self.incr
        total: int = await self._perform(
            method, key, delta, version, ignore_key_check=ignore_key_check
        )
        return total

    async def adecr(
        self,
        key: str,
        delta: int = 1,
        version: int | None = None,
        *,
        ignore_key_check: bool = False,
    ) -> int:
        return await self.aincr(key, -delta, version, ignore_key_check=ignore_key_check)

    def _incr_or_add(self, key: str, delta: int, version: int | None) -> int:
        """Count from 0 if there is no live entry; the new one does not expire, as in Redis."""
        for _ in range(TRIES_TO_COUNT):  # others may add it, and it may expire, in between
            with suppress(ValueError):
                return self.incr(key, delta, version)
            if self.add(key, delta, None, version):
                return delta
        return self.incr(key, delta, version)

    async def aset(  # type: ignore[override] # Django's has no result
        self,
        key: str,
        value: Any,
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
        nx: bool = False,
        xx: bool = False,
    ) -> bool | None:
        method: Any = self.set
        return await self._perform(method, key, value, timeout, version, nx, xx)

    def __getattr__(self, name: str) -> Any:
        """Say of what only Redis has that this cache does not have it."""
        if name in NAMES_OF_REDIS and self.__dict__.get("_problem") is None:
            raise AttributeError(
                f"{name!r} is Redis's own, and CACHES[{self.alias!r}] has no Redis layer."
                " Use a LayeredCache with a layer of django-redis, or that cache itself."
            )
        return super().__getattr__(name)
