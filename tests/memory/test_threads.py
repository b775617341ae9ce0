"""Many threads, forks during writes, and async code that stays on its thread."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.test import override_settings

from cachelayers.backends import MemoryCache
from tests.conftest import empty_cache
from tests.memory.test_bounds import expect_sound

THREADS = 8


def test_threads_count_exactly_and_add_once() -> None:
    cache = empty_cache("memory")
    cache.set("count", 0)
    all_here = threading.Barrier(THREADS)

    def work(number: int) -> int:
        mine = caches["memory"]
        all_here.wait(20)
        for _ in range(500):
            mine.incr("count")
        return sum(mine.add(f"once-{step}", number) for step in range(100))

    with ThreadPoolExecutor(THREADS) as pool:
        added = list(pool.map(work, range(THREADS)))

    assert cache.get("count") == 500 * THREADS
    assert sum(added) == 100


def test_threads_that_fill_a_small_cache_leave_it_consistent() -> None:
    with override_settings(CACHES={"small": small(30_000)}):
        cache = caches["small"]

        def work(seed: int) -> None:
            mine = caches["small"]
            for step in range(2000):
                name = f"key-{(step * 7 + seed * 13) % 200}"
                if step % 5 == 0:
                    mine.delete(name)
                elif step % 3:
                    mine.set(name, f"{name} {'x' * (step % 900)}")
                found = mine.get(name)
                assert found is None or found.startswith(name + " ")

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(work, range(THREADS)))

        assert isinstance(cache, MemoryCache)
        expect_sound(cache.store)


def small(max_bytes: int) -> dict[str, Any]:
    return {
        "BACKEND": "cachelayers.backends.MemoryCache",
        "LOCATION": "small",
        "OPTIONS": {"MAX_BYTES": max_bytes},
    }


def test_a_child_forked_during_writes_works() -> None:
    with override_settings(CACHES={"forked": {**small(50_000), "LOCATION": "forked"}}):
        stop = threading.Event()

        def write() -> None:
            mine, number = caches["forked"], 0
            while not stop.is_set():
                number += 1
                mine.set(f"key-{number % 300}", "x" * (number % 500))
                mine.delete(f"key-{(number * 3) % 300}")

        writers = [threading.Thread(target=write) for _ in range(2)]
        for writer in writers:
            writer.start()
        try:
            statuses = [fork_and_use(caches["forked"]) for _ in range(30)]
        finally:
            stop.set()
            for writer in writers:
                writer.join(20)

    assert statuses == [0] * 30


def fork_and_use(cache: BaseCache) -> int:
    child = os.fork()
    if child == 0:
        try:
            assert isinstance(cache, MemoryCache)
            expect_sound(cache.store)
            cache.set("of-the-child", 1)
            os._exit(0 if cache.incr("of-the-child") == 2 else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Traveller:
    """Records the threads in which it was pickled."""

    threads: list[int] = []

    def __reduce__(self) -> tuple[type, tuple[()]]:
        self.threads.append(threading.get_ident())
        return Traveller, ()


def test_async_calls_stay_on_the_thread_of_the_loop() -> None:
    cache = empty_cache("memory")
    Traveller.threads.clear()

    async def use() -> int:
        await cache.aset("one", Traveller())
        await cache.aset_many({"two": Traveller()})
        await cache.aadd("three", Traveller())
        assert await cache.aget("one") is not None
        assert len(await cache.aget_many(["one", "two", "three"])) == 3
        assert await cache.adelete("one")
        return threading.get_ident()

    loop_thread = asyncio.run(use())

    assert Traveller.threads == [loop_thread] * 3
