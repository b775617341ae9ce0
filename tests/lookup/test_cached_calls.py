"""@cached: a call computes once, for functions, methods and `async def`, and its methods work."""

from __future__ import annotations

import abc
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.cache import caches
from django.db import transaction
from django.test import override_settings

from cachelayers.decorators import cached
from testproject.airports.models import Country
from tests.conftest import empty_cache

pytestmark = pytest.mark.django_db(transaction=True)

ALIAS = "sqlite_shared"
BINDS_WHAT_IS_IN_A_CLASSMETHOD = sys.version_info[:2] < (3, 13)

calls: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_cached(transactional_db: None) -> Iterator[None]:
    """Begin with an empty cache, in the database that the test may use."""
    with override_settings(CACHELAYERS={**settings.CACHELAYERS, "ALIAS": ALIAS}):
        empty_cache(ALIAS)
        calls.clear()
        yield


def note(*call: Any) -> int:
    calls.append(call)
    return len(calls)


@cached
def bare(country: str, limit: int = 10) -> int:
    """Count its calls."""
    return note(country, limit)


@cached(timeout=60)
def nothing() -> None:
    note()


@cached(timeout=60)
async def asynchronous(country: str) -> int:
    return note(country)


@cached
def country_name(code: str) -> str | None:
    note(code)
    return Country.objects.filter(code=code).values_list("name", flat=True).first()


@cached(tags=["homepage"])
def with_a_word() -> int:
    return note()


@cached(tags=lambda country, limit: [f"in {country}", f"first {limit}"])
def with_words_of_its_own(country: str, limit: int = 10) -> int:
    return note(country, limit)


@cached(timeout=60, key=lambda thing, *, depth: f"{thing['id']} {depth}")
def with_a_key(thing: dict[str, Any], *, depth: int = 1) -> int:
    return note(thing["id"], depth)


@cached
def makes_a_generator() -> Any:
    return (number for number in [note()])


class Report:
    """An object whose key is the user's."""

    def __init__(self, name: str) -> None:
        self.name = name

    @cached(timeout=60, key=lambda self, year=2026: f"{self.name} {year}")
    def total(self, year: int = 2026) -> int:
        """Add up."""
        return note(self.name, year)

    @cached(timeout=60, key=lambda self: self.name)
    async def later(self) -> int:
        return note(self.name)

    @cached
    @classmethod
    def inner(cls, year: int = 2026) -> int:
        return note(cls, year)

    @classmethod
    @cached
    def outer(cls, year: int = 2026) -> int:
        return note(cls, year)

    @cached(timeout=60)
    @staticmethod
    def static_inner(year: int) -> int:
        return note(year)

    @staticmethod
    @cached(timeout=60)
    def static_outer(year: int) -> int:
        return note(year)

    @property
    @cached(key=lambda self: self.name)
    def size(self) -> int:
        return note(self.name)


class Yearly(Report):
    """A class that inherits cached methods."""


# mypy takes @classmethod and @staticmethod for no decorators where others stand beside them, so it
# believes that Report.inner wants the class, and that Report("a").static_inner gets the instance.
AnyReport: Any = Report
AnyYearly: Any = Yearly


# Functions


def test_a_call_is_computed_once_however_it_is_written() -> None:
    results = [bare("FR"), bare("FR", 10), bare(country="FR"), bare(limit=10, country="FR")]

    assert results == [1, 1, 1, 1]
    assert calls == [("FR", 10)]


def test_other_arguments_are_other_values() -> None:
    results = [bare("FR"), bare("DE"), bare("FR", 11), bare("FR", True), bare("FR", 1)]

    assert results == [1, 2, 3, 4, 5]


def test_none_is_stored() -> None:
    nothing()
    nothing()

    assert len(calls) == 1


def test_the_value_changes_with_the_rows_that_it_was_made_from() -> None:
    Country.objects.create(code="FR", name="France")
    before = country_name("FR"), country_name("FR")

    Country.objects.filter(code="FR").update(name="République")

    assert before == ("France", "France")
    assert country_name("FR") == "République"
    assert calls == [("FR",), ("FR",)]


def test_a_generator_is_refused_when_a_call_returns_one() -> None:
    with pytest.raises(TypeError, match=r"makes_a_generator\(\) returned a generator"):
        makes_a_generator()


# Handles


def test_after_invalidate_one_call_computes_again() -> None:
    bare("FR")
    bare("DE")

    bare.invalidate(country="FR")

    assert bare("FR", 10) == 3
    assert bare("DE") == 2


def test_an_invalidation_that_is_rolled_back_has_not_been() -> None:
    bare("FR")

    with transaction.atomic():
        bare.invalidate("FR")
        transaction.set_rollback(True)

    assert bare("FR") == 1


def test_refresh_computes_and_stores_without_reading() -> None:
    bare("FR")

    assert bare.refresh("FR") == 2
    assert bare("FR") == 2


def test_uncached_neither_reads_nor_stores() -> None:
    bare("FR")

    assert bare.uncached("FR") == 2
    assert bare("FR") == 1


def test_key_names_the_entry_in_the_cache() -> None:
    assert bare.key("FR") not in caches[ALIAS]

    bare("FR")

    assert bare.key(limit=10, country="FR") in caches[ALIAS]
    assert bare.key("FR").startswith("tests.lookup.test_cached_calls.bare:")


# async def


def test_an_async_function_is_computed_once() -> None:
    async def twice() -> list[int]:
        return [await asynchronous("FR"), await asynchronous("FR"), await asynchronous("DE")]

    assert async_to_sync(twice)() == [1, 1, 2]


def test_the_handles_of_an_async_function() -> None:
    async def story() -> list[int]:
        first = await asynchronous("FR")
        uncached = await asynchronous.uncached("FR")
        refreshed = await asynchronous.refresh("FR")
        kept = await asynchronous("FR")
        again = await asynchronous.arefresh("FR")
        await asynchronous.ainvalidate("FR")
        return [first, uncached, refreshed, kept, again, await asynchronous("FR")]

    assert async_to_sync(story)() == [1, 2, 3, 3, 4, 5]


def test_the_async_handles_of_a_plain_function() -> None:
    Country.objects.create(code="FR", name="France")

    async def story() -> list[str | None]:
        first = await country_name.arefresh("FR")  # reads the database, which the loop may not
        await country_name.ainvalidate("FR")
        return [first, await country_name.arefresh("FR")]

    assert async_to_sync(story)() == ["France", "France"]
    assert country_name("FR") == "France"
    assert len(calls) == 2


# Methods


def test_a_method_and_its_handles_are_bound() -> None:
    report, twin, other = Report("a"), Report("a"), Report("b")

    assert [report.total(), twin.total(2026), other.total()] == [1, 1, 2]
    assert report.total.refresh() == 3
    assert report.total() == 3
    report.total.invalidate()
    assert report.total(year=2026) == 4
    assert report.total.uncached(2025) == 5
    assert report.total.key() == Report.total.key(report)
    assert Report.total(other) == 2


def test_an_async_method_and_its_handles_are_bound() -> None:
    async def story() -> list[int]:
        report = Report("a")
        first = [await report.later(), await report.later()]
        await report.later.ainvalidate()
        second = [await report.later(), await report.later.arefresh(), await report.later()]
        return [*first, *second]

    assert async_to_sync(story)() == [1, 1, 2, 3, 3]


def test_a_class_method_has_entries_for_each_class() -> None:
    assert [AnyReport.inner(), AnyReport.inner(2026), Report("a").inner(), AnyYearly.inner()] == [
        1,
        1,
        1,
        2,
    ]

    AnyYearly.inner.invalidate()

    assert [AnyReport.inner(), AnyYearly.inner()] == [1, 3]
    assert calls == [(Report, 2026), (Yearly, 2026), (Yearly, 2026)]


def test_classmethod_above_cached_works_and_its_handles_never_miss_in_silence() -> None:
    assert [AnyReport.outer(), AnyReport.outer(2026), AnyYearly.outer()] == [1, 1, 2]

    if BINDS_WHAT_IS_IN_A_CLASSMETHOD:
        AnyYearly.outer.invalidate(2026)
        assert [AnyReport.outer(), AnyYearly.outer()] == [1, 3]
    else:
        with pytest.raises(TypeError, match="Put @cached above @classmethod"):
            AnyYearly.outer.invalidate(2026)


@pytest.mark.parametrize("name", ["static_inner", "static_outer"])
def test_a_static_method_in_either_order(name: str) -> None:
    method = getattr(AnyReport, name)
    of_instance = getattr(Yearly("a"), name)

    assert [method(2026), method(year=2026), of_instance(2026), method(2025)] == [1, 1, 1, 2]
    of_instance.invalidate(2026)
    assert method(2026) == 3


def test_a_property_may_be_cached_from_below() -> None:
    assert [Report("a").size, Report("a").size, Report("b").size] == [1, 1, 2]


def test_a_method_of_a_row_has_entries_for_each_row() -> None:
    Country.objects.create(code="FR", name="France")

    keys = {greet.key(Country.objects.get(code="FR")) for _ in range(2)}

    assert len(keys) == 1
    assert greet(Country.objects.get(code="FR")) == "Bonjour, France"
    with pytest.raises(TypeError, match=r"'country' .*has not been saved"):
        greet(Country(code="DE"))


@cached
def greet(country: Country) -> str:
    return f"Bonjour, {country.name}"


def test_a_method_without_a_stable_self_is_refused_by_name() -> None:
    class Local:
        @cached
        def method(self) -> int:
            return 1

    with pytest.raises(TypeError, match=r"the argument 'self' \(Local\) makes no key"):
        Local().method()


def test_an_abstract_method_stays_abstract() -> None:
    class Base(abc.ABC):
        @cached
        @abc.abstractmethod
        def method(self) -> int: ...

    with pytest.raises(TypeError, match="abstract"):
        Base()  # type: ignore[abstract]


# Options that are functions of the arguments


def test_a_key_of_the_users_own_knows_calls_by_its_text() -> None:
    results = [
        with_a_key({"id": 1, "extra": object()}),
        with_a_key(thing={"id": 1}, depth=1),
        with_a_key({"id": 1}, depth=2),
    ]

    assert results == [1, 1, 2]
    assert with_a_key.key({"id": 1}).startswith("tests.lookup.test_cached_calls.with_a_key:")


def test_a_key_that_is_no_text_is_refused() -> None:
    @cached(key=lambda number: number)
    def function(number: int) -> int:
        return number

    with pytest.raises(TypeError, match=r"function: key= returned 5 \(int\)\. It must be a str"):
        function(5)


def test_a_tag_invalidates_the_entries_that_have_it() -> None:
    from cachelayers import invalidate

    with_a_word()
    with_words_of_its_own("FR")
    with_words_of_its_own("DE")

    invalidate("homepage")
    invalidate("in FR")

    assert with_a_word() == 4
    assert with_words_of_its_own("FR") == 5
    assert with_words_of_its_own("DE") == 3


def test_tags_from_arguments_get_the_defaults_too() -> None:
    from cachelayers import invalidate

    with_words_of_its_own("FR")

    invalidate("first 10")

    assert with_words_of_its_own("FR") == 2


def test_an_argument_that_changes_before_the_refresh_is_never_stored_under_its_old_key() -> None:
    codes = ["FR"]
    keeping = joined._storage
    key = joined.key(codes)
    codes.append("DE")

    with pytest.raises(RuntimeError, match="an argument was changed before"):
        keeping._compute(key, (codes,), {})


@cached(timeout=60, stale=60)
def joined(codes: list[str]) -> str:
    return ",".join(codes)
