"""Each hit, miss, set, eviction and error is counted once, where it happens."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import caches
from django.db import connections
from django.test import override_settings

from cachelayers import arecall, recall, unit_of_work
from cachelayers.lookup import recall_by
from cachelayers.lookup.batches import Requested, peek_many, recall_many_after_peeking
from cachelayers.lookup.policy import make_policy
from cachelayers.utils import single_flight
from cachelayers.utils.counters import Figures, cell_of, figures_of_process
from cachelayers.utils.single_flight import Flight
from cachelayers.utils.tracing import tracing
from tests.layered.backends import server_of
from tests.settings import layered_cache, memory_cache
from tests.state import reset
from tests.statistics.helpers import counted, run_async, seconds_of


@pytest.mark.usefixtures("statistics_table")
@pytest.mark.parametrize("alias", ["memory", "sqlite"])
def test_a_cache_counts_each_look_and_each_value_it_stores(alias: str) -> None:
    cache = caches[alias]
    cache.clear()

    cache.set("a", 1)
    cache.set_many({"b": 2, "c": 3})
    cache.add("d", 4)
    cache.add("d", 5)
    cache.get("a")
    cache.get("absent")
    cache.get_many(["b", "c", "absent"])
    cache.has_key("a")

    assert counted(alias) == {"sets": 4, "hits": 3, "misses": 2}


def test_a_layered_cache_counts_in_the_layer_that_had_the_value(stack: str) -> None:
    cache: Any = caches[stack]
    cache.set("key", "value")
    with unit_of_work():
        cache.get("key")
        cache.get("absent")
    cache.state.drop_everything(cache.flows.locals)
    with unit_of_work():
        cache.get("key")
        cache.get("key")

    assert counted(stack, "counted-memory") == {"hits": 2, "misses": 2, "sets": 2}
    assert counted(stack, "counted-table") == {"hits": 1, "misses": 1, "sets": 1}
    assert counted(stack) == {"hits": 3, "misses": 1, "sets": 1}


def test_async_and_bulk_look_ups_are_counted_alike(stack: str) -> None:
    cache = caches[stack]
    cache.set_many({"a": 1, "b": 2})

    async def look() -> None:
        with unit_of_work():
            await cache.aget("a")
            await cache.aget("absent")
            await cache.aget_many(["a", "b", "absent"])

    run_async(look)

    assert counted(stack, "counted-memory")["hits"] == 3
    assert counted(stack) == {"hits": 3, "misses": 2, "sets": 2}


def test_an_eviction_is_counted_where_it_made_room() -> None:
    configured = {**memory_cache(), "OPTIONS": {"MAX_ENTRIES": 10}}
    with override_settings(CACHES={**settings.CACHES, "tiny": configured}):
        for number in range(25):
            caches["tiny"].set(str(number), number)

    assert counted("tiny") == {"sets": 25, "evictions": 15}


def test_an_error_of_a_layer_is_counted_under_its_own_alias() -> None:
    configured = {
        "stack": layered_cache("stack-memory", "stack-broken"),
        "stack-memory": memory_cache(),
        "stack-broken": {"BACKEND": "tests.layered.backends.WatchedCache", "LOCATION": "broken"},
    }
    with override_settings(CACHES={**settings.CACHES, **configured}):
        caches["stack-memory"].clear()  # other tests may have left entries there
        server_of("broken").is_down = True
        try:
            caches["stack"].get("key")
        finally:
            server_of("broken").is_down = False
            reset("backends.layered.circuit_breaker")

    assert counted("stack-broken") == {"errors": 1}
    assert counted("stack")["misses"] == 1


# Recalls


def test_a_recall_counts_what_it_got_and_the_time_that_it_saved(stack: str) -> None:
    def compute() -> int:
        time.sleep(0.02)
        return 1

    with unit_of_work():
        for _ in range(3):
            recall("counted:1", compute, using=stack)

    assert counted(stack) == {"misses": 1, "hits": 2, "sets": 1, "computed": 1, "fresh": 2}
    assert 0.02 <= seconds_of(stack, "computing_seconds") < 0.5
    assert seconds_of(stack, "saved_seconds") == pytest.approx(
        2 * seconds_of(stack, "computing_seconds")
    )


@pytest.mark.usefixtures("statistics_table")
@pytest.mark.parametrize("alias", ["memory", "sqlite"])
def test_a_second_look_before_computing_is_no_second_miss(alias: str) -> None:
    caches[alias].clear()

    recall("counted:2", lambda: 1, using=alias)

    assert counted(alias) == {"misses": 1, "sets": 1, "computed": 1}


@pytest.mark.usefixtures("statistics_table")
def test_a_stale_value_that_is_served_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    caches["sqlite"].clear()
    now = time.time()
    recall("counted:3", lambda: 1, using="sqlite", timeout=5, stale=600)
    monkeypatch.setattr(time, "time", lambda: now + 60)

    def find_stale() -> int:
        return recall("counted:3", lambda: 3, using="sqlite", timeout=5, stale=600)

    recall("counted:3", find_stale, using="sqlite", timeout=5, stale=600)

    assert counted("sqlite")["stale"] == 1
    assert counted("sqlite")["computed"] == 2


@pytest.mark.usefixtures("statistics_table")
def test_a_stale_value_that_its_caller_cannot_refresh_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caches["sqlite"].clear()
    now = time.time()
    policy = make_policy("counted:6", int, 5, 600, (), "sqlite", True)
    recall_by(policy, lambda: 1)
    monkeypatch.setattr(time, "time", lambda: now + 60)

    def fail() -> int:
        raise ValueError("it cannot be computed now")

    assert [recall_by(policy, fail) for _ in range(2)] == [1, 1]

    assert counted("sqlite")["stale"] == 2


def test_an_async_recall_is_counted_as_a_sync_one(stack: str) -> None:
    async def use() -> None:
        with unit_of_work():
            for _ in range(2):
                await arecall("counted:4", lambda: 1, using=stack)

    run_async(use)

    assert counted(stack) == {"misses": 1, "hits": 1, "sets": 1, "computed": 1, "fresh": 1}


def test_a_batch_is_counted_and_followed_entry_by_entry(stack: str) -> None:
    keys = [f"counted:batch-{number}" for number in range(3)]
    wanted = [
        Requested(make_policy(key, int, 60, 0, (), stack, True), partial(str, key)) for key in keys
    ]

    with unit_of_work(), tracing() as trace:
        assert (
            recall("counted:around", lambda: recall_many_after_peeking(wanted), using=stack) == keys
        )
        assert [value for value, _ in peek_many(stack, keys)] == keys

    assert counted(stack) == {"misses": 4, "hits": 3, "sets": 4, "computed": 4, "fresh": 3}
    followed = [(one.key, one.depth, one.outcome, one.why_missed) for one in trace.recalls]
    assert followed == [
        ("counted:around", 0, "computed", "absent"),
        *((key, 1, "computed", "absent") for key in keys),
        *((key, 0, "fresh", "") for key in keys),
    ]
    assert {one.layer for one in trace.recalls[4:]} == {"counted-memory"}


def test_who_waits_for_another_thread_has_joined_it(
    stack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_waiting = threading.Event()

    class Landed(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            is_waiting.set()
            return super().wait(timeout)

    class WatchedFlight(Flight):
        def __init__(self) -> None:
            super().__init__()
            self.completed = Landed()

    monkeypatch.setattr(single_flight, "Flight", WatchedFlight)
    is_computing = threading.Event()

    def compute() -> int:
        is_computing.set()
        assert is_waiting.wait(20)
        return 1

    first = in_thread(lambda: recall("counted:5", compute, using=stack))
    assert is_computing.wait(20)
    second = in_thread(lambda: recall("counted:5", compute, using=stack))
    first.join()
    second.join()

    assert counted(stack)["computed"] == 1
    assert counted(stack)["joined"] == 1
    assert seconds_of(stack, "saved_seconds") == 0  # it has waited as long


def in_thread(work: Callable[[], Any]) -> threading.Thread:
    def perform() -> None:
        try:
            work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=perform)
    thread.start()
    return thread


@pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="a build without the lock"
)
def test_threads_lose_no_count() -> None:
    cache = caches["memory"]
    cache.set("key", 1)

    def look() -> None:
        own = caches["memory"]
        for _ in range(20_000):
            own.get("key")

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [in_thread(look) for _ in range(4)]
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)

    assert counted("memory")["hits"] == 80_000


def test_hits_of_layers_are_hits_of_the_cache() -> None:
    cell_of("made", "upper").hits += 3
    cell_of("made", "lower").hits += 2

    assert figures_of_process()["made", ""] == Figures(hits=5)
