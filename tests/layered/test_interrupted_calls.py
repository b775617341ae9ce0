"""A signal's handler may end a call anywhere by raising; the process goes on as before."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.test import override_settings

from cachelayers.backends.layered import layers
from cachelayers.backends.layered.calls import Call
from cachelayers.backends.layered.layers.base import NEVER, LayerEntry
from cachelayers.invalidation.units import unit_of_work
from cachelayers.utils.locks import ForkSafeLock
from tests.interruptions import interrupt, interrupted_everywhere
from tests.layered.conftest import Stack


def is_free(lock: ForkSafeLock) -> bool:
    """Return whether another thread could take a lock now."""
    answers: list[bool] = []

    def take() -> None:
        answers.append(lock.acquire(blocking=False))
        if answers[0]:
            lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return answers[0]


CALLS: dict[str, Callable[[Any], Any]] = {
    "get": lambda cache: cache.get("key"),
    "set": lambda cache: cache.set("key", 0),
}


@pytest.mark.parametrize("call", CALLS)
def test_an_interrupted_call_leaves_no_lock_held_and_no_older_entry(
    stack: Stack, call: str
) -> None:
    cache: Any = stack.cache
    numbers = itertools.count(1)

    def prepare() -> Callable[[], Any]:
        cache.state.polled_at = float("-inf")  # it polls first
        return lambda: CALLS[call](cache)

    lines = []
    for line in interrupted_everywhere(prepare):
        lines.append(line)
        state, newest = cache.state, next(numbers)
        assert is_free(state.poll_lock), line
        assert is_free(state._lock), line
        with unit_of_work():
            cache.set("key", newest)
        with unit_of_work():
            assert cache.get("key") == newest, line

    assert len(lines) > 30


@pytest.mark.redis
@pytest.mark.parametrize("backend", ["django_redis", "core"])
def test_no_answer_of_a_redis_is_taken_for_that_of_another_command(
    redis_url: str, backend: str
) -> None:
    alias = f"cut-{backend}-{uuid4().hex}"
    paths = {
        "django_redis": "django_redis.cache.RedisCache",
        "core": "django.core.cache.backends.redis.RedisCache",
    }
    configured = {"BACKEND": paths[backend], "LOCATION": f"{redis_url}/0", "KEY_PREFIX": alias}
    with override_settings(CACHES={**settings.CACHES, alias: configured}):
        layer: Any = layers.make_layer(alias, 5.0)
    layer.stream = f"{alias}-stream"
    names = ["one", "two", "three"]
    entries = {name: LayerEntry(name, NEVER) for name in names}
    layer.write_many(entries)

    def prepare() -> Callable[[], Any]:
        return Call(layer, "write_many", 5.0, entries, b"event").run

    lines = 0
    for line in interrupted_everywhere(prepare, "read_response"):
        lines += 1
        for name in names:
            assert layer.read_many([name]) == {name: entries[name]}, line
    assert lines > len(names)
    layer.access.client().delete(layer.stream, *(layer.access.key(name) for name in names))


def test_a_lock_is_free_after_a_block_that_was_interrupted_anywhere() -> None:
    lock, number = ForkSafeLock(), 0

    def work() -> None:
        with lock:
            len("")

    while interrupt(work, number):
        assert is_free(lock)
        number += 1

    assert is_free(lock)
