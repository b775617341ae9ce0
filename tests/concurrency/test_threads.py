"""Threads of one process that use the same keys."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.db import connections

from tests.concurrency.conftest import SHARED_BY_PROCESSES

# Without the database in memory: it belongs to one thread at a time.
pytestmark = pytest.mark.parametrize("cache_alias", SHARED_BY_PROCESSES, indirect=True)

THREADS = 8


def in_threads(alias: str, work: Callable[[BaseCache, int], Any]) -> list[Any]:
    """Run ``work`` in threads that begin together, each with its own cache object."""
    gate = threading.Barrier(THREADS)

    def run(number: int) -> Any:
        gate.wait(30)
        try:
            return work(caches[alias], number)
        finally:
            caches[alias].close()
            connections.close_all()

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, range(THREADS)))


def test_eight_threads_of_fifty_incr_make_four_hundred(cache: BaseCache, cache_alias: str) -> None:
    cache.set("counter", 0)

    sums = in_threads(cache_alias, lambda own, _: [own.incr("counter") for _ in range(50)])

    assert cache.get("counter") == 400
    assert sorted(number for some in sums for number in some) == list(range(1, 401))


def test_counters_up_and_down_meet_in_the_middle(cache: BaseCache, cache_alias: str) -> None:
    cache.set("counter", 0)

    def work(own: BaseCache, number: int) -> None:
        for _ in range(25):
            (own.incr if number % 2 else own.decr)("counter", 3)

    in_threads(cache_alias, work)

    assert cache.get("counter") == 0


def test_numbers_beyond_64_bits_lose_no_count_either(cache: BaseCache, cache_alias: str) -> None:
    cache.set("counter", 2**63 - 40)

    in_threads(cache_alias, lambda own, _: [own.incr("counter") for _ in range(10)])

    assert cache.get("counter") == 2**63 + 40


def test_exactly_one_thread_adds(cache: BaseCache, cache_alias: str) -> None:
    added = in_threads(
        cache_alias, lambda own, number: [own.add(f"key-{key}", number) for key in range(20)]
    )

    winners = [sum(column) for column in zip(*added, strict=True)]
    assert winners == [1] * 20


def test_exactly_one_thread_adds_over_an_expired_entry(cache: BaseCache, cache_alias: str) -> None:
    cache.set_many({f"key-{key}": "old" for key in range(20)}, timeout=0.001)
    while cache.get_many([f"key-{key}" for key in range(20)]):
        pass

    added = in_threads(
        cache_alias, lambda own, number: [own.add(f"key-{key}", number) for key in range(20)]
    )

    winners = [sum(column) for column in zip(*added, strict=True)]
    assert winners == [1] * 20


def test_threads_read_what_they_wrote(cache: BaseCache, cache_alias: str) -> None:
    def work(own: BaseCache, number: int) -> list[bool]:
        outcome = []
        for step in range(40):
            own.set(f"own-{number}", [number, step])
            own.set("shared", [number, step])
            outcome.append(own.get(f"own-{number}") == [number, step])
        return outcome

    results = in_threads(cache_alias, work)

    assert all(all(some) for some in results)


def test_one_cache_object_may_be_shared_by_threads(cache: BaseCache, cache_alias: str) -> None:
    cache.set("counter", 0)

    in_threads(cache_alias, lambda _, __: [cache.incr("counter") for _ in range(20)])

    assert cache.get("counter") == 160


@pytest.mark.usefixtures("cache")
def test_threads_come_and_go_without_leaving_connections_behind(cache_alias: str) -> None:
    for _ in range(5):
        in_threads(cache_alias, lambda own, number: own.set(f"key-{number}", number))

    assert caches[cache_alias].get("key-7") == 7
