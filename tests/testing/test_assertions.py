"""The helpers work in each of Django's test cases, and their messages say what to do."""

from __future__ import annotations

import time
from unittest import mock

import pytest
from asgiref.sync import async_to_sync
from django.core.cache import cache
from django.template import Context, Template
from django.test import SimpleTestCase, TestCase, TransactionTestCase, override_settings

from cachelayers import arecall, cached, disabled, recall
from cachelayers.test_runs import OwnStatements
from cachelayers.testing import assert_cached, assert_computes, assert_invalidated_by, caching
from tests.library.models import Author

NAMES = Template(
    "{% load cachelayers %}{% fragment 'names' %}"
    "{% for author in authors %}{{ author.name }} {% endfor %}{% endfragment %}"
)


@cached(timeout=60)
def square(number: int) -> int:
    return number * number


@cached(timeout=60)
def names() -> list[str]:
    return list(Author.objects.order_by("name").values_list("name", flat=True))


def render() -> str:
    return NAMES.render(Context({"authors": Author.objects.order_by("name")}))


class InATestCase(TestCase):
    def setUp(self) -> None:
        self.enterContext(mock.patch.object(OwnStatements, "are_counted", False))
        Author.objects.create(name="Ann")

    def test_values_and_fragments_are_stored(self) -> None:
        with caching():
            with assert_computes(2):
                assert names() == names() == ["Ann"]
                assert render() == render() == "Ann "
            Author.objects.create(name="Bob")
            with assert_computes(2) as computed:
                assert names() == names() == ["Ann", "Bob"]
                assert render() == render() == "Ann Bob "
            assert names.key() in computed

    def test_queries_of_the_cache_are_not_counted(self) -> None:
        with caching():
            with self.assertNumQueries(1):
                names()
                names()
            Author.objects.create(name="Bob")
            with self.assertNumQueries(1):
                names()

    def test_each_block_begins_empty_and_leaves_other_values_alone(self) -> None:
        cache.set("greeting", "hello")
        for _ in range(2):
            with caching(), assert_computes(1):
                names()
                assert cache.get("greeting") == "hello"
        with assert_computes(2):
            names()
            names()

    def test_async_code_is_cached_too(self) -> None:
        async def visit() -> list[int]:
            return [await arecall("seven", lambda: 7) for _ in range(2)]

        with caching(), assert_computes(1):
            assert async_to_sync(visit)() == [7, 7]

    def test_without_caching_the_message_names_it(self) -> None:
        names()
        with pytest.raises(AssertionError, match=r"In a TestCase, use caching\(\)"):
            assert_cached(names)


class WithoutADatabase(SimpleTestCase):
    def test_a_function_that_reads_no_table_is_stored(self) -> None:
        assert [square(3), square(3)] == [9, 9]
        with caching():
            with assert_computes(1):
                assert [square(3), square(3)] == [9, 9]
            with assert_invalidated_by(square, 3):
                square.invalidate(3)
            with assert_computes(1):
                assert [square(3), square(3)] == [9, 9]


class WithCommits(TransactionTestCase):
    def test_values_are_stored_in_the_block_alone(self) -> None:
        with caching():
            names()
            with assert_invalidated_by(names):
                Author.objects.create(name="Ann")
            with assert_computes(1):
                assert names() == names() == ["Ann"]
        with assert_computes(1):
            names()
            assert_cached(names)


def test_no_database_is_needed_with_pytest() -> None:
    with caching():
        with assert_computes(1):
            assert [square(4), square(4)] == [16, 16]
        assert_cached(square, 4)


@override_settings(CACHELAYERS={"ENABLED": False})
def test_the_block_ignores_the_setting_enabled() -> None:
    with caching():
        square(5)
        assert_cached(square, 5)
        with disabled(), pytest.raises(AssertionError, match="caching is disabled"):
            assert_cached(square, 5)
    with pytest.raises(AssertionError, match="caching is disabled"):
        assert_cached(square, 5)


def test_a_moved_clock_ends_an_entry() -> None:
    with caching():
        square(6)
        assert_cached(square, 6)
        later = time.time() + 61
        with mock.patch("time.time", return_value=later):
            with pytest.raises(AssertionError, match="there is no entry"):
                assert_cached(square, 6)
            with assert_computes(1):
                square(6)


def test_a_stale_value_is_not_fresh() -> None:
    with caching():
        recall("weather", lambda: "rain", timeout=10, stale=60)
        later = time.time() + 11
        with (
            mock.patch("time.time", return_value=later),
            pytest.raises(AssertionError, match=r"recall\('weather'\) .*no longer fresh"),
        ):
            assert_cached("weather")


def test_messages_name_what_failed() -> None:
    with caching():
        with pytest.raises(AssertionError, match=r"square\(7\) is not cached: there is no"):
            assert_cached(square, 7)
        with (
            pytest.raises(AssertionError, match="Compute it before"),
            assert_invalidated_by(square, 7),
        ):
            pass
        with (
            pytest.raises(AssertionError, match=r"1 values were computed instead of 2:\n.*square"),
            assert_computes(2),
        ):
            square(7)
        with (
            pytest.raises(AssertionError, match="is still cached and valid after the block"),
            assert_invalidated_by(square, 7),
        ):
            pass


def test_wrong_arguments_are_type_errors() -> None:
    with pytest.raises(TypeError, match="Give a cached function"):
        assert_cached(len)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="takes no arguments"):
        assert_cached("key", 1)
