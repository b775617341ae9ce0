"""What ends entries is counted, with the reason why a query depends on a whole table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from io import StringIO
from typing import Any

import pytest
from django.core.cache import caches
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast, Lower
from pytest_django import Settings

from cachelayers import invalidate, recall, recall_many, unit_of_work
from cachelayers.invalidation.sql import analysis
from cachelayers.invalidation.tags import table_tag
from cachelayers.invalidation.triggers import read_guard
from cachelayers.models import Timing
from cachelayers.statistics import advice, ended, flush
from cachelayers.statistics.endings import REASONS, Ended
from cachelayers.utils.endings import MOST_GROUPS, OTHERS, endings, group_of
from tests.library.models import Author, Book
from tests.settings import database_cache, memory_cache
from tests.state import reset

pytestmark = pytest.mark.django_db(transaction=True)
BOOKS = table_tag("library_book")


@pytest.fixture(autouse=True)
def _library(settings: Settings) -> Iterator[None]:
    settings.CACHES = {"default": memory_cache(), "sqlite": database_cache("default")}
    caches["default"].clear()
    reset("utils.endings.endings")
    for number, name in enumerate(["Ann", "Bob"], start=1):
        author = Author.objects.create(pk=number, name=name)
        Book.objects.create(pk=number, title=f"Of {name}", author=author)
    yield
    reset("utils.endings.endings")


def visit(compute: Callable[[], Any], key: str = "titles", **options: Any) -> Any:
    with unit_of_work():
        return recall(key, compute, **options)


def told() -> list[Ended]:
    assert flush()
    return ended()


def all_titles() -> list[str]:
    return [book.title for book in Book.objects.all()]


def titles_of_ann() -> list[str]:
    return [book.title for book in Book.objects.filter(author=1)]


def rows_of(found: QuerySet[Any]) -> list[Any]:
    return list(found.all())


def test_a_whole_table_is_named_with_the_query_that_depends_on_it() -> None:
    visit(all_titles)
    for number in (7, 8):
        Book.objects.create(pk=number, title="New", author_id=2)
        visit(all_titles)
        visit(all_titles)  # a hit

    [found] = told()

    assert (found.database, found.dependency, found.entries) == ("default", BOOKS, 2)
    assert 0 < found.seconds < 2
    assert found.place == f"{__name__}.all_titles"
    assert found.would_be_spared
    assert found.columns == ("author_id", "id")
    assert found.why.endswith("only changes of its rows would end the entry: author_id, id.")
    assert found.what == "any change in library_book"


def test_a_slice_is_named_by_its_column() -> None:
    for author in (1, 2):
        books = Book.objects.filter(author=author)
        visit(partial(rows_of, books), f"of:{author}")
        Book.objects.create(title="New", author_id=author)
        visit(partial(rows_of, books), f"of:{author}")

    [found] = told()

    assert (found.dependency, found.entries) == ("slice:library_book:author_id", 2)
    assert (found.would_be_spared, found.why) == (None, "")
    assert found.what == "rows of library_book with one author_id"


def test_rows_and_tags_are_named_without_values() -> None:
    for number in (1, 2):
        row = Author.objects.filter(pk=number)
        visit(partial(rows_of, row), f"name:{number}")
        row.update(name="Changed")
        visit(partial(rows_of, row), f"name:{number}")
        visit(lambda: 1, f"one:{number}", tags=["home", f"shelf:{number}"])
        invalidate(f"shelf:{number}")
        visit(lambda: 1, f"one:{number}", tags=["home", f"shelf:{number}"])

    found = {one.dependency: one.entries for one in told()}

    assert found == {"row:library_author": 2, "word:shelf:*": 2}


GROUPS = {
    "slice:blog_comment:post_id:5:6": "slice:blog_comment:post_id",
    "row:blog_post:5": "row:blog_post",
    "rows:blog_post": "rows:blog_post",
    "key:default:busiest:FR": "key:",
    "word:homepage": "word:homepage",
    "word:menu:main": "word:menu:main",
    "word:menu:5": "word:menu:*",
    "word:function:shop.top10": "word:function:shop.top10",
    None: "unknown:",
}


def test_what_tags_are_counted_as() -> None:
    assert {tag: group_of(tag) for tag in GROUPS} == GROUPS


def many(count: int) -> Callable[[], Any]:
    return lambda: list(Book.objects.filter(author__in=range(1, count + 1)))


def with_lower() -> Any:
    text = Lower(Cast("author_id", TextField()))
    return list(Book.objects.annotate(text=text).filter(text="1"))


def raw(statement: str, *parameters: str) -> Callable[[], Any]:
    def read() -> Any:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall()

    return read


READS: dict[str, tuple[Callable[[], Any], str, tuple[str, ...]]] = {
    "no condition": (Book.objects.count, "condition", ("author_id", "id")),
    "another column": (
        lambda: list(Book.objects.filter(shelf=0)),
        "condition",
        ("author_id", "id"),
    ),
    "or": (lambda: list(Book.objects.filter(Q(author=1) | Q(shelf=9))), "or", ("author_id",)),
    "a function": (with_lower, "function", ("author_id",)),
    "a cast": (
        raw("SELECT title FROM library_book WHERE CAST(author_id AS text) = '1'"),
        "function",
        ("author_id",),
    ),
    "greater": (lambda: list(Book.objects.filter(author__gt=0)), "compared", ("author_id",)),
    "not": (lambda: list(Book.objects.exclude(author=2)), "compared", ("author_id",)),
    "a subquery": (
        lambda: list(Book.objects.filter(author__in=Author.objects.filter(name="Ann"))),
        "compared",
        ("author_id",),
    ),
    "a join": (
        lambda: list(Book.objects.filter(author__name="Ann")),
        "join",
        ("author_id",),
    ),
    "many values": (many(120), "values", ("author_id",)),
    "another type": (
        raw("SELECT title FROM library_book WHERE author_id = %s", "1"),
        "type",
        ("author_id",),
    ),
    "many rows": (
        lambda: [list(Book.objects.filter(pk=number)) for number in range(1, 150)],
        "many",
        (),
    ),
}


def test_why_a_query_has_no_slice() -> None:
    for name, (compute, reason, columns) in READS.items():
        visit(compute, name.replace(" ", "-"))
        Book.objects.filter(pk=1).update(title=f"Changed for {name}")
        visit(compute, name.replace(" ", "-"))

        found = {one.dependency: one for one in told()}[BOOKS]

        assert (found.reason, found.columns) == (reason, columns), name
        assert found.would_be_spared is (reason != "many")
        assert found.why == str(REASONS[reason]) % {"column": ", ".join(columns)}


def test_triggers_that_do_not_log_a_column_yet_are_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:

    monkeypatch.setattr(analysis, "read_guard", lambda one: replace(read_guard(one), columns={}))
    analysis.forget_databases()

    visit(titles_of_ann)
    Book.objects.create(title="New", author_id=2)
    visit(titles_of_ann)
    [found] = told()

    assert (found.reason, found.columns) == ("migrate", ("author_id",))
    assert "Run `migrate`" in found.why
    monkeypatch.undo()
    analysis.forget_databases()


def test_a_later_write_without_a_reason_keeps_the_known_one() -> None:
    visit(all_titles)
    Book.objects.create(title="New", author_id=2)
    visit(all_titles)
    told()
    endings.add("default", BOOKS, 0.5)  # as another process, which has seen no such query
    endings._reads.clear()

    [found] = told()

    assert (found.entries, found.reason) == (2, "condition")
    assert found.place == f"{__name__}.all_titles"


def test_recalls_of_many_are_counted_one_by_one() -> None:
    def compute(keys: list[str]) -> dict[str, int]:
        return {key: Book.objects.count() for key in keys}

    for _ in range(2):
        with unit_of_work():
            recall_many(["a", "b"], compute)
        Book.objects.create(title="New", author_id=2)

    [found] = told()

    assert (found.dependency, found.entries) == (BOOKS, 2)


def test_an_entry_that_expired_was_not_ended() -> None:
    for _ in range(2):
        visit(all_titles, timeout=0)
        Book.objects.create(title="New", author_id=2)

    assert told() == []


def test_the_number_of_dependencies_is_bounded() -> None:
    for number in range(MOST_GROUPS + 20):
        endings.add("default", f"word:tag{number}", 0.1)

    drained = endings.drained()

    assert len(drained) == MOST_GROUPS + 1
    assert drained["default", OTHERS].entries == 20
    assert not endings.has_any()


def test_they_are_no_advice() -> None:
    endings.add("default", BOOKS, 0.5)
    assert told() != []
    assert Timing.objects.filter(kind="ended").count() == 1

    assert advice(most=100) == []


def output_of(*options: str) -> str:
    call_command("cache_stats", "--advise", *options, stdout=(out := StringIO()))
    return out.getvalue()


def test_the_command_names_them_without_samples(settings: Settings) -> None:
    settings.CACHELAYERS = {**settings.CACHELAYERS, "ADVISE_SAMPLE": 0}
    visit(all_titles)
    Book.objects.create(title="New", author_id=2)
    visit(all_titles)
    endings.add("other", "word:home", 1.25)
    told()

    text = output_of()

    assert "Entries were ended, and computed again, by:\nentries" in text
    assert "any change in library_book, since" in text
    assert f"    in {__name__}.all_titles: The query has no condition on an indexed" in text
    assert "the tag home (DATABASES['other'])" in text
    assert "Nothing was timed" not in text
    [book, home] = sorted(json.loads(output_of("--json")), key=lambda one: one["dependency"])
    assert (book["kind"], book["reason"], book["entries"]) == ("ended", "condition", 1)
    assert (home["dependency"], home["seconds"]) == ("word:home", 1.25)


def test_the_command_speaks_english_in_any_language(settings: Settings) -> None:
    settings.LANGUAGE_CODE = "de"
    endings.add("default", BOOKS, 0.5)
    told()

    assert "any change in library_book" in output_of()


def test_without_anything_the_command_asks_for_samples(settings: Settings) -> None:
    settings.CACHELAYERS = {**settings.CACHELAYERS, "ADVISE_SAMPLE": 0}

    with pytest.raises(CommandError, match="ADVISE_SAMPLE"):
        output_of()
