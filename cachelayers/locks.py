"""Locks that a fork cannot leave held for ever. The lowest floor."""

from __future__ import annotations

import os
import threading
import weakref
from types import TracebackType


class ForkSafeLock:
    """A lock that begins free in a forked child, whoever held it in the parent.

    A plain lock held by another thread while the process forks is held for ever in the child,
    where that thread does not exist.
    """

    def __init__(self) -> None:
        """Begin free."""
        self._lock = threading.Lock()
        _all_locks.add(self)

    def acquire(self, *, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock; return whether it was had. ``timeout``: in seconds; below 0: none."""
        return self._lock.acquire(blocking=blocking, timeout=timeout)

    def release(self) -> None:
        """Give the lock back."""
        self._lock.release()

    def renew(self) -> None:
        """Forget who held it."""
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()


_all_locks: weakref.WeakSet[ForkSafeLock] = weakref.WeakSet()


def renew_all_locks() -> None:
    """Free every lock, in a child that has one thread only."""
    for lock in list(_all_locks):
        lock.renew()


os.register_at_fork(after_in_child=renew_all_locks)

_forks = 0


def fork_count() -> int:
    """Return how many forks lie between the first process and this one."""
    return _forks


def count_fork() -> None:
    """Count one, in the child."""
    global _forks  # noqa: PLW0603 - a number of the process
    _forks += 1


os.register_at_fork(after_in_child=count_fork)
