"""Every async method does the same as its sync method."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.cache.backends.base import BaseCache

from tests.contract.fixtures import Clock, every_backend

pytestmark = every_backend


def run(steps: Callable[[], Awaitable[Any]]) -> Any:
    # Through async_to_sync the sync parts run on this thread, and so on this thread's connections.
    return async_to_sync(steps)()


def test_aset_and_aget(cache: BaseCache) -> None:
    async def steps() -> tuple[Any, Any]:
        await cache.aset("answer", 42)
        return await cache.aget("answer"), await cache.aget("nobody", "default")

    assert run(steps) == (42, "default")
    assert cache.get("answer") == 42


def test_aset_honours_timeout_and_version(cache: BaseCache, clock: Clock) -> None:
    async def steps() -> None:
        await cache.aset("answer", 42, 10, 2)

    run(steps)

    assert cache.get("answer") is None
    assert cache.get("answer", version=2) == 42
    clock.advance(11)
    assert cache.get("answer", version=2) is None


def test_aadd(cache: BaseCache) -> None:
    async def steps() -> tuple[bool, bool]:
        return await cache.aadd("answer", 42), await cache.aadd("answer", 43)

    assert run(steps) == (True, False)
    assert cache.get("answer") == 42


def test_atouch(cache: BaseCache, clock: Clock) -> None:
    cache.set("answer", 42, timeout=10)

    async def steps() -> tuple[bool, bool]:
        return await cache.atouch("answer", 100), await cache.atouch("nobody")

    assert run(steps) == (True, False)
    clock.advance(50)
    assert cache.get("answer") == 42


def test_adelete(cache: BaseCache) -> None:
    cache.set("answer", 42)

    async def steps() -> tuple[bool, bool]:
        return await cache.adelete("answer"), await cache.adelete("answer")

    assert run(steps) == (True, False)
    assert cache.get("answer") is None


def test_ahas_key(cache: BaseCache) -> None:
    cache.set("nothing", None)

    async def steps() -> tuple[bool, bool]:
        return await cache.ahas_key("nothing"), await cache.ahas_key("nobody")

    assert run(steps) == (True, False)


def test_aincr_and_adecr(cache: BaseCache) -> None:
    cache.set("counter", 40)

    async def steps() -> tuple[int, int]:
        return await cache.aincr("counter", 5), await cache.adecr("counter", 3)

    assert run(steps) == (45, 42)
    assert cache.get("counter") == 42


@pytest.mark.parametrize("operation", ["aincr", "adecr", "aincr_version", "adecr_version"])
def test_async_counting_of_a_missing_key_is_a_value_error(cache: BaseCache, operation: str) -> None:
    async def steps() -> None:
        await getattr(cache, operation)("nobody")

    with pytest.raises(ValueError, match="nobody"):
        run(steps)


def test_aincr_keeps_the_expiry(cache: BaseCache, clock: Clock) -> None:
    cache.set("counter", 1, timeout=10)

    async def steps() -> None:
        await cache.aincr("counter")

    run(steps)
    clock.advance(11)

    assert cache.get("counter") is None


def test_concurrent_aincr_calls_lose_no_count(cache: BaseCache) -> None:
    cache.set("counter", 0)

    async def steps() -> None:
        await asyncio.gather(*(cache.aincr("counter") for _ in range(50)))

    run(steps)

    assert cache.get("counter") == 50


def test_aget_or_set(cache: BaseCache) -> None:
    calls: list[int] = []

    def compute() -> int:
        calls.append(1)
        return 42

    async def steps() -> tuple[Any, Any]:
        return await cache.aget_or_set("answer", compute), await cache.aget_or_set(
            "answer", compute
        )

    assert run(steps) == (42, 42)
    assert len(calls) == 1


def test_async_bulk_operations(cache: BaseCache) -> None:
    values = {f"key-{number}": number for number in range(250)}

    async def steps() -> tuple[list[str], dict[str, Any], dict[str, Any]]:
        failed = await cache.aset_many(values)
        found = await cache.aget_many(values)
        await cache.adelete_many(values)
        return failed, found, await cache.aget_many(values)

    assert run(steps) == ([], values, {})


def test_async_bulk_operations_honour_timeout_and_version(cache: BaseCache, clock: Clock) -> None:
    async def steps() -> None:
        await cache.aset_many({"a": 1, "b": 2}, timeout=10, version=2)
        await cache.adelete_many(["b"], version=2)

    run(steps)

    assert cache.get_many(["a", "b"], version=2) == {"a": 1}
    clock.advance(11)
    assert cache.get_many(["a", "b"], version=2) == {}


def test_aincr_version_and_adecr_version(cache: BaseCache) -> None:
    cache.set("answer", 42)

    async def steps() -> tuple[int, int]:
        up = await cache.aincr_version("answer", 4)
        down = await cache.adecr_version("answer", 2, version=5)
        return up, down

    assert run(steps) == (5, 3)
    assert cache.get("answer", version=3) == 42
    assert cache.get("answer", version=5) is None


def test_aclear_and_aclose(cache: BaseCache) -> None:
    cache.set("answer", 42)

    async def steps() -> None:
        await cache.aclear()
        await cache.aclose()

    run(steps)

    assert cache.get("answer") is None


def test_a_cache_works_in_an_event_loop(cache: BaseCache) -> None:
    async def steps() -> list[Any]:
        await asyncio.gather(*(cache.aset(f"key-{number}", number) for number in range(20)))
        return await asyncio.gather(*(cache.aget(f"key-{number}") for number in range(20)))

    assert run(steps) == list(range(20))
