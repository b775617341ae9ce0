"""Of many callers of get_or_set() that miss one key, one computes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.db import connections
from pytest_django.plugin import DjangoDbBlocker

from cachelayers.conf import package_settings
from tests.conftest import empty_cache

CALLERS = 16


@pytest.fixture(params=["memory", "sqlite", "memory_table"])
def cache(
    request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[BaseCache]:
    with django_db_blocker.unblock():
        yield empty_cache(request.param)


def alias_of(cache: Any) -> str:
    return str(cache.alias)


def test_threads_that_miss_one_key_compute_once(cache: BaseCache) -> None:
    computed, all_here = [], threading.Barrier(CALLERS)

    def compute() -> str:
        computed.append(1)
        time.sleep(0.1)
        return "value"

    def call(_: int) -> Any:
        all_here.wait(20)
        try:
            return caches[alias_of(cache)].get_or_set("cold", compute, 60)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(CALLERS) as pool:
        found = list(pool.map(call, range(CALLERS)))

    assert found == ["value"] * CALLERS
    assert computed == [1]


def test_tasks_that_miss_one_key_compute_once(cache: BaseCache) -> None:
    computed: list[int] = []

    def compute() -> str:
        computed.append(1)
        return "value"

    async def call_all() -> list[Any]:
        calls = (cache.aget_or_set("cold", compute, 60) for _ in range(CALLERS))
        return list(await asyncio.gather(*calls))

    began = time.monotonic()

    assert asyncio.run(call_all()) == ["value"] * CALLERS
    assert computed == [1]
    # no caller waits for the whole lease
    assert time.monotonic() - began < package_settings().LEASE_SECONDS / 2


def test_after_a_failed_compute_the_next_caller_computes(cache: BaseCache) -> None:
    def fail() -> str:
        raise ConnectionRefusedError

    with pytest.raises(ConnectionRefusedError):
        cache.get_or_set("cold", fail)

    assert cache.get_or_set("cold", lambda: "value") == "value"


def test_a_compute_may_ask_for_its_own_key(cache: BaseCache) -> None:
    began = time.monotonic()

    found = cache.get_or_set("cold", lambda: cache.get_or_set("cold", lambda: "inner"))

    assert found == "inner"
    assert time.monotonic() - began < 5


def test_none_and_plain_defaults_are_as_in_django(cache: BaseCache) -> None:
    assert cache.get_or_set("none", lambda: None) is None
    assert cache.get("none", "missing") is None
    assert cache.get_or_set("plain", "default") == "default"
    assert asyncio.run(cache.aget_or_set("anone", lambda: None)) is None
    assert asyncio.run(cache.aget("anone", "missing")) is None
    assert asyncio.run(cache.aget_or_set("aplain", "default")) == "default"
