"""recall(): fresh, stale, expired and missing entries, one computation, and all kinds of errors."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.core.cache.backends.base import BaseCache
from django.db import DatabaseError, connections, transaction
from pytest_django.plugin import DjangoDbBlocker

from cachelayers import arecall, recall, unit_of_work
from cachelayers.lookup import refresh
from tests.conftest import ForkPython, empty_cache

SETTINGS = "tests.consistency.settings"


@pytest.fixture(autouse=True)
def store(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[BaseCache]:
    """Return an empty cache for the recalls of this module."""
    with django_db_blocker.unblock():
        yield empty_cache("sqlite")


def recall_here(key: str, compute: Callable[[], Any], **options: Any) -> Any:
    return recall(key, compute, using="sqlite", **options)


class Clock:
    """The time by which entries expire."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self._time = time.time

    def time(self) -> float:
        return self._time() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "time", clock.time)
    return clock


def await_truth(is_true: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def fail() -> str:
    raise ConnectionRefusedError("the source is away")


# Values


@pytest.mark.parametrize("value", [None, 0, "", [], {"a": (1, 2)}, b"x"])
def test_any_value_is_computed_once(value: Any) -> None:
    computed: list[int] = []

    def compute() -> Any:
        computed.append(1)
        return value

    found = [recall_here("value", compute) for _ in range(3)]

    assert found == [value] * 3
    assert computed == [1]


def test_an_exception_is_the_caller_s_and_nothing_is_stored() -> None:
    with pytest.raises(ConnectionRefusedError):
        recall_here("value", fail)

    assert recall_here("value", lambda: "computed") == "computed"


def test_a_plain_value_under_the_key_is_replaced(store: BaseCache) -> None:
    store.set("value", "plain")

    found = [recall_here("value", lambda: "computed") for _ in range(2)]

    assert found == ["computed", "computed"]


def test_an_entry_may_be_computed_again_at_any_time() -> None:
    recall_here("value", lambda: "old")

    made = refresh("value", lambda: "new", using="sqlite")

    assert made == recall_here("value", lambda: "never") == "new"


def test_a_compute_that_deletes_its_own_key_is_stored(store: BaseCache) -> None:
    recall_here("value", lambda: store.delete("value") or "computed")

    assert recall_here("value", lambda: "again") == "computed"


# Times


def test_an_expired_entry_is_never_served(clock: Clock) -> None:
    recall_here("value", lambda: "old", timeout=10, stale=5)
    clock.ahead = 16

    assert recall_here("value", lambda: "new", timeout=10, stale=5) == "new"


def test_a_refresh_that_fails_leaves_the_stale_value_and_is_not_tried_at_once(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    tried: list[int] = []
    recall_here("value", lambda: "old", timeout=10, stale=60)
    clock.ahead = 11

    def fail_and_count() -> str:
        tried.append(1)
        return fail()

    served = [recall_here("value", fail_and_count, timeout=10, stale=60) for _ in range(5)]

    assert served == ["old"] * 5
    assert caplog.text.count("its refresh failed") == 1
    assert tried == [1]


# One compute


@pytest.mark.parametrize(
    "store_name",
    [
        "sqlite",
        pytest.param("postgres", marks=pytest.mark.postgres),
        pytest.param("redis", marks=pytest.mark.redis),
        pytest.param("memcached", marks=pytest.mark.memcached),
    ],
)
def test_64_callers_in_four_processes_compute_once(
    fork_python: ForkPython,
    store_name: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if store_name == "redis":
        monkeypatch.setenv("CACHELAYERS_CHECKER_REDIS", request.getfixturevalue("redis_url") + "/0")
    if store_name == "memcached":
        address = request.getfixturevalue("memcached_address")
        monkeypatch.setenv("CACHELAYERS_CHECKER_MEMCACHED", address)
    key, begin = f"cold-{uuid4().hex}", time.time() + 1

    processes = [
        fork_python("tests.lookup.program", store_name, key, begin, settings=SETTINGS)
        for _ in range(4)
    ]
    ended = [process.communicate(timeout=60) for process in processes]

    answers = [
        json.loads(output or f'{{"error": {json.dumps(errors)}}}') for output, errors in ended
    ]
    assert [answer.get("error") for answer in answers] == [None] * 4
    assert sum(answer["computed"] for answer in answers) == 1
    assert {value for answer in answers for value in answer["values"]} == {"the value"}


def test_the_lease_of_a_killed_holder_delays_others_no_longer_than_it_lasts(
    store: BaseCache, settings: Any
) -> None:
    settings.CACHELAYERS = {**settings.CACHELAYERS, "LEASE_SECONDS": 0.5}
    store.add("value:lease", "of one who is dead", 60)

    began = time.monotonic()
    found = recall_here("value", lambda: "computed")

    assert found == "computed"
    assert 0.4 < time.monotonic() - began < 5
    assert store.get("value:lease") == "of one who is dead"  # and not this caller's to give back


def test_waiting_callers_compute_for_themselves_if_the_first_one_fails() -> None:
    begun, may_fail = threading.Event(), threading.Event()
    answers: list[Any] = []

    def fail_later() -> str:
        begun.set()
        may_fail.wait(20)
        return fail()

    def first() -> None:
        with pytest.raises(ConnectionRefusedError):
            recall_here("value", fail_later)
        connections.close_all()

    def second() -> None:
        answers.append(recall_here("value", lambda: "by another"))
        connections.close_all()

    threads = [threading.Thread(target=first)]
    threads[0].start()
    assert begun.wait(20)
    threads.append(threading.Thread(target=second))
    threads[1].start()
    may_fail.set()
    for thread in threads:
        thread.join(30)

    assert answers == ["by another"]


# Trouble


def test_a_broken_transaction_computes_and_stores_nothing() -> None:
    with unit_of_work(), transaction.atomic():
        transaction.set_rollback(True)
        found = recall_here("value", lambda: "computed")
    again = recall_here("value", lambda: "again")

    assert (found, again) == ("computed", "again")


def test_a_cache_that_is_down_is_a_miss(settings: Any) -> None:
    settings.CACHES = {
        **settings.CACHES,
        "away": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": "redis://127.0.0.1:1/0",
        },
    }

    found = [recall("value", lambda: "computed", using="away") for _ in range(2)]

    assert found == ["computed", "computed"]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"timeout": -1}, ValueError, "timeout is -1"),
        ({"timeout": "5"}, TypeError, "Give a number of seconds"),
        ({"timeout": True}, TypeError, "Give a number of seconds"),
        ({"stale": -1}, ValueError, "stale is -1"),
        ({"timeout": None, "stale": 5}, ValueError, "never becomes stale"),
        ({"tags": "homepage"}, TypeError, "Give a list of strings"),
        ({"tags": [""]}, ValueError, "A tag is empty"),
        ({"tags": ["a\nb"]}, ValueError, "control characters"),
        ({"tags": ["x" * 201]}, ValueError, "201 characters"),
        ({"tags": [7]}, TypeError, "A tag is a string"),
    ],
)
def test_an_invalid_argument_is_an_error_that_names_it(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        recall_here("value", lambda: "never", **options)


def test_a_compute_that_cannot_be_called_is_an_error() -> None:
    with pytest.raises(TypeError, match="cannot be called"):
        recall_here("value", "text")  # type: ignore[arg-type] # that is the test


def test_an_async_compute_in_a_plain_recall_is_an_error() -> None:
    async def compute() -> str:
        return "never"

    with pytest.raises(TypeError, match="Use arecall"):
        recall_here("value", compute)


# Async


def test_arecall_computes_once_for_many_tasks() -> None:
    computed: list[int] = []

    async def compute() -> str:
        computed.append(1)
        await asyncio.sleep(0.05)
        return "the value"

    async def call_many() -> list[str]:
        calls = [arecall("value", compute, using="sqlite") for _ in range(20)]
        return await asyncio.gather(*calls)

    found = asyncio.run(call_many())

    assert set(found) == {"the value"}
    assert computed == [1]


def test_a_cancelled_compute_gives_its_lease_back(store: BaseCache) -> None:
    async def cancel() -> None:
        has_begun = asyncio.Event()

        async def compute() -> str:
            has_begun.set()
            await asyncio.sleep(60)
            return "never"

        task = asyncio.ensure_future(arecall("value", compute, using="sqlite"))
        await has_begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())

    assert store.get("value:lease") is None
    assert recall_here("value", lambda: "computed") == "computed"


def test_a_database_error_in_the_compute_is_the_caller_s() -> None:
    def ask_nonsense() -> None:
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT * FROM no_such_table")

    with pytest.raises(DatabaseError):
        recall_here("value", ask_nonsense)
