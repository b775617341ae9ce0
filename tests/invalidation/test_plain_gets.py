"""What a compute takes out of a cache by hand is no dependency, and that is said."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from django.core.cache import BaseCache, caches

from cachelayers import recall
from cachelayers.invalidation.capture import Capture, capturing
from cachelayers.invalidation.reports import forget_said
from cachelayers.invalidation.units import unit_of_work

GETS: dict[str, Callable[[BaseCache], object]] = {
    "get": lambda cache: cache.get("flag"),
    "get_many": lambda cache: cache.get_many(["flag"]),
    "get_or_set": lambda cache: cache.get_or_set("flag", 1),
}
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=["sqlite", "memory", "memory_table"])
def cache(request: pytest.FixtureRequest) -> BaseCache:
    forget_said()
    found = caches[request.param]
    found.set("flag", 1)
    return found


@pytest.mark.parametrize("name", GETS)
def test_a_value_taken_by_hand_bounds_what_is_made_of_it(
    cache: BaseCache, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with unit_of_work() as unit, caplog.at_level(logging.WARNING):
        capture = Capture(unit)
        with capturing(capture):
            GETS[name](cache)
            GETS[name](cache)

    assert capture.is_untracked
    assert "plain get()" in caplog.text
    assert "test_plain_gets.py" in caplog.text


def test_an_inner_recall_is_no_value_taken_by_hand(
    cache: BaseCache, caplog: pytest.LogCaptureFixture
) -> None:
    alias = str(getattr(cache, "alias", ""))
    for _ in range(2):
        with unit_of_work(), caplog.at_level(logging.WARNING):
            recall("outer", lambda: recall("inner", lambda: 1, using=alias), using=alias)
            caches[alias].delete("outer")

    assert "plain get()" not in caplog.text
