"""Different arguments give different variants, and equal ones are hits."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.core.paginator import Paginator
from django.db.models import Case, Prefetch, Value, When
from django.utils.functional import SimpleLazyObject

from cachelayers.canonical import Unstable
from cachelayers.fragments.keys import make_key
from tests.fragments.engines import Templates
from tests.library.models import Author, Book, Subject


def key_of(argument: object) -> str:
    return make_key("card", [argument], ())


# Rows are identified by their keys, and by attributes that a view has added


def marked(title: str) -> Any:
    """Return a queryset that marks one book, like the books that a user likes."""
    mark = Case(When(title=title, then=Value("*")), default=Value(""))
    return Book.objects.annotate(mark=mark).order_by("pk")


def marked_by_hand(title: str) -> Sequence[Book]:
    books: Any = list(Book.objects.order_by("pk"))
    for book in books:
        if book.title == title:
            book.mark = "*"
    return books  # type: ignore[no-any-return]


@pytest.mark.parametrize("mark", [marked, marked_by_hand])
def test_rows_that_are_marked_for_somebody_else_are_other_ones(
    templates: Templates, books: list[Book], mark: Callable[[str], Any]
) -> None:
    row = "{{ book.title }}{{ book.mark }};"
    templates.write(
        page=templates.fragment(templates.loop("book", "books", row), "list", "books"),
        rows=templates.fragments(row, "row", "book in books"),
        deep=templates.fragment(templates.loop("book", "books.all", row), "deep", "books"),
    )

    for title in (books[0].title, books[1].title):
        expected = "".join(f"{book.title}{'*' * (book.title == title)};" for book in books)
        assert templates.render("page", books=mark(title)) == expected
        assert templates.render("rows", books=mark(title)) == expected
        assert templates.render("deep", books={"all": mark(title)}) == expected


def prefetched(title: str) -> Author:
    chosen = Book.objects.filter(title=title)
    return Author.objects.prefetch_related(Prefetch("books", chosen)).get()


def prefetched_as_list(title: str) -> Author:
    chosen = Book.objects.filter(title=title)
    return Author.objects.prefetch_related(Prefetch("books", chosen, to_attr="chosen")).get()


@pytest.mark.parametrize(
    ("read", "expression"),
    [(prefetched, "author.books.all{}"), (prefetched_as_list, "author.chosen")],
    ids=["under its name", "as a list"],
)
def test_a_row_with_other_rows_prefetched_is_another_one(
    templates: Templates, books: list[Book], read: Callable[[str], Author], expression: str
) -> None:
    body = templates.loop("book", expression.format(templates.call), "{{ book.title }}")
    templates.write(page=templates.fragment(body, "card", "author"))

    shown = [templates.render("page", author=read(book.title)) for book in books]

    assert shown == [book.title for book in books]


def test_a_row_that_came_with_another_one_tells_what_was_added_to_it(
    templates: Templates, book: Book
) -> None:
    templates.write(page=templates.fragment("{{ book.author.mark }}", "card", "book"))

    def read(mark: str) -> Book:
        authors = Author.objects.annotate(mark=Value(mark))
        return Book.objects.prefetch_related(Prefetch("author", authors)).get()

    assert [templates.render("page", book=read(mark)) for mark in ("one", "two")] == ["one", "two"]


def test_a_row_that_came_with_one_that_came_with_another_tells_what_was_added_to_it(
    book: Book,
) -> None:
    def read(mark: str) -> Author:
        author = Author.objects.get(pk=book.author_id)
        between: Any = Book.objects.get()
        between.author = Author.objects.annotate(mark=Value(mark)).get(pk=book.author_id)
        author._state.fields_cache["latest"] = between
        return author

    assert key_of(read("one")) == key_of(read("one")) != key_of(read("two"))


def test_a_row_of_another_database_is_another_one(book: Book) -> None:
    elsewhere = Book.objects.get()
    elsewhere._state.db = "elsewhere"

    assert key_of(elsewhere) != key_of(book)


def test_a_row_that_was_not_saved_has_no_key(book: Book) -> None:
    key_of(book)  # knowing the model by then changes nothing

    with pytest.raises(Unstable, match="not been saved"):
        key_of(Book(pk=book.pk, title="Maps"))


def test_a_row_that_came_with_another_one_is_not_looked_for_in_the_key(book: Book) -> None:
    with_author = Book.objects.select_related("author").get()

    assert key_of(with_author) == key_of(Book.objects.get())


def test_what_was_put_in_place_of_what_an_instance_works_out_tells_it_from_others(
    book: Book,
) -> None:
    def read(title: str) -> Any:
        found: Any = Book.objects.get()
        found.loud_title = title  # a cached property
        return found

    assert key_of(read("ONE")) == key_of(read("ONE")) != key_of(read("TWO"))


def test_what_a_view_hangs_on_an_instance_without_a_value_of_its_own_makes_no_key(
    book: Book,
) -> None:
    again: Any = Book.objects.get()
    again._lock = object()

    with pytest.raises(Unstable, match="_lock"):
        key_of(again)


class Tracked(Book):
    """A book with the attributes that field trackers and shops set in each instance."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title_before = self.__dict__.get("title")
        self.tracker = Tracker(self)
        self.lock = threading.Lock()

    class Meta:
        proxy = True
        app_label = "library"


class Tracker:
    def __init__(self, instance: Any) -> None:
        self.instance = instance


def test_what_a_model_gives_to_each_instance_leaves_it_a_key(book: Book) -> None:
    def read(mark: str) -> Any:
        found: Any = Tracked.objects.get()
        if mark:
            found.tracker.mark = mark
        return found

    assert key_of(read("")) == key_of(read("")) != key_of(read("mine"))


def test_a_row_that_is_a_draft_of_what_the_database_holds_has_no_key(book: Book) -> None:
    """An editor's preview has the key of the row, and other values."""
    draft = Book(pk=book.pk, title="Draft")
    draft._state.adding = False

    with pytest.raises(Unstable, match="not read from a database"):
        key_of(draft)


def test_rows_that_were_hung_on_each_other_have_a_key(books: list[Book]) -> None:
    def family(mark: str) -> Any:
        rows: Any = list(Book.objects.order_by("pk"))
        for row in rows:
            row.mark, row.others = mark, rows
        return rows[0]

    assert key_of(family("one")) == key_of(family("one")) != key_of(family("two"))


# Others are identified by their text, and by their contents


def page(title: str) -> Any:
    return Paginator(Book.objects.filter(title=title).order_by("pk"), 5).page(1)


@pytest.mark.parametrize(
    "wrap",
    [
        page,
        lambda title: deque(Book.objects.filter(title=title)),
        lambda title: OrderedDict(all=Book.objects.get(title=title)),
        lambda title: {"all": Book.objects.filter(title=title)}.items(),
        lambda title: [Book.objects.filter(title=title)],
        lambda title: SimpleLazyObject(lambda: page(title)),
    ],
    ids=["page", "deque", "mapping", "items", "queries", "lazy"],
)
def test_a_container_is_identified_by_the_rows_in_it(
    author: Author, monkeypatch: pytest.MonkeyPatch, wrap: Callable[[str], Any]
) -> None:
    """The text of a page is its number, so two pages may have the same text."""
    monkeypatch.setattr(Book, "__str__", lambda book: "a book")
    for title in ("One", "Two"):
        Book.objects.create(title=title, author=author)

    assert key_of(wrap("One")) == key_of(wrap("One")) != key_of(wrap("Two"))


def test_a_manager_is_identified_by_its_rows(templates: Templates) -> None:
    for name, title in (("Ann", "One"), ("Bea", "Two")):
        book = Book.objects.create(title=title, author=Author.objects.create(name=name))
        book.subjects.add(Subject.objects.create(word=title))
    body = templates.loop("one", f"given.all{templates.call}", "{{ one }}")
    templates.write(page=templates.fragment(body, "card", "given"))

    def shown(given: Callable[[Book], Any]) -> list[str]:
        books = Book.objects.order_by("title")
        return [templates.render("page", given=given(book)) for book in books]

    assert shown(lambda book: book.subjects) == ["One", "Two"]
    assert shown(lambda book: book.author.books) == ["One", "Two"]
