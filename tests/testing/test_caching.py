"""`caching()` stores values within a test's transaction, and ends them as commits would."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest
from django.db import connections, transaction
from pytest_django.plugin import DjangoDbBlocker

from cachelayers import invalidate, recall, unit_of_work
from cachelayers.invalidation import LOG
from cachelayers.testing import assert_cached, assert_computes, assert_invalidated_by, caching
from tests.invalidation.conftest import VENDORS
from tests.library.models import Author, Book


@pytest.fixture(params=VENDORS)
def database(
    request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[str]:
    """Open a transaction like a TestCase, write to it, and return its database."""
    alias: str = request.param
    with django_db_blocker.unblock(), contextlib.ExitStack() as stack:
        for one in dict.fromkeys(["default", alias]):
            stack.enter_context(transaction.atomic(one))
            stack.callback(transaction.set_rollback, True, one)
        Author.objects.using(alias).create(name="Ann")
        yield alias


def names(database: str) -> list[str]:
    """Recall the names of authors."""
    return recall("names", lambda: read_names(database), timeout=None)


def read_names(database: str) -> list[str]:
    return sorted(Author.objects.using(database).values_list("name", flat=True))


def execute(database: str, statement: str) -> None:
    with connections[database].cursor() as cursor:
        cursor.execute(statement)


class Undone(Exception):
    """Ends a block whose writes are not wanted."""


def test_a_value_is_a_hit_until_its_rows_change(database: str) -> None:
    with caching():
        for name in ("Bob", "Cid", "Dan"):
            with assert_computes(1):
                assert names(database) == names(database) == read_names(database)
            Author.objects.using(database).create(name=name)
        ann = Author.objects.using(database).get(name="Ann")
        for name in ("Anna", "Anne"):  # the same row again, in the same transaction
            names(database)
            with assert_invalidated_by("names"):
                ann.name = name
                ann.save()
            assert name in names(database)


def test_another_row_is_no_reason_to_compute(database: str) -> None:
    ann = Author.objects.using(database).create(name="Ann")

    def look(pk: int) -> str:
        return Author.objects.using(database).get(pk=pk).name

    with caching():
        recall("ann", lambda: look(ann.pk), timeout=None)
        Book.objects.using(database).create(title="Ports", author=ann)
        assert_cached("ann")
        with assert_invalidated_by("ann"):
            Author.objects.using(database).filter(pk=ann.pk).update(name="Anna")


def test_an_inner_block_that_is_rolled_back_leaves_no_entry(database: str) -> None:
    with caching():
        names(database)
        with contextlib.suppress(Undone), transaction.atomic(database):
            Author.objects.using(database).create(name="Eve")
            assert "Eve" in names(database)
            with transaction.atomic(database):
                assert "Eve" in names(database)
            raise Undone
        assert_cached("names")
        with assert_computes(0):
            assert names(database) == ["Ann"]


def test_an_inner_block_that_ends_counts_as_committed(database: str) -> None:
    with caching():
        names(database)
        with assert_invalidated_by("names"), transaction.atomic(database):
            Author.objects.using(database).create(name="Bob")
        with transaction.atomic(database), assert_computes(1):
            assert names(database) == names(database) == ["Ann", "Bob"]


def test_an_explicit_savepoint_that_is_rolled_back_leaves_no_entry(database: str) -> None:
    with caching():
        execute(database, "SAVEPOINT mine")
        Author.objects.using(database).create(name="Eve")
        assert names(database) == ["Ann", "Eve"]
        execute(database, "ROLLBACK TO SAVEPOINT mine")
        assert names(database) == ["Ann"]
        Author.objects.using(database).create(name="Bob")
        assert names(database) == ["Ann", "Bob"]
        execute(database, "/* a comment */ ROLLBACK TO SAVEPOINT mine")
        assert names(database) == ["Ann"]


def test_a_write_and_a_rollback_and_the_same_write(database: str) -> None:
    with caching():
        for _ in range(2):
            with contextlib.suppress(Undone), transaction.atomic(database):
                Author.objects.using(database).create(name="Eve")
                raise Undone
            names(database)
            with assert_invalidated_by("names"):
                made = Author.objects.using(database).create(name="Eve")
            names(database)
            made.delete()
            assert names(database) == ["Ann"]


def test_invalidations_end_entries(database: str) -> None:
    with caching():
        for _ in range(2):
            recall("tagged", lambda: 1, timeout=None, tags=["news"])
            names(database)
            with assert_invalidated_by("tagged"):
                invalidate("news", using="default")
            with assert_invalidated_by("names"):
                invalidate(Author, using=database)


def test_a_value_read_before_a_write_in_one_unit_is_not_stored(database: str) -> None:
    with caching(), unit_of_work():
        before = read_names(database)
        Author.objects.using(database).create(name="Bob")
        with unit_of_work():
            assert names(database) == [*before, "Bob"]


def test_the_log_keeps_what_it_had(database: str) -> None:
    def tags() -> set[str]:
        with connections[database].cursor() as cursor:
            cursor.execute(f"SELECT tag FROM {LOG}")
            return {tag for (tag,) in cursor.fetchall()}

    before = tags()
    with caching():
        names(database)
    assert before
    assert tags() == before


def test_a_value_that_another_thread_has_read_is_not_stored(database: str) -> None:
    def read_and_close() -> list[str]:
        try:
            return read_names(database)
        finally:
            connections.close_all()

    def read_in_thread() -> list[str]:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(copy_context().run, read_and_close).result()

    with caching(), unit_of_work():
        assert names(database) == ["Ann"]
        assert "Ann" not in recall("threaded", read_in_thread, timeout=None)
        with pytest.raises(AssertionError, match="there is no entry"):
            assert_cached("threaded")


def test_another_thread_gets_nothing_of_the_test(database: str) -> None:
    found: list[list[str]] = []

    def visit() -> None:
        try:
            with unit_of_work():
                found.append(names(database))
        finally:
            connections.close_all()

    with caching():
        names(database)
        thread = threading.Thread(target=visit)
        thread.start()
        thread.join()
        assert "Ann" not in found[0]
        with assert_computes(0):
            assert names(database) == ["Ann"]
