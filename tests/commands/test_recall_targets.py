"""Entries of recall() and @cached are computed in advance, by one caller."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from django.core.cache import cache
from django.db import connections

from cachelayers import cached, recall, unit_of_work, warmer
from cachelayers.entries.keys import LEASE_SUFFIX
from cachelayers.lookup import refresh
from cachelayers.warming import RecallTarget, Target
from tests.commands.runs import RunCommand
from tests.layered.backends import server_of
from tests.library.models import Author
from tests.settings import layered_cache, memory_cache

pytestmark = [
    pytest.mark.usefixtures("no_warmers", "memory_caches"),
    pytest.mark.django_db(transaction=True),
]

calls: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_called() -> None:
    calls.clear()
    Author.objects.all().delete()


@cached(timeout=300)
def busiest(country: str) -> str:
    calls.append(country)
    return f"busiest of {country}"


@cached(timeout=300)
async def quietest(country: str) -> str:
    calls.append(country)
    return f"quietest of {country}"


class Atlas:
    @staticmethod
    @cached(timeout=300)
    def heading() -> str:
        calls.append("heading")
        return "Atlas"


def count_authors() -> int:
    calls.append("authors")
    return Author.objects.count()


async def awaited() -> str:
    calls.append("awaited")
    return "value"


def register(*things: Any) -> None:
    @warmer("recalls")
    def recalls() -> Iterable[Any]:
        yield from things


def test_a_recall_finds_what_was_warmed_for_it(run: RunCommand) -> None:
    register(RecallTarget("authors", count_authors, timeout=60, tags=["people"]))

    result = run("warm_cache")

    assert "1 warmed, 0 already warm, 0 failed" in result.out
    assert recall("authors", count_authors, timeout=60) == 0
    assert calls == ["authors"]


def test_a_warmed_entry_is_invalid_when_what_it_was_made_from_changes(run: RunCommand) -> None:
    register(RecallTarget("authors", count_authors, timeout=None))
    run("warm_cache")

    Author.objects.create(name="Verne")

    assert recall("authors", count_authors) == 1


def test_an_item_is_not_outdated_by_what_was_written_while_others_were_warmed(
    run: RunCommand,
) -> None:
    register(
        partial(recall, "first", count_authors, timeout=None),
        partial(Author.objects.create, name="Verne"),
        partial(recall, "authors", count_authors, timeout=None),
    )

    run("warm_cache")

    with unit_of_work():
        assert recall("authors", count_authors, timeout=None) == 1
    assert calls == ["authors", "authors"]


@pytest.mark.parametrize("thing", [partial(busiest, "FR"), partial(busiest, country="FR")])
def test_a_call_of_a_cached_function_is_warmed_like_a_recall(
    run: RunCommand, thing: Callable[[], object]
) -> None:
    register(thing)

    first = run("warm_cache")
    second = run("warm_cache", "--only-missing")
    third = run("warm_cache")

    assert "1 warmed, 0 already warm" in first.out
    assert "0 warmed, 1 already warm" in second.out
    assert "1 warmed, 0 already warm" in third.out
    assert busiest("FR") == "busiest of FR"
    assert calls == ["FR", "FR"]


def test_a_cached_function_without_arguments_needs_no_partial(run: RunCommand) -> None:
    register(Atlas.heading)

    run("warm_cache")

    assert Atlas.heading() == "Atlas"
    assert calls == ["heading"]


@pytest.mark.parametrize(
    ("thing", "expected"),
    [(partial(quietest, "FR"), "FR"), (RecallTarget("awaited", awaited), "awaited")],
)
def test_what_is_async_is_awaited(run: RunCommand, thing: Any, expected: str) -> None:
    register(thing)

    first = run("warm_cache")
    second = run("warm_cache", "--only-missing")

    assert "1 warmed, 0 already warm, 0 failed" in first.out
    assert "0 warmed, 1 already warm, 0 failed" in second.out
    assert calls == [expected]


def test_only_missing_computes_what_is_stale_or_invalid(run: RunCommand) -> None:
    refresh("authors", count_authors, timeout=None)
    Author.objects.create(name="Verne")
    register(RecallTarget("authors", count_authors, timeout=None))

    result = run("warm_cache", "--only-missing")

    assert "1 warmed, 0 already warm" in result.out
    assert calls == ["authors", "authors"]


def test_an_entry_that_another_process_computes_is_waited_for_and_not_computed_twice(
    run: RunCommand, settings: Any
) -> None:
    settings.CACHELAYERS = {**settings.CACHELAYERS, "LEASE_SECONDS": 30}
    key = busiest.key("FR")
    # First the lease of another process, and then its value.
    cache.add(f"{key}{LEASE_SUFFIX}", "of another process", 30)
    timer = threading.Timer(0.1, partial(store_as_another_process, key))
    timer.start()
    register(partial(busiest, "FR"))

    result = run("warm_cache")
    timer.join()

    assert "0 warmed, 1 already warm, 0 failed" in result.out
    assert calls == []


def test_readers_of_a_missing_entry_wait_for_the_warmer(run: RunCommand) -> None:
    computing, go_on = threading.Event(), threading.Event()
    values: list[Any] = []

    def compute() -> str:
        calls.append("computed")
        computing.set()
        assert go_on.wait(30)
        return "value"

    def read() -> None:
        computing.wait(30)
        threading.Timer(0.1, go_on.set).start()
        values.append(recall("slow", compute))
        connections.close_all()

    reader = threading.Thread(target=read)
    reader.start()
    register(RecallTarget("slow", compute))

    result = run("warm_cache")
    reader.join(30)

    assert values == ["value"]
    assert calls == ["computed"]
    assert "1 warmed" in result.out


def test_a_cache_that_keeps_nothing_is_a_failure(run: RunCommand, settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "tests.commands.fakes.DownCache"}}
    register(RecallTarget("authors", count_authors))

    result = run("warm_cache")

    assert "failed: default: authors: was computed, and is not in the cache" in result.err
    assert "0 warmed, 0 already warm, 1 failed" in result.out


@pytest.mark.parametrize("kind", [RecallTarget, Target])
def test_a_value_that_only_the_memory_of_the_command_has_is_a_failure(
    run: RunCommand, settings: Any, kind: type
) -> None:
    upper = f"upper-{uuid4().hex[:8]}"
    settings.CACHES = {
        "default": layered_cache("memory", upper),
        "memory": memory_cache(),
        upper: {"BACKEND": "tests.layered.backends.WatchedCache", "LOCATION": upper},
    }
    server_of(upper).is_down = True
    register(kind(key="k", compute=count_authors))

    result = run("warm_cache")

    assert "0 warmed, 0 already warm, 1 failed" in result.out
    assert "default: k: " in result.err


@pytest.mark.parametrize("kind", [RecallTarget, Target])
def test_a_value_in_a_stack_of_memory_alone_is_warm(
    run: RunCommand, settings: Any, kind: type
) -> None:
    locmem = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "alone"}
    settings.CACHES = {
        "default": layered_cache("memory", "more memory"),
        "memory": memory_cache(),
        "more memory": locmem,
    }
    register(kind(key="k", compute=count_authors))

    assert "1 warmed, 0 already warm, 0 failed" in run("warm_cache").out
    assert "0 warmed, 1 already warm, 0 failed" in run("warm_cache", "--only-missing").out


@pytest.mark.parametrize(
    ("thing", "reason"),
    [
        (RecallTarget("k", count_authors, timeout=-1), "timeout is -1. Give 0 seconds or more"),
        (RecallTarget("k", count_authors, using="nowhere"), "InvalidCacheBackendError"),
        (partial(busiest), "missing a required argument: 'country'"),
        (partial(busiest, object()), "TypeError"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_recalled_is_a_failure_and_the_rest_is_warmed(
    run: RunCommand, thing: Any, reason: str
) -> None:
    register(thing, partial(busiest, "FR"))

    result = run("warm_cache")

    assert reason in result.err
    assert "1 warmed, 0 already warm, 1 failed" in result.out


def store_as_another_process(key: str) -> None:
    """Store it and release the lease, without the single flight of this process."""
    refresh(key, lambda: "busiest of FR", timeout=300)
    cache.delete(f"{key}{LEASE_SUFFIX}")
    connections.close_all()
