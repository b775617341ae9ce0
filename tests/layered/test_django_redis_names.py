"""The methods of django-redis act on all layers, and on the memory of other processes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import redis.lock
from django.conf import settings
from django.core.cache import caches
from django.test import override_settings

from cachelayers import unit_of_work
from cachelayers.backends.layered import bus
from cachelayers.exceptions import CacheUnavailable, NotSupported
from tests.contract.fixtures import Clock
from tests.layered.conftest import MakeStack, Stack, forget_processes
from tests.layered.helpers import elsewhere, forget_entries
from tests.settings import layered_cache, memory_cache, patient
from tests.state import reset

BUSES = {"memory-table": "log", "memory-redis-table": "redis"}
each_bus = pytest.mark.parametrize(
    "cache",
    ["memory-table", pytest.param("memory-redis-table", marks=pytest.mark.redis)],
    indirect=True,
)
with_redis = pytest.mark.parametrize(
    "cache", [pytest.param("memory-redis-table", marks=pytest.mark.redis)], indirect=True
)


@pytest.fixture
def cache(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[Any]:
    aliases = {"memory": "names-memory", "table": "sqlite"}
    layers = [aliases.get(name, name) for name in request.param.split("-")]
    configured = {
        "names": patient(layered_cache(*layers, bus=BUSES[request.param])),
        "names-memory": memory_cache(),
    }
    with override_settings(CACHES={**settings.CACHES, **configured}):
        caches["names"].clear()
        yield caches["names"]
        caches["names"].clear()
        reset("backends.layered.circuit_breaker")
        forget_processes()


def fail(*arguments: Any) -> None:
    raise ConnectionError("it is gone")


def in_another_process(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    stack = Stack("names", None, None)  # type: ignore[arg-type]
    with monkeypatch.context() as patched:
        patched.setattr(bus, "_token", "another process")
        elsewhere(stack, change)


@each_bus
def test_a_deleted_pattern_does_not_come_back_from_another_process(
    cache: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.set_many({"car:1": 1, "car:2": 2, "bus:1": 3})
    with unit_of_work():
        assert cache.get_many(["car:1", "car:2"]) == {"car:1": 1, "car:2": 2}
    counts: list[int] = []

    in_another_process(monkeypatch, lambda other: counts.append(other.delete_pattern("car:*")))

    assert counts == [2]
    with unit_of_work():
        assert cache.get_many(["car:1", "car:2", "bus:1"]) == {"bus:1": 3}


@each_bus
def test_what_only_a_memory_has_is_deleted_too(cache: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.set("car:1", 1)
    for layer in cache.flows.shared:  # as if they had evicted it
        layer.clear_names(cache.state.heads[layer.alias])
    assert cache.get("car:1") == 1

    in_another_process(monkeypatch, lambda other: other.delete_pattern("car:*"))

    with unit_of_work():
        assert cache.get("car:1") is None


@with_redis
def test_what_only_an_upper_layer_has_is_deleted_and_counted(cache: Any) -> None:
    cache.set_many({"car:1": "one", "car:2": "two"})
    lowest = cache.flows.shared[-1]
    lowest.delete_many([f"{cache.state.heads[lowest.alias]}:1:car:1"])

    assert cache.delete_pattern("car:*", itersize=1) == 2
    assert cache.get_many(["car:1", "car:2"]) == {}


@with_redis
def test_a_layer_that_cannot_be_searched_now_is_not_read_again(
    cache: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.set("car:1", 1)
    layer = cache.flows.shared[0]
    with monkeypatch.context() as patched:
        patched.setattr(layer, "next_page", fail)
        assert cache.delete_pattern("car:*") == 1

    layer.breaker.close()
    forget_entries(cache)
    assert cache.get("car:1") is None


@each_bus
def test_a_search_that_fails_raises_and_the_layer_stays_in_use(
    cache: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.set("car:1", 1)
    layer = cache.flows.shared[-1]
    with monkeypatch.context() as patched:
        patched.setattr(layer, "next_page", fail)
        with pytest.raises(CacheUnavailable, match=layer.name):
            cache.keys("*")

    layer.breaker.close()
    forget_entries(cache)
    assert cache.get("car:1") == 1


@each_bus
def test_keys_with_digests_are_deleted_and_cannot_be_listed(
    cache: Any, caplog: pytest.LogCaptureFixture
) -> None:
    cache.set_many({"car:ключ": 1, "car:" + "x" * 200: 2, "bus:ключ": 3, "car:1": 4})

    with caplog.at_level(logging.WARNING, "cachelayers.backends.layered"):
        assert cache.keys("*") == ["car:1"]

    assert "keys() leaves out" in caplog.text
    assert cache.delete_pattern("car:*ч") == 2  # the long one may end so
    assert cache.get("bus:ключ") == 3
    assert cache.get("car:1") == 4


@each_bus
def test_the_time_to_live_is_that_of_the_shared_layers(cache: Any, clock: Clock) -> None:
    cache.set("answer", 42, 3_600)

    assert cache.get("answer") == 42
    assert cache.ttl("answer") == 3_600
    assert cache.expire("answer", 7_200)
    assert cache.get("answer") == 42
    assert cache.ttl("answer") == 7_200


@each_bus
def test_one_layer_decides_on_nx_and_xx(cache: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with unit_of_work():
        assert cache.get("answer") is None
    in_another_process(monkeypatch, lambda other: other.set("answer", "theirs"))

    assert cache.set("answer", "ours", nx=True) is False
    assert cache.set("answer", "ours", xx=True) is True
    with unit_of_work():
        assert cache.get("answer") == "ours"
    in_another_process(monkeypatch, lambda other: other.delete("answer"))
    assert cache.set("answer", "again", xx=True) is False
    with unit_of_work():
        assert cache.get("answer") is None


@with_redis
def test_with_a_redis_it_is_redis_s_own_lock(cache: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = cache.lock("door", timeout=10)
    taken: list[bool] = []

    assert isinstance(lock, redis.lock.Lock)
    with lock:
        in_another_process(
            monkeypatch,
            lambda other: taken.append(other.lock("door").acquire(blocking=False)),
        )
        assert cache.keys("*") == []
    assert taken == [False]


def test_a_layer_that_cannot_says_so_by_its_name(stack: Stack, make_stack: MakeStack) -> None:
    cache: Any = stack.cache
    cache.set("car:1", 1)

    for call in (cache.keys, cache.delete_pattern, cache.lock):
        with pytest.raises(NotSupported, match=stack.layer("lower")):
            call("car:*")
    assert cache.set("car:1", 2, xx=True) is True
    assert cache.ttl("car:1") == 300
    alone: Any = make_stack(layers=("memory", "upper")).cache
    with pytest.raises(NotSupported, match="upper"):
        alone.delete_pattern("*")


@pytest.mark.redis
def test_the_redis_layer_of_django_has_no_sets(transactional_db: None) -> None:
    cache: Any = caches["core_redis_table"]

    assert not hasattr(cache, "sadd")
    with pytest.raises(AttributeError, match="'core_redis' of CACHES"):
        cache.sadd("letters", "a")
    assert isinstance(cache.lock("door"), redis.lock.Lock)


@pytest.mark.redis
def test_a_raw_connection_is_the_redis_layers(transactional_db: None) -> None:
    from django_redis import get_redis_connection

    assert get_redis_connection("redis_table").ping() is True
    with pytest.raises(NotImplementedError):
        get_redis_connection("memory_table")
