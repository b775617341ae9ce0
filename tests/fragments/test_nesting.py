"""Fragments within fragments."""

from __future__ import annotations

import pytest

from cachelayers import invalidate
from tests.fragments.conftest import Counter, new_counter
from tests.fragments.engines import Templates
from tests.fragments.views import all_books
from tests.library.models import Author, Book


@pytest.fixture
def books(author: Author) -> list[Book]:
    return [Book.objects.create(title=f"Book {number}", author=author) for number in range(100)]


def test_changing_one_row_of_100_renders_one_inner_fragment_and_the_outer_one(
    templates: Templates, books: list[Book], tick: Counter
) -> None:
    row = templates.fragment(templates.show("inner") + "{{ book.title }};", "row", "book")
    rows = templates.loop("book", "books", row)
    templates.write(page=templates.fragment(templates.show("tick") + rows, "list"))
    inner = new_counter()

    def shown() -> str:
        return templates.render("page", books=all_books(), tick=tick, inner=inner)

    shown(), shown()
    tick.since(), inner.since()
    Book.objects.filter(pk=books[50].pk).update(title="Changed")
    after = shown()

    assert after.count("Book ") == 99
    assert "Changed;" in after
    assert (tick.since(), inner.since()) == (1, 1)


def test_an_outer_fragment_is_kept_again_with_inner_ones_that_are_older_than_the_change(
    templates: Templates, books: list[Book], tick: Counter
) -> None:
    row = templates.fragment("{{ book.title }};", "row", "book")
    rows = templates.loop("book", "books", row)
    templates.write(page=templates.fragment(templates.show("tick") + rows, "list"))

    def shown() -> str:
        return templates.render("page", books=all_books(), tick=tick)

    shown(), shown()
    Book.objects.filter(pk=books[50].pk).update(title="Changed")
    shown()
    tick.since()
    shown(), shown()

    assert tick.since() == 0


def test_an_outer_fragment_goes_stale_with_an_inner_hit_s_rows(
    templates: Templates, author: Author
) -> None:
    """The inner one runs no query while the outer one is rendered."""
    inner = templates.fragment(templates.show("count"), "inner")
    templates.write(page=templates.fragment(inner, "outer", "number"))
    count = Book.objects.count
    for number in (1, 2):
        templates.render("page", number=number, count=count)
        templates.render("page", number=number, count=count)

    Book.objects.create(title="One", author=author)

    assert templates.render("page", number=2, count=count) == "1"


def test_an_inner_fragment_s_tag_invalidates_the_outer_one(
    templates: Templates, tick: Counter
) -> None:
    inner = templates.fragment("x", "inner", tags='"news"')
    templates.write(page=templates.fragment(inner + templates.show("tick"), "outer"))
    templates.render("page", tick=tick)

    invalidate("news")
    templates.render("page", tick=tick)

    assert tick.since() == 2
