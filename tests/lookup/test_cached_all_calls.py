"""All entries of a cached function end at once; values without a pickle are reported."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.management import call_command
from django.db import transaction
from django.test import override_settings

from cachelayers import cached, invalidate, recall, unit_of_work
from tests.conftest import empty_cache
from tests.state import reset

pytestmark = pytest.mark.django_db(transaction=True)

ALIAS = "sqlite_shared"
calls: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_cached(transactional_db: None) -> Iterator[None]:
    with override_settings(CACHELAYERS={**settings.CACHELAYERS, "ALIAS": ALIAS}):
        empty_cache(ALIAS)
        calls.clear()
        reset("invalidation.reports.reports", "invalidation.tags._doubted_tags")
        yield


def note(*call: Any) -> int:
    calls.append(call)
    return len(calls)


@cached
def by_country(code: str) -> int:
    return note(code)


@cached(tags=lambda code: [f"country {code}"])
def by_tag(code: str) -> int:
    return note(code)


@cached
async def asynchronous(code: str) -> int:
    return note(code)


class Shop:
    @cached(key=lambda self: "shop")
    def method(self) -> int:
        return note("method")

    @cached
    @classmethod
    def of_class(cls) -> int:
        return note("class")

    @cached
    @staticmethod
    def static() -> int:
        return note("static")


def calls_of(function: Any) -> list[int]:
    return [function("FR"), function("DE")]


@pytest.mark.parametrize("function", [by_country, by_tag])
def test_invalidate_all_ends_the_entries_of_all_arguments(function: Any) -> None:
    assert calls_of(function) == calls_of(function) == [1, 2]

    function.invalidate_all()
    assert calls_of(function) == [3, 4]

    invalidate(function)
    assert calls_of(function) == [5, 6]
    assert calls_of(function) == [5, 6]


def test_invalidate_all_leaves_other_functions_alone() -> None:
    assert by_country("FR") == 1

    by_tag.invalidate_all()

    assert by_country("FR") == 1


def test_invalidate_all_is_part_of_the_transaction() -> None:
    by_country("FR")

    with transaction.atomic():
        by_country.invalidate_all()
        transaction.set_rollback(True)

    assert by_country("FR") == 1


def test_invalidate_all_of_an_async_function() -> None:
    async def call_twice() -> list[int]:
        before = await asynchronous("FR")
        await asynchronous.ainvalidate_all()
        return [before, await asynchronous("FR")]

    assert async_to_sync(call_twice)() == [1, 2]


@pytest.mark.parametrize("method", [Shop().method, Shop.of_class, Shop.static])
def test_invalidate_all_of_methods(method: Any) -> None:
    assert method() == method() == 1

    method.invalidate_all()
    assert method() == 2

    invalidate(method)
    assert method() == 3


def test_an_operator_can_name_the_function() -> None:
    by_country("FR")

    call_command("clear_cache", "--tag", f"function:{__name__}.by_country", "--no-input")

    assert by_country("FR") == 2


def test_a_tag_with_a_star_is_reported_as_no_pattern(caplog: pytest.LogCaptureFixture) -> None:
    invalidate("menu*")
    invalidate("menu*")

    [record] = caplog.records
    assert "invalidate('menu*'): this is one tag, not a pattern" in record.getMessage()


def test_a_known_tag_with_a_star_is_one_tag(caplog: pytest.LogCaptureFixture) -> None:
    with unit_of_work():
        recall("starred", note, tags=["five *"])

    invalidate("five *")

    assert not caplog.records
    assert recall("starred", note, tags=["five *"]) == 2


@cached
def unpicklable(code: str) -> Any:
    note(code)
    return [code, threading.Lock()]


@cached
async def asynchronously_unpicklable() -> Any:
    return threading.Lock()


def test_a_value_that_cannot_be_pickled_is_returned_and_reported_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    codes = [unpicklable("FR")[0] for _ in range(2)]

    assert codes == ["FR", "FR"]
    assert len(calls) == 2
    [record] = caplog.records
    assert f"{__name__}.unpicklable" in record.getMessage()
    assert "cannot pickle '_thread.lock' object" in record.getMessage()
    assert "Return data" in record.getMessage()


def test_a_value_that_is_made_of_it_is_stored() -> None:
    def first() -> Any:
        return unpicklable("FR")[0]

    assert recall("outer", first) == recall("outer", first) == "FR"
    assert len(calls) == 1


def test_so_is_that_of_an_async_function(caplog: pytest.LogCaptureFixture) -> None:
    assert async_to_sync(asynchronously_unpicklable)() is not None

    [record] = caplog.records
    assert "is not stored: it cannot be pickled" in record.getMessage()


def test_an_async_generator_is_refused_when_decorated() -> None:
    async def rows() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(TypeError, match="is a generator, which can be read only once"):
        cached(rows)
