"""Locks that are free in a forked child, and a gate that delays forks.

Everything in this package that has a lock uses it.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import TracebackType
from typing import Any

from django.core.cache import CacheHandler, caches
from django.core.cache.backends.base import BaseCache

_Lock: Any = type(threading.RLock())


class ForkSafeLock(_Lock):  # type: ignore[misc] # the stubs call it final, which it is not
    """A lock that is free in a forked child, even if another thread held it in the parent.

    In the child, a plain lock would stay locked, because the thread that held it does not exist
    there. The lock is reentrant: a signal handler may run while its own thread holds it. Its
    methods are the interpreter's own, so an exception of a signal handler cannot come between
    taking the lock and the block that releases it.
    """

    def __init__(self) -> None:
        _all_locks.add(self)

    def renew(self) -> None:
        """Release it, whoever held it."""
        self._at_fork_reinit()

    def is_held_here(self) -> bool:
        """Return whether this thread holds it."""
        return bool(self._is_owned())


_all_locks: weakref.WeakSet[ForkSafeLock] = weakref.WeakSet()


def renew_all_locks() -> None:
    """Release every lock, in a child that has only one thread."""
    for lock in list(_all_locks):
        lock.renew()


os.register_at_fork(after_in_child=renew_all_locks)

MOST_SECONDS_BEFORE_FORK = 1.0


class ForkGate:
    """Delays forks while any thread is in a block whose locks a child must not inherit.

    SQLite's library and Django's cache handler have locks of their own, which a fork would leave
    locked in the child.
    """

    def __init__(self) -> None:
        self.renew()
        os.register_at_fork(before=self.close, after_in_parent=self.open, after_in_child=self.renew)

    def renew(self) -> None:
        """Forget the threads inside, which do not exist in the child."""
        self._changed = threading.Condition()
        self._inside: dict[int, int] = {}

    def close(self) -> None:
        """Wait, at most a second, until no other thread is inside, and let none in."""
        self._changed.acquire()
        own = threading.get_ident()
        self._changed.wait_for(
            lambda: not self._inside.keys() - {own}, timeout=MOST_SECONDS_BEFORE_FORK
        )

    def open(self) -> None:
        self._changed.release()

    def __enter__(self) -> None:
        own = threading.get_ident()
        with self._changed:
            self._inside[own] = self._inside.get(own, 0) + 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        own = threading.get_ident()
        with self._changed:
            left = self._inside.get(own, 1) - 1
            if left:
                self._inside[own] = left
            else:
                self._inside.pop(own, None)
                self._changed.notify_all()


_no_fork = ForkGate()


def no_fork_within(vendor: str) -> AbstractContextManager[None]:
    """Return a block in which no other thread forks, for a statement on a vendor's database."""
    return _no_fork if vendor == "sqlite" else nullcontext()


def cache_of(alias: str) -> BaseCache:
    """Return this thread's cache object of an alias.

    Django's handler holds a lock of its own while it creates one.
    """
    with _no_fork:
        return (_handlers[-1] if _handlers else caches)[alias]


_handlers: list[CacheHandler] = []


@contextmanager
def caches_replaced(handler: CacheHandler) -> Iterator[None]:
    """Have ``cache_of`` take the caches of another handler in the block."""
    _handlers.append(handler)
    try:
        yield
    finally:
        _handlers.remove(handler)


_forks = 0


def fork_count() -> int:
    """Return the number of forks between the first process and this one."""
    return _forks


def count_fork() -> None:
    global _forks  # noqa: PLW0603 - a number of the process
    _forks += 1


os.register_at_fork(after_in_child=count_fork)
