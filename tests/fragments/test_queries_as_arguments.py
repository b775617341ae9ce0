"""A lazy queryset among the arguments is known by its SQL: a hit does not run it."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.fragments.engines import Templates
from tests.library.models import Author, Book, Subject, Untracked


def write(templates: Templates) -> None:
    body = templates.loop("book", "books", "{{ book.title }};")
    templates.write(page=templates.fragment(body, "list", "books"))


def shown(templates: Templates, rows: Any) -> tuple[str, list[str]]:
    """Return the fragment, and the statements on the books that it took."""
    with CaptureQueriesContext(connection) as queries:
        text = templates.render("page", books=rows)
    return text, [one["sql"] for one in queries if "library_book" in one["sql"]]


def of(author: Author) -> Any:
    return Book.objects.filter(author=author).order_by("pk")


def test_a_hit_does_not_run_it(templates: Templates, books: list[Book]) -> None:
    write(templates)
    expected = "".join(f"{book.title};" for book in books)

    text, statements = shown(templates, of(books[0].author))
    assert (text, len(statements)) == (expected, 1)
    assert shown(templates, of(books[0].author)) == (expected, [])


def test_a_change_of_its_rows_shows(templates: Templates, books: list[Book]) -> None:
    write(templates)
    author, other = books[0].author, Author.objects.create(name="Bea")
    before, _ = shown(templates, of(author))

    Book.objects.create(title="Other", author=other)
    assert shown(templates, of(author)) == (before, [])
    Book.objects.create(title="New", author=author)

    assert shown(templates, of(author))[0] == f"{before}New;"


def test_two_queries_are_two_variants(templates: Templates, books: list[Book]) -> None:
    write(templates)
    shown(templates, of(books[0].author).filter(title=books[0].title))

    text, _ = shown(templates, of(books[0].author).filter(title=books[1].title))

    assert text == f"{books[1].title};"


def test_what_is_not_tracked_is_known_by_its_rows(templates: Templates, books: list[Book]) -> None:
    body = templates.loop("one", "books", "{{ one.name }};")
    templates.write(page=templates.fragment(body, "list", "books"))
    Untracked.objects.all().delete()
    Untracked.objects.create(name="One")
    assert templates.render("page", books=Untracked.objects.order_by("pk")) == "One;"

    Untracked.objects.create(name="Two")

    assert templates.render("page", books=Untracked.objects.order_by("pk")) == "One;Two;"


def test_the_rows_of_a_prefetch_count(templates: Templates, books: list[Book]) -> None:
    body = templates.loop("book", "books", "{{ book.subjects.all.0 }};")
    if templates.call:
        body = templates.loop("book", "books", "{{ book.subjects.all()[0] }};")
    templates.write(page=templates.fragment(body, "list", "books"))
    book = books[0]
    rows = Book.objects.filter(pk=book.pk).prefetch_related("subjects")
    book.subjects.add(Subject.objects.create(word="sea"))
    assert shown(templates, rows.all())[0] == "sea;"

    book.subjects.set([Subject.objects.create(word="air")])

    assert shown(templates, rows.all())[0] == "air;"
