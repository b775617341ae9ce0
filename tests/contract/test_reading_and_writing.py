"""Single-key operations: get, set, add, touch, delete, has_key, clear and close."""

from __future__ import annotations

import pytest
from django.core.cache.backends.base import BaseCache

from tests.contract.fixtures import Clock, every_backend

pytestmark = every_backend


def test_a_stored_value_is_read_back(cache: BaseCache) -> None:
    cache.set("answer", {"value": 42})

    stored = cache.get("answer")

    assert stored == {"value": 42}


def test_set_returns_none(cache: BaseCache) -> None:
    outcome = cache.set("answer", 42)  # type: ignore[func-returns-value] # that it does is the test

    assert outcome is None


def test_a_second_set_replaces_the_value(cache: BaseCache) -> None:
    cache.set("answer", "a first value that is longer than the second")
    cache.set("answer", 42)

    stored = cache.get("answer")

    assert stored == 42


def test_a_missing_key_reads_as_none(cache: BaseCache) -> None:
    assert cache.get("nobody") is None


def test_a_missing_key_reads_as_the_given_default(cache: BaseCache) -> None:
    assert cache.get("nobody", "default") == "default"


def test_a_callable_default_of_get_is_returned_and_not_called(cache: BaseCache) -> None:
    def default() -> str:
        raise AssertionError("get() called its default")

    assert cache.get("nobody", default) is default


def test_none_is_a_value_and_not_a_miss(cache: BaseCache) -> None:
    cache.set("nothing", None)

    assert cache.get("nothing", "default") is None
    assert cache.has_key("nothing")
    assert cache.get_many(["nothing"]) == {"nothing": None}
    assert cache.add("nothing", "replacement") is False


def test_add_stores_under_a_missing_key(cache: BaseCache) -> None:
    added = cache.add("answer", 42)

    assert added is True
    assert cache.get("answer") == 42


def test_add_leaves_a_present_key_alone(cache: BaseCache) -> None:
    cache.set("answer", 42)

    added = cache.add("answer", 43)

    assert added is False
    assert cache.get("answer") == 42


def test_a_refused_add_leaves_the_expiry_alone(cache: BaseCache, clock: Clock) -> None:
    cache.set("answer", 42, timeout=10)

    cache.add("answer", 43, timeout=1000)
    clock.advance(11)

    assert cache.get("answer") is None


def test_add_replaces_an_expired_entry(cache: BaseCache, clock: Clock) -> None:
    cache.set("answer", 42, timeout=10)
    clock.advance(11)

    added = cache.add("answer", 43, timeout=10)

    assert added is True
    assert cache.get("answer") == 43


def test_add_with_a_timeout_of_zero_leaves_nothing(cache: BaseCache) -> None:
    cache.add("answer", 42, timeout=0)

    assert cache.get("answer") is None


def test_add_with_a_timeout_of_zero_leaves_a_present_key_alone(cache: BaseCache) -> None:
    cache.set("answer", 42)

    added = cache.add("answer", 43, timeout=0)

    assert added is False
    assert cache.get("answer") == 42


def test_has_key_and_in_distinguish_present_from_absent(cache: BaseCache) -> None:
    cache.set("present", 1)

    assert cache.has_key("present") is True
    assert cache.has_key("absent") is False
    assert ("present" in cache) is True
    assert ("absent" in cache) is False


def test_an_expired_key_is_absent_everywhere(cache: BaseCache, clock: Clock) -> None:
    cache.set("old", 1, timeout=10)
    clock.advance(11)

    assert cache.get("old", "default") == "default"
    assert cache.has_key("old") is False
    assert "old" not in cache
    assert cache.get_many(["old"]) == {}
    assert cache.touch("old") is False
    with pytest.raises(ValueError, match="old"):
        cache.incr("old")


def test_delete_removes_the_key_and_returns_true(cache: BaseCache) -> None:
    cache.set("answer", 42)

    deleted = cache.delete("answer")

    assert deleted is True
    assert cache.get("answer") is None


def test_delete_of_a_missing_key_returns_false(cache: BaseCache) -> None:
    assert cache.delete("nobody") is False


def test_delete_removes_only_its_key(cache: BaseCache) -> None:
    cache.set_many({"gone": 1, "kept": 2})

    cache.delete("gone")

    assert cache.get_many(["gone", "kept"]) == {"kept": 2}


def test_touch_extends_the_timeout(cache: BaseCache, clock: Clock) -> None:
    cache.set("answer", 42, timeout=10)

    touched = cache.touch("answer", timeout=100)
    clock.advance(50)

    assert touched is True
    assert cache.get("answer") == 42


def test_touch_shortens_the_timeout(cache: BaseCache, clock: Clock) -> None:
    cache.set("answer", 42, timeout=100)

    cache.touch("answer", timeout=10)
    clock.advance(11)

    assert cache.get("answer") is None


def test_touch_with_none_removes_the_expiry(cache: BaseCache, clock: Clock) -> None:
    cache.set("answer", 42, timeout=10)

    cache.touch("answer", timeout=None)
    clock.advance(10 * 365 * 86400)

    assert cache.get("answer") == 42


def test_touch_without_a_timeout_uses_the_default(cache: BaseCache, clock: Clock) -> None:
    cache.set("answer", 42, timeout=None)

    cache.touch("answer")
    clock.advance(301)

    assert cache.get("answer") is None


@pytest.mark.parametrize("timeout", [0, -1, -0.5])
def test_touch_into_the_past_removes_the_key_and_returns_true(
    cache: BaseCache, timeout: float
) -> None:
    cache.set("answer", 42)

    touched = cache.touch("answer", timeout=timeout)

    assert touched is True
    assert cache.get("answer") is None


@pytest.mark.parametrize("timeout", [0, 10, None])
def test_touch_of_a_missing_key_returns_false(cache: BaseCache, timeout: int | None) -> None:
    assert cache.touch("nobody", timeout=timeout) is False
    assert cache.get("nobody") is None


def test_touch_keeps_the_value(cache: BaseCache) -> None:
    cache.set("page", "<html>" * 1000)

    cache.touch("page", timeout=100)

    assert cache.get("page") == "<html>" * 1000


def test_clear_removes_everything(cache: BaseCache) -> None:
    cache.set_many({f"key-{number}": number for number in range(50)})
    cache.set("other", 1, version=7)

    cache.clear()

    assert cache.get_many([f"key-{number}" for number in range(50)]) == {}
    assert cache.get("other", version=7) is None


def test_clear_of_an_empty_cache_is_fine(cache: BaseCache) -> None:
    cache.clear()
    cache.clear()

    assert cache.get("anything") is None


def test_a_cleared_cache_takes_new_values(cache: BaseCache) -> None:
    cache.set("answer", 41)
    cache.clear()

    cache.set("answer", 42)

    assert cache.get("answer") == 42


def test_a_closed_cache_opens_again_by_itself(cache: BaseCache) -> None:
    cache.set("before", 1)

    cache.close()
    cache.close()

    assert cache.get("before") == 1
    cache.set("after", 2)
    assert cache.get("after") == 2


def test_get_or_set_stores_a_missing_value(cache: BaseCache) -> None:
    returned = cache.get_or_set("answer", 42)

    assert returned == 42
    assert cache.get("answer") == 42


def test_get_or_set_prefers_a_live_entry(cache: BaseCache) -> None:
    cache.set("answer", 42)

    returned = cache.get_or_set("answer", 43)

    assert returned == 42


def test_get_or_set_calls_a_callable_once_and_only_on_a_miss(cache: BaseCache) -> None:
    calls: list[int] = []

    def compute() -> int:
        calls.append(1)
        return 42

    first = cache.get_or_set("answer", compute)
    second = cache.get_or_set("answer", compute)

    assert (first, second) == (42, 42)
    assert len(calls) == 1


def test_get_or_set_keeps_a_computed_none(cache: BaseCache) -> None:
    calls: list[int] = []

    def compute() -> None:
        calls.append(1)

    cache.get_or_set("nothing", compute)
    cache.get_or_set("nothing", compute)

    assert len(calls) == 1


def test_get_or_set_with_a_timeout_of_zero_returns_the_value_and_stores_nothing(
    cache: BaseCache,
) -> None:
    returned = cache.get_or_set("answer", 42, timeout=0)

    assert returned == 42
    assert cache.get("answer") is None


def test_get_or_set_passes_on_an_exception_and_stores_nothing(cache: BaseCache) -> None:
    def fail() -> int:
        raise LookupError("no answer")

    with pytest.raises(LookupError, match="no answer"):
        cache.get_or_set("answer", fail)

    assert cache.has_key("answer") is False


def test_get_or_set_keeps_timeout_and_version(cache: BaseCache, clock: Clock) -> None:
    cache.get_or_set("answer", 42, timeout=10, version=2)

    assert cache.get("answer", version=2) == 42
    assert cache.get("answer", version=1) is None
    clock.advance(11)
    assert cache.get("answer", version=2) is None
