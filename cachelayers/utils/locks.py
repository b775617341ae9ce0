"""Locks that a fork cannot leave held for ever. The lowest floor."""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any

from django.core.cache import caches
from django.core.cache.backends.base import BaseCache

_Lock: Any = type(threading.RLock())


class ForkSafeLock(_Lock):  # type: ignore[misc] # the stubs call it final, which it is not
    """A lock that begins free in a forked child, whoever held it in the parent.

    A plain lock held by another thread while the process forks is held for ever in the child,
    where that thread does not exist. A thread that holds it may take it again: a signal handler
    runs in the middle of whatever it interrupts. Its methods are the interpreter's own: what such a
    handler raises cannot come between taking it and the block that gives it back.
    """

    def __init__(self) -> None:
        """Begin free."""
        _all_locks.add(self)

    def renew(self) -> None:
        """Forget who held it."""
        self._at_fork_reinit()

    def is_held_here(self) -> bool:
        """Tell whether this thread holds it."""
        return bool(self._is_owned())


_all_locks: weakref.WeakSet[ForkSafeLock] = weakref.WeakSet()


def renew_all_locks() -> None:
    """Free every lock, in a child that has one thread only."""
    for lock in list(_all_locks):
        lock.renew()


os.register_at_fork(after_in_child=renew_all_locks)

MOST_SECONDS_BEFORE_FORK = 1.0


class ForkGate:
    """Keeps the process from forking while any thread is in a block that no child may inherit.

    SQLite's library and Django's cache handler have locks of their own, which a fork leaves held
    in the child.
    """

    def __init__(self) -> None:
        """Begin with nobody inside."""
        self.renew()
        os.register_at_fork(before=self.close, after_in_parent=self.open, after_in_child=self.renew)

    def renew(self) -> None:
        """Forget who was inside, in a child where they are not."""
        self._changed = threading.Condition()
        self._inside: dict[int, int] = {}

    def close(self) -> None:
        """Wait until all others are outside, though not for long, and let none in."""
        self._changed.acquire()
        own = threading.get_ident()
        self._changed.wait_for(
            lambda: not self._inside.keys() - {own}, timeout=MOST_SECONDS_BEFORE_FORK
        )

    def open(self) -> None:
        """Let them in again."""
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
    """Return a block in which no other thread forks, for a statement on a database of a vendor."""
    return _no_fork if vendor == "sqlite" else nullcontext()


def cache_of(alias: str) -> BaseCache:
    """Return the cache of an alias, of which each thread has an object.

    Django's handler holds a lock of its own while it looks for it.
    """
    with _no_fork:
        return caches[alias]


_forks = 0


def fork_count() -> int:
    """Return how many forks lie between the first process and this one."""
    return _forks


def count_fork() -> None:
    """Count one, in the child."""
    global _forks  # noqa: PLW0603 - a number of the process
    _forks += 1


os.register_at_fork(after_in_child=count_fork)
