"""@cached: rows in arguments, and lazy querysets in values, are dependencies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import Count
from django.test import override_settings
from django.utils.functional import SimpleLazyObject

from cachelayers import cached, recall, unit_of_work
from tests.conftest import empty_cache
from tests.library.models import Author, Book

pytestmark = pytest.mark.django_db(transaction=True)

ALIAS = "sqlite_shared"

calls: list[str] = []


@pytest.fixture(autouse=True)
def author(transactional_db: None) -> Iterator[Author]:
    with override_settings(CACHELAYERS={**settings.CACHELAYERS, "ALIAS": ALIAS}):
        empty_cache(ALIAS)
        calls.clear()
        author = Author.objects.create(name="Ann")
        with unit_of_work() as unit:
            unit.refresh("default")  # so that what is made from now on is newer than that
        yield author


def check_invalidated(
    call: Callable[[], Any], change: Callable[[], Any], before: object, after: object
) -> None:
    """Check that a call is a hit until a change, and then returns the new value."""
    assert [call(), call()] == [before] * 2
    assert len(calls) == 1

    change()

    assert call() == after


def rename() -> None:
    Author.objects.update(name="Bea")


# Rows that it is given, whose fields it reads without a statement


@cached
def greet(author: Author) -> str:
    calls.append("greet")
    return f"Hello, {author.name}"


@cached
def greet_all(greeting: str, *, guests: dict[str, list[Author]]) -> str:
    calls.append("greet_all")
    return f"{greeting}, {guests['all'][0].name}"


@cached(key=lambda author: str(author.pk))
def greet_by_key(author: Author) -> str:
    calls.append("greet_by_key")
    return f"Hello, {author.name}"


@cached
async def greet_later(author: Author) -> str:
    calls.append("greet_later")
    return f"Hello, {author.name}"


@pytest.mark.parametrize(
    "call",
    [
        greet,
        lambda author: greet_all("Hello", guests={"all": [author]}),
        greet_by_key,
        async_to_sync(greet_later),
        lambda author: greet(SimpleLazyObject(lambda: author)),  # type: ignore[arg-type]
    ],
    ids=["argument", "container", "key", "async", "lazy"],
)
def test_a_row_in_an_argument_is_a_dependency(call: Callable[[Author], str]) -> None:
    check_invalidated(lambda: call(Author.objects.get()), rename, "Hello, Ann", "Hello, Bea")


@cached(key=lambda guests: "all")
def greet_these(guests: Any) -> str:
    calls.append("greet_these")
    return f"Hello, {guests.names[0]}"


def test_an_argument_without_a_canonical_form_depends_on_all_reads() -> None:
    def call() -> str:
        with unit_of_work():
            return greet_these(SimpleNamespace(names=[one.name for one in Author.objects.all()]))

    check_invalidated(call, rename, "Hello, Ann", "Hello, Bea")


def test_a_row_that_was_never_committed_leaves_no_value() -> None:
    with unit_of_work():
        with transaction.atomic():
            rename()
            found = Author.objects.get()
            transaction.set_rollback(True)
        assert greet(found) == "Hello, Bea"

    assert greet(Author.objects.get()) == "Hello, Ann"


@cached
def books_of(author: Any) -> int:
    calls.append("books_of")
    return int(author.count)


def test_an_annotation_of_a_row_is_a_dependency(author: Author) -> None:
    def count() -> int:
        with unit_of_work():
            return books_of(Author.objects.annotate(count=Count("books")).get())

    def write() -> None:
        Book.objects.create(title="Maps", author=author)

    check_invalidated(count, write, 0, 1)


@cached(capture=False)
def greet_for_ever(author: Author) -> str:
    calls.append("greet_for_ever")
    return f"Hello, {author.name}"


def test_a_function_without_capture_does_not_depend_on_its_arguments() -> None:
    def call() -> str:
        with unit_of_work():
            author = Author.objects.get()
            with unit_of_work():
                return greet_for_ever(author)

    check_invalidated(call, rename, "Hello, Ann", "Hello, Ann")


class EntryStore:
    model = Author

    @cached
    @classmethod
    def names(cls) -> list[str]:
        calls.append("names")
        return [author.name for author in Author.objects.all()]


def test_a_class_in_an_argument_is_not_searched_for_rows() -> None:
    check_invalidated(EntryStore.names, rename, ["Ann"], ["Bea"])  # type: ignore[arg-type] # a class method


# Rows that its value has yet to read


@cached
def in_a_query() -> Any:
    calls.append("in_a_query")
    return {"authors": Author.objects.order_by("pk")}


@cached
async def in_a_query_later() -> Any:
    return in_a_query.uncached()


@cached
def in_a_lazy_object() -> Any:
    calls.append("in_a_lazy_object")
    return {"authors": SimpleLazyObject(lambda: list(Author.objects.all()))}


@pytest.mark.parametrize(
    "call",
    [in_a_query, async_to_sync(in_a_query_later), in_a_lazy_object],
    ids=["query", "async", "lazy object"],
)
def test_a_lazy_queryset_in_a_value_is_a_dependency(call: Callable[[], Any]) -> None:
    check_invalidated(
        lambda: [author.name for author in call()["authors"]], rename, ["Ann"], ["Bea"]
    )


def test_database_errors_of_a_returned_query_are_raised() -> None:
    with pytest.raises(DatabaseError, match="no such column"):
        recall("broken", lambda: Author.objects.extra(where=["no_such_column"]), using=ALIAS)
