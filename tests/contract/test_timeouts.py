"""When an entry expires: None, zero, negative, fractions, the default, and clocks that jump."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache.backends.base import BaseCache

from tests.contract.fixtures import Clock, MakeCache, each_kind

pytestmark = each_kind


def test_an_entry_lives_until_its_timeout(cache: BaseCache, clock: Clock) -> None:
    cache.set("answer", 42, timeout=10)

    clock.advance(9.5)
    before = cache.get("answer")
    clock.advance(1)
    after = cache.get("answer")

    assert (before, after) == (42, None)


def test_the_default_timeout_is_five_minutes(cache: BaseCache, clock: Clock) -> None:
    cache.set("answer", 42)

    clock.advance(299)
    before = cache.get("answer")
    clock.advance(2)
    after = cache.get("answer")

    assert (before, after) == (42, None)


def test_the_settings_choose_the_default_timeout(make_cache: MakeCache, clock: Clock) -> None:
    cache = make_cache(TIMEOUT=5)
    cache.set("answer", 42)

    clock.advance(6)

    assert cache.get("answer") is None


def test_the_settings_can_make_the_default_endless(make_cache: MakeCache, clock: Clock) -> None:
    cache = make_cache(TIMEOUT=None)
    cache.set("answer", 42)
    cache.add("question", 43)
    cache.set_many({"many": 44})

    clock.advance(10 * 365 * 86400)

    assert cache.get_many(["answer", "question", "many"]) == {
        "answer": 42,
        "question": 43,
        "many": 44,
    }


def test_the_settings_can_make_the_default_zero(make_cache: MakeCache) -> None:
    cache = make_cache(TIMEOUT=0)

    cache.set("answer", 42)

    assert cache.get("answer") is None


def test_a_timeout_of_none_never_expires(cache: BaseCache, clock: Clock) -> None:
    cache.set("set", 1, timeout=None)
    cache.add("add", 2, timeout=None)
    cache.set_many({"many": 3}, timeout=None)

    clock.advance(10 * 365 * 86400)

    assert cache.get_many(["set", "add", "many"]) == {"set": 1, "add": 2, "many": 3}


def test_a_timeout_in_the_past_stores_nothing(cache: BaseCache) -> None:
    timeouts: list[Any] = [0, -1, -100, -0.5, 0.0]
    for timeout in timeouts:
        cache.set("set", 1, timeout=timeout)
        cache.add("add", 2, timeout=timeout)
        cache.set_many({"many": 3}, timeout=timeout)

        assert cache.get_many(["set", "add", "many"]) == {}


@pytest.mark.parametrize("timeout", [0, -1])
def test_a_timeout_in_the_past_ends_the_older_value(cache: BaseCache, timeout: int) -> None:
    cache.set_many({"set": 1, "many": 2})

    cache.set("set", 3, timeout=timeout)
    cache.set_many({"many": 4}, timeout=timeout)

    assert cache.get_many(["set", "many"]) == {}


def test_a_timeout_counts_fractions_of_a_second(cache: BaseCache, clock: Clock) -> None:
    cache.set("answer", 42, timeout=0.5)

    clock.advance(0.4)
    before = cache.get("answer")
    clock.advance(0.2)
    after = cache.get("answer")

    assert (before, after) == (42, None)


def test_a_timeout_of_a_hundred_years_is_kept(cache: BaseCache, clock: Clock) -> None:
    cache.set("answer", 42, timeout=100 * 365 * 86400)

    clock.advance(99 * 365 * 86400)

    assert cache.get("answer") == 42


@pytest.mark.parametrize("timeout", [10**12, 10**30])
def test_a_timeout_beyond_all_clocks_never_expires(
    cache: BaseCache, clock: Clock, timeout: int
) -> None:
    cache.set("set", 1, timeout=timeout)
    cache.add("add", 2, timeout=timeout)
    cache.touch("set", timeout=timeout)

    clock.advance(100 * 365 * 86400)

    assert cache.get_many(["set", "add"]) == {"set": 1, "add": 2}


@pytest.mark.parametrize("operation", ["set", "add", "touch", "set_many", "get_or_set"])
def test_a_timeout_that_is_no_number_is_an_error_that_names_it(
    cache: BaseCache, operation: str
) -> None:
    cache.set("answer", 42)
    arguments = {
        "set": ("answer", 43),
        "add": ("new", 43),
        "touch": ("answer",),
        "set_many": ({"answer": 43},),
        "get_or_set": ("new", 43),
    }[operation]

    for timeout in ["10", "soon", float("nan"), object(), [10], b"10"]:
        with pytest.raises((TypeError, ValueError)) as caught:
            getattr(cache, operation)(*arguments, timeout=timeout)

        assert "timeout" in str(caught.value)
        assert repr(timeout) in str(caught.value)
        assert cache.get("answer") == 42
        assert cache.get("new") is None


def test_a_second_set_starts_a_new_timeout(cache: BaseCache, clock: Clock) -> None:
    cache.set("answer", 42, timeout=10)
    clock.advance(8)
    cache.set("answer", 43, timeout=10)

    clock.advance(8)

    assert cache.get("answer") == 43


def test_a_second_set_can_shorten_the_timeout(cache: BaseCache, clock: Clock) -> None:
    cache.set("answer", 42, timeout=None)
    cache.set("answer", 43, timeout=10)

    clock.advance(11)

    assert cache.get("answer") is None


def test_a_clock_that_jumps_back_keeps_entries_readable(cache: BaseCache, clock: Clock) -> None:
    cache.set("answer", 42, timeout=10)

    clock.advance(-3600)
    after_the_jump = cache.get("answer")
    cache.set("answer", 43, timeout=10)
    rewritten = cache.get("answer")
    clock.advance(11)
    at_the_end = cache.get("answer")

    assert (after_the_jump, rewritten, at_the_end) == (42, 43, None)


def test_a_clock_that_jumps_ahead_ends_entries_and_takes_new_ones(
    cache: BaseCache, clock: Clock
) -> None:
    cache.set("answer", 42, timeout=10)

    clock.advance(86400)
    after_the_jump = cache.get("answer")
    added = cache.add("answer", 43, timeout=10)
    clock.advance(-86400)
    after_the_return = cache.get("answer")

    assert (after_the_jump, added, after_the_return) == (None, True, 43)
