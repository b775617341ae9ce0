"""Timeouts as durations, by the value, with jitter, and refreshed before they end."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.cache.backends.base import BaseCache
from django.test import override_settings
from pytest_django.plugin import DjangoDbBlocker

from cachelayers import arecall, cached, recall
from cachelayers.entries import LEASE_SUFFIX, Envelope, unpack_envelope
from tests.conftest import empty_cache
from tests.contract.fixtures import Clock, clock

__all__ = ["clock"]


@pytest.fixture(autouse=True)
def store(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[BaseCache]:
    with django_db_blocker.unblock():
        yield empty_cache("sqlite")


def recall_here(key: str, value: Any, **options: Any) -> Any:
    return recall(key, lambda: value, using="sqlite", **options)


def times_of(store: BaseCache, key: str) -> tuple[float | None, float | None]:
    """Return for how long an entry is fresh, and for how long it may be served."""
    envelope: Envelope | None = unpack_envelope(store.get(key))
    assert envelope is not None
    began = envelope.created
    fresh, dead = envelope.fresh_until, envelope.dead_until
    return (None if fresh is None else fresh - began, None if dead is None else dead - began)


def test_every_time_is_a_duration(store: BaseCache, clock: Clock) -> None:
    recall_here("text", 1, timeout="1m30s", stale="1m")
    recall_here("timedelta", 1, timeout=dt.timedelta(seconds=90), stale=dt.timedelta(minutes=1))

    assert times_of(store, "text") == times_of(store, "timedelta") == (90, 150)
    with override_settings(CACHELAYERS={"TIMEOUT": "2m"}):
        recall_here("setting", 1)
    assert times_of(store, "setting") == (120, 120)


def test_the_timeout_may_depend_on_the_value(store: BaseCache, clock: Clock) -> None:
    def timeout(value: object) -> Any:
        return {"missing": 5, "short": "1m", "endless": None, "never": 0}[str(value)]

    for value in ("missing", "short", "endless", "never"):
        assert recall_here(value, value, timeout=timeout) == value

    assert times_of(store, "missing") == (5, 5)
    assert times_of(store, "short") == (60, 60)
    assert times_of(store, "endless") == (None, None)
    assert store.get("never") is None
    clock.advance(1_000)
    assert recall_here("endless", "new", timeout=timeout) == "endless"
    assert recall_here("short", "missing", timeout=timeout) == "missing"


def test_a_function_for_the_timeout_in_async_code(store: BaseCache, clock: Clock) -> None:
    @cached(timeout=lambda value: "10s" if value else "1m", using="sqlite")
    async def double(number: int) -> int:
        return 2 * number

    async def steps() -> None:
        assert await double(0) == 0
        assert await arecall("one", lambda: 1, timeout=lambda value: value, using="sqlite") == 1

    async_to_sync(steps)()

    assert times_of(store, double.key(0)) == (60, 60)
    assert times_of(store, "one") == (1, 1)


def test_a_wrong_result_of_the_function_is_an_error_with_the_cure() -> None:
    with pytest.raises(TypeError, match=r"timeout is 'soon'\. Give a number of seconds"):
        recall_here("value", 1, timeout=lambda value: "soon")


def test_jitter_shortens_the_timeout_at_random(store: BaseCache, clock: Clock) -> None:
    random.seed(1)
    for number in range(20):
        recall_here(str(number), 1, timeout=100, jitter=0.1)
    times = [times_of(store, str(number))[0] or 0.0 for number in range(20)]

    assert len(set(times)) > 10
    assert 90 <= min(times) < 95 < max(times) <= 100


def test_one_caller_refreshes_ahead_and_the_others_get_the_old_value(
    store: BaseCache, clock: Clock
) -> None:
    options: dict[str, Any] = {"timeout": 100, "refresh_ahead": 0.1}
    recall_here("value", "old", **options)
    clock.advance(89)
    assert recall_here("value", "too soon", **options) == "old"
    clock.advance(2)
    store.add(f"value{LEASE_SUFFIX}", "another caller", 5)

    assert recall_here("value", "by the other", **options) == "old"
    store.delete(f"value{LEASE_SUFFIX}")
    assert recall_here("value", "new", **options) == "new"

    assert times_of(store, "value") == (pytest.approx(90), pytest.approx(100))
    clock.advance(101)
    assert recall_here("value", "newest", **options) == "newest"


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"jitter": 1}, ValueError, "less than 1"),
        ({"refresh_ahead": -0.1}, ValueError, "0 or more"),
        ({"jitter": "much"}, TypeError, "Give a part of the timeout"),
        ({"timeout": None, "jitter": 0.1}, ValueError, "leave jitter out"),
        ({"timeout": "5"}, TypeError, "such as '90s' or '2h30m'"),
    ],
)
def test_wrong_options_are_errors(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        recall_here("value", 1, **options)
    with pytest.raises(error, match=words):
        cached(**options)(times_of)
