"""incr and decr: exact sums, an unchanged expiry, and clear errors."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.core.cache.backends.base import BaseCache

from tests.contract.fixtures import Clock, every_backend

pytestmark = every_backend

BORDER = 2**63  # the first number that a signed 64-bit column cannot hold


def test_incr_adds_one_and_returns_the_sum(cache: BaseCache) -> None:
    cache.set("counter", 41)

    returned = cache.incr("counter")

    assert returned == 42
    assert cache.get("counter") == 42


def test_incr_adds_any_whole_number(cache: BaseCache) -> None:
    sums = [(40, 2), (42, -2), (0, -1), (-5, 3), (1, 0), (-1, 1), (7, 10**12)]

    assert [counted(cache, start, delta) for start, delta in sums] == [sum(one) for one in sums]


def counted(cache: BaseCache, start: object, delta: int = 1) -> object:
    """Return a counter that was incremented, as incr() returns it and as get() does."""
    cache.set("counter", start)
    returned = cache.incr("counter", delta)
    assert cache.get("counter") == returned
    return returned


def test_decr_subtracts_also_below_zero(cache: BaseCache) -> None:
    for start, delta, total in [(42, 1, 41), (42, 2, 40), (0, 1, -1), (-1, -1, 0)]:
        cache.set("counter", start)

        assert cache.decr("counter", delta) == total
        assert cache.get("counter") == total


@pytest.mark.parametrize("operation", ["incr", "decr"])
def test_counting_a_missing_key_is_a_value_error_that_names_it(
    cache: BaseCache, operation: str
) -> None:
    with pytest.raises(ValueError, match="nobody"):
        getattr(cache, operation)("nobody")

    assert cache.has_key("nobody") is False


def test_counting_an_expired_key_is_a_value_error(cache: BaseCache, clock: Clock) -> None:
    cache.set("counter", 1, timeout=10)
    clock.advance(11)

    with pytest.raises(ValueError, match="counter"):
        cache.incr("counter")

    assert cache.get("counter") is None


def test_counting_keeps_the_expiry(cache: BaseCache, clock: Clock) -> None:
    cache.set("counter", 1, timeout=10)
    clock.advance(9)
    cache.incr("counter")
    before = cache.get("counter")

    clock.advance(2)

    assert before == 2
    assert cache.get("counter") is None


def test_counting_keeps_an_entry_without_expiry(cache: BaseCache, clock: Clock) -> None:
    cache.set("counter", 1, timeout=None)
    cache.incr("counter")

    clock.advance(10 * 365 * 86400)

    assert cache.get("counter") == 2


def test_a_counter_stays_a_number(cache: BaseCache) -> None:
    cache.set("counter", 1)
    cache.incr("counter")

    stored = cache.get("counter")

    assert type(stored) is int


def test_an_added_counter_counts(cache: BaseCache) -> None:
    cache.add("counter", 0)

    returned = [cache.incr("counter") for _ in range(5)]

    assert returned == [1, 2, 3, 4, 5]


def test_a_counter_of_set_many_counts(cache: BaseCache) -> None:
    cache.set_many({"counter": 5})

    assert cache.incr("counter") == 6


def test_a_replaced_counter_counts_from_the_new_value(cache: BaseCache) -> None:
    cache.set("counter", 5)
    cache.incr("counter")
    cache.set("counter", "text")
    cache.set("counter", 100)

    assert cache.incr("counter") == 101


def test_counting_honours_the_version(cache: BaseCache) -> None:
    cache.set("counter", 1, version=1)
    cache.set("counter", 10, version=2)

    second = cache.incr("counter", version=2)
    first = cache.decr("counter", version=1)

    assert (first, second) == (0, 11)


def test_a_counter_never_wraps_at_64_bits(cache: BaseCache) -> None:
    sums = [
        (BORDER - 1, 1),
        (-BORDER, -1),
        (BORDER - 1, BORDER - 1),
        (BORDER, 1),
        (BORDER, -1),
        (10**40, 1),
        (1, BORDER),
        (1, -(10**40)),
        (-BORDER, BORDER),
    ]

    assert [counted(cache, start, delta) for start, delta in sums] == [sum(one) for one in sums]


def test_other_numbers_count_as_in_django(cache: BaseCache) -> None:
    starts = [True, False, 1.5, Decimal("1.5")]

    assert [counted(cache, start) for start in starts] == [2, 1, 2.5, Decimal("2.5")]


def test_counting_another_value_is_an_error_and_keeps_it(cache: BaseCache) -> None:
    for value in ["41", "text", b"41", None, [1], {"a": 1}]:
        cache.set("counter", value)

        with pytest.raises((TypeError, ValueError)):
            cache.incr("counter")

        assert cache.get("counter", "missing") == value


def test_a_delta_that_is_no_number_is_an_error(cache: BaseCache) -> None:
    cache.set("counter", 1)
    deltas: list[Any] = ["1", None, object()]

    for delta in deltas:
        with pytest.raises((TypeError, ValueError)):
            cache.incr("counter", delta)

    assert cache.get("counter") == 1


def test_a_fraction_as_delta_counts_as_in_django(cache: BaseCache) -> None:
    cache.set("counter", 1)

    returned = cache.incr("counter", 0.5)  # type: ignore[arg-type] # Django's own backends take it

    assert returned == 1.5
    assert cache.get("counter") == 1.5
