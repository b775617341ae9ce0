"""Tell running captures that a cache is read.

The backends call it, and `invalidation` listens: neither imports the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

running_captures: dict[int, Any] = {}  # by id; almost always empty, which is cheap to check
_listeners: list[Callable[[str], None]] = []
_is_own_read: ContextVar[bool] = ContextVar("cachelayers_is_own_read", default=False)


@contextmanager
def own_read() -> Iterator[None]:
    """Mark the reads of a cache in the block as ours: they yield entries with dependencies.

    It is a context variable, because others (such as tracing tools) may have wrapped the cache's
    methods, and because async code calls them in a thread.
    """
    token = _is_own_read.set(True)
    try:
        yield
    finally:
        _is_own_read.reset(token)


def is_own_read() -> bool:
    """Return whether the running read is marked by own_read()."""
    return _is_own_read.get()


def note_plain_get(cache: str) -> None:
    """Call the listeners: code outside this package reads a cache. ``cache``: the alias."""
    for listener in _listeners:
        listener(cache)


def listen_to_plain_gets(listener: Callable[[str], None]) -> None:
    """Call a function at each of these reads. Further calls with the same function do nothing."""
    if listener not in _listeners:
        _listeners.append(listener)
