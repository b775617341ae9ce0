"""The async methods: no other thread for a hit, a layer's own async methods, no deadlock."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.cache import caches

from cachelayers import unit_of_work
from cachelayers.backends.layered.circuit_breaker import known_breakers
from tests.layered.conftest import MakeStack, Stack


def test_a_hit_in_memory_takes_no_other_thread(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask() -> Any:
        with unit_of_work():
            await stack.cache.aset("key", [1])
            monkeypatch.setattr(threading.Thread, "start", refuse)
            monkeypatch.setattr(asyncio.AbstractEventLoop, "run_in_executor", refuse)
            monkeypatch.setattr("asgiref.sync.SyncToAsync.__call__", refuse)
            return await stack.cache.aget("key"), await stack.cache.aget_many(["key"])

    assert async_to_sync(ask)() == ([1], {"key": [1]})


def refuse(*arguments: object, **keywords: object) -> None:
    raise AssertionError("another thread was asked")


def test_a_layer_s_own_async_methods_are_used(make_stack: MakeStack) -> None:
    stack = make_stack("AsyncWatchedCache")

    async def work() -> Any:
        await stack.cache.aget("nothing")  # one thread polls
        stack.upper.calls.clear()
        stack.lower.calls.clear()
        await stack.cache.aset("key", "value")
        caches[stack.layer("memory")].clear()
        found = await stack.cache.aget("key"), await stack.cache.aget_many(["key"])
        await stack.cache.aset_many({"a": 1})
        deleted = await stack.cache.adelete("key")
        await stack.cache.adelete_many(["a"])
        return found, deleted

    assert asyncio.run(work()) == (("value", {"key": "value"}), True)
    for server in (stack.upper, stack.lower):
        plain = [call for call in server.calls if call != "async"]
        assert server.calls.count("async") == len(plain) >= 4


def test_many_tasks_of_one_loop_poll_the_bus_without_a_deadlock(
    make_stack: MakeStack,
) -> None:
    stack = make_stack("AsyncWatchedCache")

    async def page(number: int) -> int:
        with unit_of_work():
            await stack.cache.aset(f"key-{number}", number)
            found: int = await stack.cache.aget(f"key-{number}")
            return found

    async def site() -> list[int]:
        return await asyncio.gather(*(page(number) for number in range(100)))

    assert asyncio.run(asyncio.wait_for(site(), 20)) == list(range(100))


def test_a_busy_loop_is_no_reason_to_skip_a_layer(make_stack: MakeStack) -> None:
    """The calls of its tasks take long, though the layer answers at once."""
    stack = make_stack("AsyncWatchedCache", TIME_LIMIT=0.02)

    async def page(number: int) -> None:
        await stack.cache.aset(f"key-{number}", number)
        busy_until = time.thread_time() + 0.02
        while time.thread_time() < busy_until:
            pass
        await stack.cache.aget(f"nothing-{number}")

    async def site() -> None:
        await asyncio.gather(*(page(number) for number in range(20)))

    asyncio.run(site())

    layers = stack.layer("upper"), stack.layer("lower")
    assert [known_breakers()[layer].failures for layer in layers] == [0, 0]


def test_a_cancelled_task_blocks_no_other(make_stack: MakeStack) -> None:
    stack = make_stack("AsyncWatchedCache")

    async def site() -> Any:
        task = asyncio.create_task(stack.cache.aget("key"))
        await asyncio.sleep(0)  # it has begun to read the epochs, and waits
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await stack.cache.aset("key", 1)
        return await stack.cache.aget("key")

    assert asyncio.run(asyncio.wait_for(site(), 20)) == 1


def test_every_method_has_a_twin_that_does_the_same(stack: Stack) -> None:
    async def work() -> list[Any]:
        cache = stack.cache
        return [
            await cache.aadd("number", 1),
            await cache.aadd("number", 2),
            await cache.aincr("number", 4),
            await cache.adecr("number"),
            await cache.atouch("number", 50),
            await cache.ahas_key("number"),
            await cache.aget_or_set("other", lambda: "made"),
            await cache.aincr_version("other"),
            await cache.aget("other", version=2),
            await cache.aclear(),  # type: ignore[func-returns-value]
            await cache.aget("number"),
        ]

    assert asyncio.run(work()) == [
        *(True, False, 5, 4, True, True),
        *("made", 2, "made", None, None),
    ]
