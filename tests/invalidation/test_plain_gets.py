"""A plain get() within a computation adds no dependency, and is reported."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any
from unittest.mock import patch

import pytest
from django.core.cache import BaseCache, caches

from cachelayers import arecall, recall
from cachelayers.invalidation.dependencies import Capture, capturing
from cachelayers.invalidation.reports import reports
from cachelayers.invalidation.units import unit_of_work

GETS: dict[str, Callable[[BaseCache], object]] = {
    "get": lambda cache: cache.get("flag"),
    "get_many": lambda cache: cache.get_many(["flag"]),
    "get_or_set": lambda cache: cache.get_or_set("flag", 1),
}
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=["sqlite", "memory", "memory_table"])
def cache(request: pytest.FixtureRequest) -> BaseCache:
    reports.clear()
    found = caches[request.param]
    found.set("flag", 1)
    return found


@pytest.mark.parametrize("name", GETS)
def test_a_plain_get_limits_the_age_of_values_that_depend_on_it(
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


@pytest.mark.parametrize("is_wrapped", [False, True])
def test_an_inner_recall_in_async_code_or_of_a_wrapped_cache_is_none_either(
    cache: BaseCache, caplog: pytest.LogCaptureFixture, is_wrapped: bool
) -> None:
    """Tracing tools wrap the methods of caches."""
    alias = str(getattr(cache, "alias", ""))

    def wrapper(*arguments: Any, _read: Callable[..., Any], **keywords: Any) -> Any:
        return _read(*arguments, **keywords)

    async def outer() -> int:
        return await arecall("inner", lambda: 1, using=alias)

    async def twice() -> None:
        for _ in range(2):
            with unit_of_work():
                await arecall("outer", outer, using=alias)
                await caches[alias].adelete("outer")

    with ExitStack() as stack:
        for name in ("get", "get_many") if is_wrapped else ():
            wrapped = partial(wrapper, _read=getattr(cache, name))
            stack.enter_context(patch.object(cache, name, wrapped))
        with caplog.at_level(logging.WARNING):
            asyncio.run(twice())
            with unit_of_work():
                recall("outer", lambda: recall("inner", lambda: 1, using=alias), using=alias)

    assert "plain get()" not in caplog.text
