"""Callers that meet between a read and a lease, or over a lease that ran out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.cache.backends.base import BaseCache
from django.db import connections
from pytest_django.plugin import DjangoDbBlocker

from cachelayers import recall
from cachelayers.lookup import refresh, steps
from tests.conftest import empty_cache

CALLERS = 8


@pytest.fixture(autouse=True)
def store(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[BaseCache]:
    with django_db_blocker.unblock():
        yield empty_cache("sqlite")


def recall_here(key: str, compute: Callable[[], Any], **options: Any) -> Any:
    return recall(key, compute, using="sqlite", **options)


def test_an_entry_stored_between_the_miss_and_the_lease_is_not_computed_again(
    before_lease: Callable[[Callable[[], Any]], None],
) -> None:
    before_lease(lambda: refresh("value", lambda: "by another", using="sqlite"))

    assert recall_here("value", lambda: "again") == "by another"


def test_an_entry_refreshed_between_the_read_and_the_lease_is_not_refreshed_again(
    before_lease: Callable[[Callable[[], Any]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[str] = []
    refresh("value", lambda: "old", using="sqlite", timeout=10, stale=600)
    real_time = time.time
    monkeypatch.setattr(time, "time", lambda: real_time() + 11)
    before_lease(lambda: refresh("value", lambda: "by another", using="sqlite", timeout=600))
    found = recall_here("value", lambda: computed.append("again"), timeout=10, stale=600)

    assert found == "by another"
    assert computed == []


def test_a_lease_that_ran_out_and_is_another_s_is_left_alone(
    store: BaseCache, settings: Any
) -> None:
    settings.CACHELAYERS = {**settings.CACHELAYERS, "LEASE_SECONDS": 0.05}

    def outlast_the_lease() -> None:
        while not store.add("value:lease", "another's", 60):
            time.sleep(0.005)

    recall_here("value", outlast_the_lease)

    assert store.get("value:lease") == "another's"


def test_the_threads_of_a_process_ask_for_one_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    take_lease = steps.TakeLease.run
    all_here = threading.Barrier(CALLERS)

    def count_and_take(step: steps.TakeLease) -> Any:
        asked.append(1)
        return take_lease(step)

    monkeypatch.setattr(steps.TakeLease, "run", count_and_take)
    waiting = threading.Semaphore(0)

    def compute_when_all_wait() -> str:
        for _ in range(CALLERS - 1):
            assert waiting.acquire(timeout=20)
        return "computed"

    def call() -> str:
        all_here.wait(20)
        try:
            return str(recall_here("value", compute_when_all_wait))
        finally:
            connections.close_all()

    monkeypatch.setattr(steps.AwaitFlight, "run", announced(waiting.release, steps.AwaitFlight.run))
    with ThreadPoolExecutor(CALLERS) as pool:
        found = [one.result(60) for one in [pool.submit(call) for _ in range(CALLERS)]]

    assert found == ["computed"] * CALLERS
    assert len(asked) == 1


def announced(announce: Callable[[], None], wait: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return a replacement of wait() that reports its start."""

    def run(step: steps.AwaitFlight) -> None:
        announce()
        wait(step)

    return run
