"""What is being computed in this process, for backends that must not import the log.

``MemoryCache`` works in projects that do not have the app in INSTALLED_APPS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

running_captures: dict[int, Any] = {}  # by id; almost always empty, which is quick to ask
_listeners: list[Callable[[str], None]] = []


def note_plain_get(cache: str) -> None:
    """Tell whoever captures that a cache was asked by hand. ``cache``: the alias."""
    for listener in _listeners:
        listener(cache)


def listen_to_plain_gets(listener: Callable[[str], None]) -> None:
    """Have a function called at each of them, once however often this is called."""
    if listener not in _listeners:
        _listeners.append(listener)
