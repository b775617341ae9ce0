"""Tell the captures that run here that a cache is read. Between the backends and `invalidation`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

running_captures: dict[int, Any] = {}  # by id; almost always empty, which is quick to ask
_listeners: list[Callable[[str], None]] = []
_is_own_read: ContextVar[bool] = ContextVar("cachelayers_is_own_read", default=False)


@contextmanager
def own_read() -> Iterator[None]:
    """Mark the reads of a cache in the block as ours: what they find tells what it was made of.

    A context variable, since others may have wrapped the cache's methods (tools that trace do), and
    async code calls them in a thread.
    """
    token = _is_own_read.set(True)
    try:
        yield
    finally:
        _is_own_read.reset(token)


def is_own_read() -> bool:
    """Tell whether a cache is read within such a block."""
    return _is_own_read.get()


def note_plain_get(cache: str) -> None:
    """Tell whoever captures that a cache was asked by hand. ``cache``: the alias."""
    for listener in _listeners:
        listener(cache)


def listen_to_plain_gets(listener: Callable[[str], None]) -> None:
    """Have a function called at each of them, once however often this is called."""
    if listener not in _listeners:
        _listeners.append(listener)
