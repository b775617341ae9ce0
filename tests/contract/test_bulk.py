"""get_many, set_many and delete_many, from no key to thousands."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from django.core.cache.backends.base import BaseCache

from tests.contract.fixtures import Clock, every_backend

pytestmark = every_backend


def test_set_many_returns_no_failed_keys(cache: BaseCache) -> None:
    failed = cache.set_many({"a": 1, "b": 2})

    assert failed == []
    assert cache.get_many(["a", "b"]) == {"a": 1, "b": 2}


def test_delete_many_returns_none(cache: BaseCache) -> None:
    cache.set("a", 1)

    outcome = cache.delete_many(["a"])  # type: ignore[func-returns-value] # that it does is the test

    assert outcome is None


@pytest.mark.parametrize("count", [0, 1, 2, 100, 1000])
def test_any_number_of_keys_is_stored_and_read(cache: BaseCache, count: int) -> None:
    values = {f"key-{number}": {"number": number} for number in range(count)}

    failed = cache.set_many(values)
    found = cache.get_many(values)
    cache.delete_many(values)

    assert failed == []
    assert found == values
    assert cache.get_many(values) == {}


def test_large_values_are_stored_and_read_together(cache: BaseCache) -> None:
    values = {f"key-{number}": os.urandom(2**20) for number in range(9)}

    cache.set_many(values)
    found = cache.get_many(values)

    assert found == values


def test_small_and_very_large_values_are_stored_together(cache: BaseCache) -> None:
    values: dict[str, object] = {f"small-{number}": number for number in range(500)}
    values["large"] = "x" * (5 * 2**20)

    cache.set_many(values)

    assert cache.get_many(values) == values


def test_set_many_replaces_and_adds_at_once(cache: BaseCache) -> None:
    cache.set_many({"a": 1, "b": 2})

    cache.set_many({"b": 3, "c": 4})

    assert cache.get_many(["a", "b", "c"]) == {"a": 1, "b": 3, "c": 4}


def test_set_many_honours_the_timeout(cache: BaseCache, clock: Clock) -> None:
    cache.set_many({"a": 1, "b": 2}, timeout=10)

    clock.advance(11)

    assert cache.get_many(["a", "b"]) == {}


def test_get_many_skips_missing_and_expired_keys(cache: BaseCache, clock: Clock) -> None:
    cache.set("old", 1, timeout=10)
    cache.set("fresh", 2, timeout=100)
    clock.advance(11)

    found = cache.get_many(["old", "fresh", "missing"])

    assert found == {"fresh": 2}


def test_get_many_takes_a_key_twice(cache: BaseCache) -> None:
    cache.set("a", 1)

    assert cache.get_many(["a", "a", "missing", "missing"]) == {"a": 1}


def test_get_many_and_delete_many_take_any_iterable(cache: BaseCache) -> None:
    cache.set_many({"a": 1, "b": 2})

    def keys() -> Iterator[str]:
        yield "a"
        yield "b"

    found = cache.get_many(keys())
    cache.delete_many(keys())

    assert found == {"a": 1, "b": 2}
    assert cache.get_many({"a", "b"}) == {}


def test_delete_many_takes_missing_and_repeated_keys(cache: BaseCache) -> None:
    cache.set_many({"a": 1, "b": 2})

    cache.delete_many(["a", "a", "missing"])

    assert cache.get_many(["a", "b"]) == {"b": 2}


def test_get_many_answers_in_the_order_of_the_keys(cache: BaseCache) -> None:
    keys = [f"key-{number}" for number in (5, 3, 9, 1, 7)]
    cache.set_many(dict.fromkeys(keys, 1))

    found = cache.get_many(keys)

    assert list(found) == keys


def test_bulk_operations_do_nothing_with_nothing(cache: BaseCache) -> None:
    cache.set("kept", 1)

    assert cache.get_many([]) == {}
    assert cache.set_many({}) == []
    cache.delete_many([])
    assert cache.get("kept") == 1


def test_bulk_operations_honour_the_version(cache: BaseCache) -> None:
    cache.set_many({"a": 1, "b": 2}, version=2)

    assert cache.get_many(["a", "b"]) == {}
    assert cache.get_many(["a", "b"], version=2) == {"a": 1, "b": 2}
    cache.delete_many(["a", "b"], version=1)
    assert cache.get_many(["a", "b"], version=2) == {"a": 1, "b": 2}
