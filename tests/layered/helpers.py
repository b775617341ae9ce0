"""Helpers of several tests of LayeredCache: act as another process, empty memory, read the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.cache import caches
from django.db import connection

from cachelayers.backends.layered.bus import Events
from cachelayers.invalidation.dialects import LOG
from tests.layered.conftest import Stack
from tests.state import another_process


def ignore(events: Events) -> None:
    """Take events and do nothing."""


def elsewhere(stack: Stack, change: Callable[[Any], object]) -> None:
    """Change the shared layers as another process, with a state of its own."""
    cache = caches[stack.alias]
    with another_process("backends.layered.state"):
        del caches[stack.alias]
        try:
            change(stack.cache)
        finally:
            caches[stack.alias] = cache


def forget_entries(cache: Any) -> None:
    cache.state.drop_everything(cache.flows.locals)


def logged(stack: Stack) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT tag FROM {LOG} WHERE tag LIKE %s", [f"key:{stack.alias}:%"])
        return [tag.removeprefix(f"key:{stack.alias}:") for (tag,) in cursor.fetchall()]
