"""Reads in another thread, task or context count for every value that may depend on them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.http import HttpRequest
from pytest_django.plugin import DjangoDbBlocker

from cachelayers import arecall, recall, unit_of_work
from cachelayers.invalidation.units import CommandUnit, OwnUnit, begin_unit, end_unit, within_unit
from cachelayers.utils.captures import running_captures
from tests.conftest import empty_cache
from tests.invalidation.conftest import empty
from tests.library.models import Author


@pytest.fixture(autouse=True)
def _authors(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        empty_cache("sqlite")
        empty("default")
        for key, name in enumerate(["Ann", "Bob"], start=1):
            Author.objects.create(pk=key, name=name)
        yield
        empty("default")
        assert not running_captures


def name_of(key: int) -> str:
    return str(Author.objects.get(pk=key).name)


def rename(key: int, name: str) -> None:
    Author.objects.filter(pk=key).update(name=name)


def visit(key: str, compute: Callable[[], Any]) -> Any:
    with unit_of_work():
        return recall(key, compute, using="sqlite", timeout=None)


def is_kept(key: str) -> bool:
    return bool(visit(key, lambda: "computed anew") != "computed anew")


def closing(work: Callable[[], Any]) -> Callable[[], Any]:
    def work_and_close() -> Any:
        try:
            return work()
        finally:
            connections.close_all()

    return work_and_close


class Loader:
    """Works like a DataLoader: the first caller starts a task that reads for all callers."""

    def __init__(self) -> None:
        self.waiting: dict[int, asyncio.Future[str]] = {}
        self.task: asyncio.Task[None] | None = None

    def load(self, key: int) -> Awaitable[str]:
        future = self.waiting[key] = asyncio.get_running_loop().create_future()
        if self.task is None:
            self.task = asyncio.create_task(self.read())
        return future

    async def read(self) -> None:
        await asyncio.sleep(0.05)  # in which all have asked
        found = await sync_to_async(Author.objects.in_bulk)(list(self.waiting))
        for key, future in self.waiting.items():
            future.set_result(found[key].name)


def test_a_batch_of_a_loader_counts_for_all_waiting_callers() -> None:
    async def get_both() -> list[str]:
        loader = Loader()

        async def get(key: int) -> str:
            return await loader.load(key)

        with unit_of_work():
            return await asyncio.gather(
                *(
                    arecall(f"name:{key}", lambda key=key: get(key), using="sqlite", timeout=None)  # type: ignore[misc]
                    for key in (1, 2)
                )
            )

    assert asyncio.run(get_both()) == ["Ann", "Bob"]
    assert [is_kept("name:1"), is_kept("name:2")] == [True, True]
    Author.objects.update(name="Chris")

    assert [is_kept("name:1"), is_kept("name:2")] == [False, False]


def test_a_thread_that_an_earlier_compute_has_started_counts_for_later_ones() -> None:
    jobs: list[Callable[[], Any]] = []
    there_is_one, is_done = threading.Semaphore(0), threading.Semaphore(0)
    found: list[str] = []

    def work() -> None:
        for _ in range(2):
            there_is_one.acquire()
            found.append(jobs.pop()())
            is_done.release()
        connections.close_all()

    def ask(key: int) -> str:
        jobs.append(lambda: name_of(key))
        there_is_one.release()
        assert is_done.acquire(timeout=20)
        return found[-1]

    def start_and_ask() -> str:
        threading.Thread(target=copy_context().run, args=[work]).start()
        return ask(1)

    assert visit("first", start_and_ask) == "Ann"
    assert visit("second", lambda: ask(2)) == "Bob"
    rename(2, "Bert")

    assert not is_kept("second")


@pytest.mark.parametrize("way", ["reads", "recalls", "finds"])
def test_a_pool_s_thread_with_a_unit_of_its_own_counts_for_the_compute(way: str) -> None:
    def recall_inner() -> str:
        found: str = recall("inner", lambda: name_of(1), using="sqlite", timeout=None)
        return found

    def work() -> str:
        if way == "recalls":
            return recall_inner()
        with unit_of_work():
            return name_of(1) if way == "reads" else recall_inner()

    if way == "finds":
        visit("inner", lambda: name_of(1))
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()  # its thread knows nothing of the compute
        visit("outer", lambda: pool.submit(closing(work)).result(20))
    rename(1, "Anna")

    assert not is_kept("outer")


def test_another_request_s_reads_count_for_no_compute() -> None:
    def other_request() -> None:
        with unit_of_work(HttpRequest()):
            name_of(2)

    with ThreadPoolExecutor(1) as pool:
        visit("value", lambda: (name_of(1), pool.submit(closing(other_request)).result(20)))
    rename(2, "Bert")

    assert is_kept("value")


def test_a_thread_that_outlives_its_request_is_no_part_of_it() -> None:
    may_read, found = threading.Event(), []

    def read_twice() -> None:
        for _ in range(2):
            assert may_read.wait(20)
            found.append(recall("value", lambda: name_of(1), using="sqlite", timeout=None))
            rename(1, "Anna")
        connections.close_all()

    with unit_of_work(HttpRequest()):
        recall("value", lambda: name_of(1), using="sqlite", timeout=None)
        thread = threading.Thread(target=copy_context().run, args=[read_twice])
        thread.start()
    rename(1, "Anne")
    may_read.set()
    thread.join()

    assert found == ["Anne", "Anna"]


def test_reads_after_their_unit_has_ended_count_for_the_running_units() -> None:
    ended = begin_unit(HttpRequest())
    with within_unit(ended):
        context = copy_context()
    end_unit(ended)

    with unit_of_work() as unit:
        context.run(name_of, 1)

        assert any("library_author" in tag for one in unit.dependencies() for tag in one.tags)


def test_two_async_recalls_at_once_may_share_a_unit() -> None:
    async def get_both() -> list[str]:
        with unit_of_work():
            return await asyncio.gather(*(get(key) for key in (1, 2)))

    async def get(key: int) -> str:
        name = sync_to_async(name_of)
        return await arecall(f"name:{key}", lambda: name(key), using="sqlite", timeout=None)

    assert asyncio.run(get_both()) == ["Ann", "Bob"]
    assert [is_kept("name:1"), is_kept("name:2")] == [True, True]
    rename(2, "Bert")

    assert not is_kept("name:2")


# What goes on for long


@pytest.mark.parametrize("store", ["sqlite", "memory_table"])
def test_a_long_command_reads_the_log_for_each_recall(store: str) -> None:
    empty_cache(store)

    def current() -> str:
        found: str = recall("worker", lambda: name_of(1), using=store, timeout=None)
        return found

    with unit_of_work(kind=CommandUnit):
        found = [current(), current()]
        elsewhere(lambda: rename(1, "Anna"))
        found.append(current())
        elsewhere(lambda: rename(1, "Anja"))
        found.append(current())

    assert found == ["Ann", "Ann", "Anna", "Anja"]


def test_plain_look_ups_of_a_command_see_later_writes_of_others() -> None:
    cache = empty_cache("memory_table")
    with unit_of_work(kind=CommandUnit) as unit:
        cache.set("key", "old")
        assert cache.get("key") == "old"

        assert unit.began > time.monotonic()


def test_a_long_command_stores_what_it_computes() -> None:
    with unit_of_work(kind=CommandUnit):
        name_of(1)
        elsewhere(lambda: rename(1, "Anna"))
        recall("worker", lambda: name_of(1), using="sqlite", timeout=None)

        assert is_kept("worker")


def test_a_block_in_a_command_reads_the_log_once() -> None:
    with unit_of_work(kind=CommandUnit), unit_of_work() as unit:
        recall("worker", lambda: name_of(1), using="sqlite", timeout=None)

        assert not unit.is_outdated
        assert not unit.needs_refresh("default")


def test_a_task_is_independent_of_computations_elsewhere() -> None:
    def task() -> None:
        with unit_of_work(kind=OwnUnit):
            name_of(2)

    with ThreadPoolExecutor(1) as pool:
        visit("value", lambda: (name_of(1), pool.submit(closing(task)).result(20)))
    rename(2, "Bert")

    assert is_kept("value")


def elsewhere(work: Callable[[], Any]) -> None:
    thread = threading.Thread(target=closing(work))
    thread.start()
    thread.join()
