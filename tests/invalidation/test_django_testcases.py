"""Values in users' own tests, within one transaction each or with a flush after each."""

from __future__ import annotations

from django.test import TestCase, TransactionTestCase

from cachelayers import recall, unit_of_work
from tests.library.models import Author


def count() -> int:
    """Recall in a new unit, as each request of a test client does."""
    with unit_of_work():
        return recall("authors", Author.objects.count, timeout=None, using="sqlite")


class Library:
    """Each test runs twice, so that the second run may find entries of the first."""

    def expect_own_rows_only(self) -> None:
        before = [count(), count()]
        Author.objects.create(name="Ann")
        after_create = [count(), count()]
        Author.objects.all().delete()
        after_delete = count()
        Author.objects.bulk_create([Author(name="Ann"), Author(name="Bob")])

        assert (before, after_create, after_delete, count()) == ([0, 0], [1, 1], 0, 2)

    def test_first(self) -> None:
        self.expect_own_rows_only()

    def test_second(self) -> None:
        self.expect_own_rows_only()


class InOneTransaction(Library, TestCase):
    """Nothing is committed."""


class WithAFlush(Library, TransactionTestCase):
    """The database is flushed after each test."""

    def test_a_value_recalled_twice_is_computed_once(self) -> None:
        with unit_of_work():
            recall("words", lambda: "first", timeout=None, using="sqlite")
        with unit_of_work():
            found = recall("words", lambda: "second", timeout=None, using="sqlite")

        assert found == "first"
