"""objects.recalled(), fetch() and fetch_many(): rows are recalled, and never stale or shared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, F, Prefetch
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils.module_loading import import_string

from cachelayers import invalidate, unit_of_work
from cachelayers.managers import RecalledManager, RecalledQuerySet
from tests.conftest import empty_cache
from tests.library.models import Author, Book, Card, Loan
from tests.state import reset

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True, params=["sqlite_shared", "memory_table"])
def _empty_cache(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[None]:
    alias = str(request.param)
    with override_settings(CACHELAYERS={**settings.CACHELAYERS, "ALIAS": alias}):
        empty_cache(alias)
        reset("invalidation.reports.reports")
        yield


@pytest.fixture
def books() -> Any:
    author = Author.objects.create(name="Ann")
    Book.objects.bulk_create(
        [Book(title=title, author=author) for title in ("Harbours", "Ports", "Tides")]
    )
    manager: Any = RecalledManager()
    manager.model = Book
    return manager


@contextmanager
def reads(expected: int) -> Iterator[None]:
    """Assert how often the block reads the library's tables."""
    with CaptureQueriesContext(connection) as queries:
        yield
    found = [one["sql"] for one in queries if 'FROM "library_' in one["sql"]]
    assert len(found) == expected, found


def titles(rows: Any) -> list[str]:
    return [row.title for row in rows]


def test_rows_are_recalled_until_they_change(books: Any) -> None:
    rows = books.recalled(timeout=60).order_by("title")
    with reads(1):
        assert titles(rows.all()) == titles(rows.all()) == ["Harbours", "Ports", "Tides"]

    Book.objects.filter(title="Ports").update(title="Quays")
    assert titles(rows.all()) == ["Harbours", "Quays", "Tides"]
    Book.objects.filter(title="Tides").delete()
    assert titles(rows.all()) == ["Harbours", "Quays"]


def test_without_recalled_the_database_answers(books: Any) -> None:
    with reads(4):
        for _ in range(2):
            assert len(books.all()) == 3
            assert books.count() == 3


def test_other_queries_are_other_entries(books: Any) -> None:
    rows = books.recalled()
    for _ in range(2):
        assert titles(rows.order_by("title")[:1]) == ["Harbours"]
        assert titles(rows.order_by("-title")[1:]) == ["Ports", "Harbours"]
        assert rows.order_by("title").first().title == "Harbours"
        assert rows.get(title="Tides").title == "Tides"
        assert list(rows.filter(title="Tides").values("pk")) == [
            {"pk": Book.objects.get(title="Tides").pk}
        ]
        assert next(iter(rows.filter(title="Tides").values("id"))).keys() == {"id"}
        assert next(iter(rows.order_by("title").values_list("title", flat=True))) == "Harbours"
        assert next(iter(rows.order_by("title").values_list("title"))) == ("Harbours",)
        assert list(rows.none()) == []


def test_count_and_exists_are_recalled(books: Any) -> None:
    rows = books.recalled().filter(title__startswith="P")
    with reads(2):
        for _ in range(2):
            assert rows.count() == 1
            assert rows.exists()

    Book.objects.all().delete()

    assert rows.count() == 0
    assert not rows.exists()


def test_related_rows_are_part_of_it(books: Any) -> None:
    shown: Any = Prefetch(
        "author__books", RecalledQuerySet(Book).order_by("-title"), to_attr="shown"
    )
    for _ in range(2):
        [first, *_] = books.recalled().select_related("author").order_by("title")
        assert first.author.name == "Ann"
        [first, *_] = books.recalled().prefetch_related("author", shown).order_by("title")
        assert titles(first.author.shown)[0] == "Tides"
        with reads(0):
            assert first.author.name == "Ann"

    Author.objects.update(name="Anne")

    assert books.recalled().select_related("author").first().author.name == "Anne"
    assert books.recalled().prefetch_related("author", shown).first().author.name == "Anne"


def test_instances_are_copies_and_can_be_saved(books: Any) -> None:
    rows = books.recalled().order_by("title")
    first = rows.first()
    first.title = "changed, not saved"
    assert rows.first().title == "Harbours"

    second = rows.first()
    second.title = "Anchors"
    second.save()

    assert rows.first().title == "Anchors"
    assert not second._state.adding


def test_fetch_and_fetch_many_share_entries(books: Any) -> None:
    first, second, third = Book.objects.order_by("pk").values_list("pk", flat=True)
    with reads(1):
        assert titles(books.fetch_many([first, str(second)]).values()) == ["Harbours", "Ports"]
        assert books.fetch(second).title == "Ports"
        assert books.fetch(str(first)).title == "Harbours"
    with reads(1):
        assert list(books.fetch_many([third, first])) == [third, first]

    Book.objects.filter(pk=first).update(title="Anchors")
    assert books.fetch(first).title == "Anchors"
    invalidate(Book(pk=first))
    with reads(1):
        books.fetch(first)


def test_a_row_that_does_not_exist_is_remembered_until_it_does(books: Any) -> None:
    for _ in range(2):
        with pytest.raises(Book.DoesNotExist, match="Book matching query does not exist"):
            books.fetch(12_345)
        assert books.fetch_many([12_345]) == {}
    with reads(0), pytest.raises(Book.DoesNotExist):
        books.fetch(12_345)

    Book.objects.create(pk=12_345, title="Buoys", author=Author.objects.get())

    assert books.fetch(12_345).title == "Buoys"
    with pytest.raises(ValueError, match="'x' cannot be the primary key of a"):
        books.fetch("x")


def test_fetch_within_a_filter_and_with_related_rows(books: Any) -> None:
    pk = Book.objects.get(title="Tides").pk

    with pytest.raises(Book.DoesNotExist):
        books.filter(title="Ports").fetch(pk)
    for _ in range(2):
        book = books.recalled(timeout=60).select_related("author").fetch(pk)
        with reads(0):
            assert book.author.name == "Ann"


def test_other_kinds_of_primary_keys() -> None:
    card = Card.objects.create(holder="Ann")
    loan = Loan.objects.create(number=7, reader="Ann")

    for _ in range(2):
        assert RecalledQuerySet(Card).fetch_many([str(card.pk)]) == {card.pk: card}
        assert RecalledQuerySet(Loan).fetch_many([loan.pk]) == {loan.pk: loan}


def test_a_transaction_that_has_written_reads_its_own_rows_alone(books: Any) -> None:
    pk = Book.objects.get(title="Ports").pk
    assert books.fetch(pk).title == "Ports"
    rows = books.recalled().filter(pk=pk)
    assert rows.count() == 1

    with transaction.atomic():
        Book.objects.filter(pk=pk).update(title="Quays")
        assert books.fetch(pk).title == titles(rows.all())[0] == "Quays"
        transaction.set_rollback(True)

    assert books.fetch(pk).title == titles(rows.all())[0] == "Ports"


def test_what_is_locked_or_written_comes_from_the_database(books: Any) -> None:
    rows = books.recalled()
    pk = rows.all()[0].pk
    rows.fetch(pk)
    with transaction.atomic(), reads(2):
        titles(rows.select_for_update())
        rows.select_for_update().fetch(pk)
    with reads(2):
        list(rows.iterator())
        assert rows.aggregate(Count("pk")) == {"pk__count": 3}
    rows.filter(title="Ports").update(shelf=F("shelf") + 1)
    assert rows.get(title="Ports").shelf == 1
    rows.filter(title="Ports").delete()
    assert len(rows.all()) == 2
    _, is_new = rows.get_or_create(title="Ports", author=Author.objects.get())
    assert is_new


def test_a_related_managers_rows_hold_the_callers_instance(books: Any) -> None:
    author = Author.objects.get()
    rows: Any = RecalledQuerySet(Book)
    rows._known_related_objects = {Book._meta.get_field("author"): {author.pk: author}}

    for _ in range(2):
        assert rows.recalled().first().author is author


def test_named_tuples_and_values_without_a_key(
    books: Any, caplog: pytest.LogCaptureFixture
) -> None:
    rows = books.recalled()
    for _ in range(2):
        assert rows.values_list("title", named=True).order_by("title")[0].title == "Harbours"
        assert not caplog.records
    for _ in range(2):
        odd = rows.all()
        odd.translate = lambda text: text  # a subclass may use it for each row
        assert len(odd) == 3
    [record] = caplog.records
    assert "The rows of library.Book" in record.getMessage()
    assert "makes no key" in record.getMessage()


def test_rows_that_fetch_deferred_fields_otherwise_are_other_rows(books: Any) -> None:
    rows = books.recalled().defer("title").order_by("pk")
    assert rows.first().title == "Harbours"
    if hasattr(rows, "fetch_mode"):  # from Django 6.1 on
        blocked = rows.fetch_mode(import_string("django.db.models.FETCH_RAISE")).first()
        with pytest.raises(Exception, match="Fetching of"):
            assert blocked.title


def test_in_async_code(books: Any) -> None:
    async def read() -> list[Any]:
        with unit_of_work():
            rows = books.recalled().order_by("title")
            return [
                [book.title async for book in rows],
                (await rows.aget(title="Ports")).title,
                await rows.acount(),
                await rows.aexists(),
                (await books.afetch((await rows.afirst()).pk)).title,
                titles((await books.afetch_many([(await rows.alast()).pk])).values()),
            ]

    expected = [["Harbours", "Ports", "Tides"], "Ports", 3, True, "Harbours", ["Tides"]]
    assert async_to_sync(read)() == expected
    with reads(0):
        assert async_to_sync(read)() == expected


def test_options_reach_recall(books: Any) -> None:
    rows = books.recalled(timeout=60, stale=10, tags=["books"]).filter(title="Ports")
    with reads(1):
        titles(rows.all())
        titles(rows.all())
    invalidate("books")
    with reads(1):
        titles(rows.all())
    with pytest.raises(ValueError, match="stale"):
        titles(books.recalled(timeout=None, stale=1))
