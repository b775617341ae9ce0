"""A value ends with the writes to the rows that it was made from, not with all of the table's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from django.db import connections
from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from cachelayers import invalidate
from tests.invalidation.conftest import Site
from tests.library.models import Author, Book, Card, Essay, Subject

Act = Callable[[str], Any]


def books(database: str) -> QuerySet[Book]:
    return Book.objects.using(database)


def authors(database: str) -> QuerySet[Author]:
    return Author.objects.using(database)


def through(database: str) -> QuerySet[Any]:
    return Book.subjects.through._default_manager.using(database).all()


def raw(database: str, statement: str, *parameters: int) -> list[Any]:
    with connections[database].cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())


def run(database: str, statement: str) -> None:
    with connections[database].cursor() as cursor:
        cursor.execute(statement)


def titles(rows: Iterable[Book]) -> list[str]:
    return sorted(book.title for book in rows)


# Reads that are limited to the books of Ann: author 1, book 1, with the subject "sea".
OF_ANN: dict[str, Act] = {
    "a filter": lambda db: titles(books(db).filter(author=1)),
    "a filter with another": lambda db: titles(books(db).filter(author=1, shelf__lt=50)),
    "a list of one": lambda db: titles(books(db).filter(author__in=[1, 3])),
    "a related manager": lambda db: titles(authors(db).get(pk=1).books.all()),
    "count": lambda db: books(db).filter(author=1).count(),
    "exists": lambda db: books(db).filter(author=1, shelf=9).exists(),
    "a join": lambda db: list(
        authors(db).filter(pk=1).values_list("name", "books__title", "books__shelf")
    ),
    "a join from the other side": lambda db: titles(
        books(db).filter(author__pk=1).select_related("author")
    ),
    "an aggregate over a join": lambda db: authors(db).annotate(n=Count("books")).get(pk=1).n,
    "a prefetch": lambda db: [
        titles(author.books.all()) for author in authors(db).filter(pk=1).prefetch_related("books")
    ],
    "a subquery": lambda db: list(
        books(db).filter(author=1).filter(Exists(authors(db).filter(pk=1))).values_list("title")
    ),
    "a union": lambda db: sorted(
        books(db)
        .filter(author=1)
        .values_list("title")
        .union(books(db).filter(author=3).values_list("title"))
    ),
    "raw SQL": lambda db: raw(
        db, "SELECT title, shelf FROM library_book WHERE author_id = 1 AND shelf < %s", 50
    ),
}
ENDING: dict[str, Act] = {
    "a new row": lambda db: books(db).create(pk=10, title="New", author_id=1, shelf=9),
    "a changed one": lambda db: books(db).filter(pk=1).update(title="Changed", shelf=9),
    "one that goes": lambda db: books(db).filter(pk=1).update(author_id=2),
    "one that comes": lambda db: books(db).filter(pk=2).update(author_id=1, shelf=9),
    "a deleted one": lambda db: books(db).filter(pk=1).delete(),
    "a write of many rows": lambda db: books(db).update(title="All", shelf=9),
    "raw SQL": lambda db: run(db, "UPDATE library_book SET shelf = 9, title = 'x' WHERE id = 1"),
}
SPARING: dict[str, Act] = {
    "another's new row": lambda db: books(db).create(pk=10, title="New", author_id=2),
    "another's changed row": lambda db: books(db).filter(pk=2).update(title="Changed", shelf=9),
    "another's deleted row": lambda db: books(db).filter(pk=2).delete(),
    "a row saved unchanged": lambda db: books(db).get(pk=1).save(),
}


@pytest.fixture(autouse=True)
def _rows(site: Site) -> None:
    for number, name in enumerate(["Ann", "Bob"], start=1):
        author = authors(site.database).create(pk=number, name=name)
        book = books(site.database).create(pk=number, title=f"Of {name}", author=author)
        word = {1: "sea", 2: "sky"}[number]
        book.subjects.add(Subject.objects.using(site.database).create(word=word))
    site.settle()


def is_answer_kept(site: Site, read: Act, write: Act) -> bool:
    """Return whether a read is a hit after a write. It must be right in any case."""
    site.visit("read", lambda: read(site.database))
    write(site.database)
    site.settle()
    is_hit = site.is_hit("read", lambda: read(site.database))
    assert site.visit("read", lambda: read(site.database)) == read(site.database)
    return is_hit


@pytest.mark.parametrize("name", OF_ANN)
def test_writes_to_its_rows_end_a_value(site: Site, name: str) -> None:
    for ending, write in ENDING.items():
        is_kept = is_answer_kept(site, OF_ANN[name], write)
        assert not is_kept or "exists" in name, ending
        undo(site)


@pytest.mark.parametrize("name", OF_ANN)
def test_writes_to_other_rows_spare_it(site: Site, name: str) -> None:
    for sparing, write in SPARING.items():
        assert is_answer_kept(site, OF_ANN[name], write), sparing
        undo(site)


def undo(site: Site) -> None:
    """Bring the books back to what they were."""
    books(site.database).all().delete()
    for number, name in enumerate(["Ann", "Bob"], start=1):
        books(site.database).create(pk=number, title=f"Of {name}", author_id=number)
    site.settle()


NOT_LIMITED: dict[str, Act] = {
    "or": lambda db: titles(books(db).filter(Q(author=1) | Q(shelf=9))),
    "not": lambda db: titles(books(db).exclude(author=1)),
    "a comparison": lambda db: titles(books(db).filter(author__gte=1)),
    "a subquery in the list": lambda db: titles(
        books(db).filter(author__in=authors(db).filter(name="Bob"))
    ),
    "another's column": lambda db: titles(books(db).filter(author__name="Bob")),
    "a text for a number": lambda db: raw(
        db, "SELECT title, shelf FROM library_book WHERE author_id <> '1'"
    ),
    "a left join that is turned": lambda db: list(
        authors(db).filter(Q(books__author=1) | Q(books=None)).values_list("books__title")
    ),
}


@pytest.mark.parametrize("name", NOT_LIMITED)
def test_without_a_condition_on_a_column_all_rows_count(site: Site, name: str) -> None:
    write = SPARING["another's changed row"]

    assert not is_answer_kept(site, NOT_LIMITED[name], write)


def test_rows_of_a_many_to_many_relation(site: Site) -> None:
    def read(database: str) -> list[str]:
        return sorted(
            Subject.objects.using(database).filter(books=1).values_list("word", flat=True)
        )

    def add(number: int) -> Act:
        return lambda db: through(db).create(
            book_id=number, subject_id="sky" if number == 1 else "sea"
        )

    assert is_answer_kept(site, read, add(2))
    assert not is_answer_kept(site, read, add(1))


def test_an_explicit_invalidation_of_a_row_ends_the_slices_of_its_table(site: Site) -> None:
    book = books(site.database).get(pk=1)

    assert not is_answer_kept(site, OF_ANN["a filter"], lambda db: invalidate(book))


def test_a_key_in_two_spellings_is_one(site: Site) -> None:
    card = Card.objects.using(site.database).create(holder="Ann")
    other = Card.objects.using(site.database).create(holder="Bob")
    site.settle()

    def read(database: str) -> str:
        return Card.objects.using(database).get(pk=str(card.pk).upper()).holder

    def hand_to(row: Card) -> Act:
        return lambda db: Card.objects.using(db).filter(pk=row.pk).update(holder="Eve")

    assert is_answer_kept(site, read, hand_to(other))
    assert not is_answer_kept(site, read, hand_to(card))


@pytest.mark.parametrize("spelling", ["{%s}", "urn:uuid:%s", "%s"])
@pytest.mark.parametrize("site", ["default"], indirect=True)
def test_a_uuid_s_text_in_another_spelling_is_found_as_it_is(site: Site, spelling: str) -> None:
    key = spelling % "00000000-0000-0000-0000-0000000000AB"
    run(site.database, f"INSERT INTO library_card (id, holder) VALUES ('{key}', 'Ann')")
    site.settle()

    def read(database: str) -> list[Any]:
        with connections[database].cursor() as cursor:
            cursor.execute("SELECT holder FROM library_card WHERE id = %s", [key])
            return list(cursor.fetchall())

    write = f"UPDATE library_card SET holder = 'Eve' WHERE id = '{key}'"
    assert not is_answer_kept(site, read, lambda db: run(db, write))


def test_a_correlated_subquery_is_right(site: Site) -> None:
    def read(database: str) -> list[str]:
        of_author = Book.objects.filter(author=OuterRef("pk"), shelf=9)
        return list(authors(database).filter(Exists(of_author)).values_list("name", flat=True))

    is_answer_kept(site, read, ENDING["one that comes"])
    is_answer_kept(site, read, SPARING["another's changed row"])


def test_an_indexed_number_is_a_slice(site: Site) -> None:
    """psycopg gets it as a class of its own."""
    first, second = (
        Essay.objects.using(site.database).create(slug=f"essay-{shelf}", shelf=shelf)
        for shelf in (1, 2)
    )
    site.settle()

    def read(database: str) -> list[str]:
        return list(Essay.objects.using(database).filter(shelf=1).values_list("title", flat=True))

    def rename(row: Essay) -> Act:
        return lambda db: Essay.objects.using(db).filter(pk=row.pk).update(title="Changed")

    assert is_answer_kept(site, read, rename(second))
    assert not is_answer_kept(site, read, rename(first))
