"""Locks with the methods of redis-py's, over a store of holders, and the locks of one process.

``cache.lock()`` returns one. On a Redis layer, it is redis-py's own.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace, TracebackType
from typing import Any, NamedTuple, Protocol, Self
from uuid import uuid4

from cachelayers.durations import HOW_TO_WRITE, as_seconds
from cachelayers.exceptions import LockError, LockNotOwnedError
from cachelayers.utils.locks import ForkSafeLock


class LockStore(Protocol):
    """The holder of one lock. Times in seconds; None: without an end."""

    def take(self, token: str, seconds: float | None) -> int | None:
        """Become the holder if there is none; return the fencing number, or None."""

    def prolong(self, token: str, seconds: float, *, from_now: bool) -> bool:
        """Hold it for longer; return whether ``token`` is the holder."""

    def drop(self, token: str) -> bool:
        """Stop holding it; return whether ``token`` was the holder."""

    def holder(self) -> str | None:
        """Return the token of the holder."""


class Lock:
    """A lock that expires. ``fencing`` grows with each acquisition, by whichever caller."""

    def __init__(
        self,
        store: LockStore,
        name: str,
        timeout: Any = None,
        sleep: float = 0.1,
        blocking: bool = True,
        blocking_timeout: float | None = None,
        thread_local: bool = True,
    ) -> None:
        """``timeout``: after which others can take it; None: never."""
        self._store, self.name = store, name
        self.timeout = lock_seconds(name, timeout)
        self.sleep, self.blocking, self.blocking_timeout = sleep, blocking, blocking_timeout
        self.local: Any = threading.local() if thread_local else SimpleNamespace()

    @property
    def fencing(self) -> int | None:
        """Return this acquisition's number, for a resource that refuses lower ones."""
        return getattr(self.local, "fencing", None)

    def acquire(
        self,
        sleep: float | None = None,
        blocking: bool | None = None,
        blocking_timeout: float | None = None,
        token: str | None = None,
    ) -> bool:
        """Take the lock; return whether it was taken. The arguments override the lock's own."""
        sleep = self.sleep if sleep is None else sleep
        blocking = self.blocking if blocking is None else blocking
        limit = self.blocking_timeout if blocking_timeout is None else blocking_timeout
        end = None if limit is None else time.monotonic() + limit
        token = uuid4().hex if token is None else token
        while (number := self._store.take(token, self.timeout)) is None:
            if not blocking or (end is not None and time.monotonic() + sleep > end):
                return False
            time.sleep(sleep)
        self.local.token, self.local.fencing = token, number
        return True

    def release(self) -> None:
        """Release it. Raises LockError if it is not held, LockNotOwnedError if it has expired."""
        token = self._token("release")
        self.local.token = self.local.fencing = None
        if not self._store.drop(token):
            raise LockNotOwnedError(f"The lock {self.name!r} has expired: it is not released.")

    def extend(self, additional_time: Any, replace_ttl: bool = False) -> bool:
        """Hold it for longer: ``additional_time`` more, or from now on with ``replace_ttl``."""
        token, seconds = self._token("extend"), lock_seconds(self.name, additional_time)
        if self.timeout is None or seconds is None:
            raise LockError(f"The lock {self.name!r} has no timeout, so it cannot be extended.")
        if not self._store.prolong(token, seconds, from_now=replace_ttl):
            raise LockNotOwnedError(f"The lock {self.name!r} has expired: it is not extended.")
        return True

    def reacquire(self) -> bool:
        """Hold it for its whole timeout from now on."""
        return self.extend(self.timeout, replace_ttl=True)

    def locked(self) -> bool:
        """Return whether any caller holds it."""
        return self._store.holder() is not None

    def owned(self) -> bool:
        """Return whether this object, in this thread, holds it."""
        token = getattr(self.local, "token", None)
        return token is not None and self._store.holder() == token

    def _token(self, what: str) -> str:
        token: str | None = getattr(self.local, "token", None)
        if token is None:
            raise LockError(f"The lock {self.name!r} is not held here: it cannot {what}.")
        return token

    def __enter__(self) -> Self:
        if not self.acquire():
            raise LockError(f"The lock {self.name!r} was not acquired in time.")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class AsyncLock:
    """A lock for async code, over one of the above or of redis-py's."""

    def __init__(self, lock: Any, perform: Callable[..., Awaitable[Any]]) -> None:
        """``perform`` runs a method without blocking the event loop."""
        self._lock, self._perform = lock, perform

    @property
    def fencing(self) -> int | None:
        return getattr(self._lock, "fencing", None)

    async def acquire(
        self,
        sleep: float | None = None,
        blocking: bool | None = None,
        blocking_timeout: float | None = None,
        token: str | None = None,
    ) -> bool:
        lock = self._lock
        sleep = lock.sleep if sleep is None else sleep
        blocking = lock.blocking if blocking is None else blocking
        limit = lock.blocking_timeout if blocking_timeout is None else blocking_timeout
        end = None if limit is None else time.monotonic() + limit
        while not await self._perform(lock.acquire, blocking=False, token=token):
            if not blocking or (end is not None and time.monotonic() + sleep > end):
                return False
            await asyncio.sleep(sleep)
        return True

    async def release(self) -> None:
        await self._perform(self._lock.release)

    async def extend(self, additional_time: Any, replace_ttl: bool = False) -> bool:
        return bool(await self._perform(self._lock.extend, additional_time, replace_ttl))

    async def reacquire(self) -> bool:
        return bool(await self._perform(self._lock.reacquire))

    async def locked(self) -> bool:
        return bool(await self._perform(self._lock.locked))

    async def owned(self) -> bool:
        return bool(await self._perform(self._lock.owned))

    async def __aenter__(self) -> Self:
        if not await self.acquire():
            raise LockError(f"The lock {self._lock.name!r} was not acquired in time.")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.release()


def lock_seconds(name: str, timeout: Any) -> float | None:
    """Return a lock's timeout in seconds."""
    seconds = as_seconds(timeout)
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or seconds <= 0:
        raise ValueError(f"The lock {name!r} has the timeout {timeout!r}. {HOW_TO_WRITE}, above 0.")
    return float(seconds)


class Held(NamedTuple):
    """A holder in this process. ``until``: of time.time(); ``math.inf``: no end."""

    token: str
    until: float


Place = tuple[str, str]  # a cache, and a key

_held: dict[Place, Held] = {}
_held_lock = ForkSafeLock()
_numbers = itertools.count(1)

# The parent's threads do not exist in a forked child.
os.register_at_fork(after_in_child=_held.clear)


def end_locks(cache: str) -> None:
    """End all locks of a cache, as its clear() does in Redis and in a table."""
    with _held_lock:
        for place in [one for one in _held if one[0] == cache]:
            del _held[place]


class ProcessLocks:
    """The holder of one lock, among the threads of this process."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def take(self, token: str, seconds: float | None) -> int | None:
        with _held_lock:
            if self.holder() is not None:
                return None
            until = float("inf") if seconds is None else time.time() + seconds
            _held[self._place] = Held(token, until)
            return next(_numbers)

    def prolong(self, token: str, seconds: float, *, from_now: bool) -> bool:
        with _held_lock:
            if self.holder() != token:
                return False
            since = time.time() if from_now else _held[self._place].until
            _held[self._place] = Held(token, since + seconds)
            return True

    def drop(self, token: str) -> bool:
        with _held_lock:
            if self.holder() != token:
                return False
            del _held[self._place]
            return True

    def holder(self) -> str | None:
        """Return the token of the holder; forget one whose time is over."""
        with _held_lock:
            held = _held.get(self._place)
            if held is not None and held.until <= time.time():
                del _held[self._place]
                return None
            return None if held is None else held.token
