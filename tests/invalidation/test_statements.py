"""A statement's text shows its kind, its names, and the rows that it selects by key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections
from hypothesis import given
from hypothesis import strategies as st

from cachelayers.invalidation.sql.statements import Kind, parse_statement
from tests.invalidation.conftest import Site
from tests.library.models import Author, Book


def parse(text: str, vendor: str = "postgresql") -> Any:
    return parse_statement(text, vendor)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("SELECT 1", Kind.READ),
        ("  (SELECT 1) UNION SELECT 2", Kind.READ),
        ("-- a comment\nselect * from book", Kind.READ),
        ("WITH a AS (SELECT 1) SELECT * FROM a", Kind.READ),
        ("SELECT * FROM book FOR UPDATE", Kind.READ),
        ("SELECT * FROM book FOR NO KEY UPDATE", Kind.READ),
        ("WITH gone AS (DELETE FROM book RETURNING id) SELECT * FROM gone", Kind.WRITE),
        ("SELECT * INTO copy FROM book", Kind.WRITE),
        ("insert into book values (1)", Kind.WRITE),
        ("REPLACE INTO book VALUES (1)", Kind.WRITE),
        ("TRUNCATE book", Kind.WRITE),
        ("CALL refill()", Kind.WRITE),
        ("COPY book FROM STDIN", Kind.WRITE),
        ("EXPLAIN ANALYZE UPDATE book SET a = 1", Kind.WRITE),
        ("EXPLAIN UPDATE book SET a = 1", Kind.NEUTRAL),
        ("SELECT 1; DELETE FROM book", Kind.WRITE),
        ("ALTER TABLE book ADD a int", Kind.SCHEMA),
        ("SAVEPOINT s1", Kind.NEUTRAL),
        ("ROLLBACK TO SAVEPOINT s1", Kind.NEUTRAL),
        ("SET LOCAL statement_timeout = 5", Kind.NEUTRAL),
        ("", Kind.NEUTRAL),
        ("gibberish of nobody's", Kind.WRITE),
    ],
)
def test_the_kind_is_the_gravest_that_it_may_be(text: str, kind: Kind) -> None:
    assert parse(text).kind is kind


@pytest.mark.parametrize(
    ("text", "vendor"),
    [
        ('SELECT * FROM "Book"', "postgresql"),
        ("SELECT * FROM BOOK", "postgresql"),
        ("SELECT * FROM`book`", "mysql"),
        ("SELECT * FROM [book]", "sqlite"),
        ("SELECT * FROM public.book", "postgresql"),
        ("SELECT * FROM/**/book/**/", "sqlite"),
        ("SELECT ';' || '--' FROM book", "sqlite"),
        ("SELECT 'it''s' FROM book", "sqlite"),
        (r"SELECT 'it\'s', x FROM book WHERE a = ' '", "mysql"),
        (r"SELECT E'it\'s' FROM book", "postgresql"),
        ("SELECT $a$ ' $a$ FROM book", "postgresql"),
        ("SELECT /* a /* nested */ comment */ * FROM book", "postgresql"),
        ("SELECT * /*! FROM book */", "mysql"),
        ("SELECT 1 # comment '\nFROM book", "mysql"),
        ("SELECT -- it's\n * FROM book", "sqlite"),
        ("SELECT (SELECT max(a) FROM book)", "sqlite"),
        ("SELECT * FROM a,book", "sqlite"),
    ],
)
def test_a_name_is_found_however_it_is_written(text: str, vendor: str) -> None:
    assert "book" in parse(text, vendor).names


@pytest.mark.parametrize("text", ["SELECT 'book'", "SELECT 1 -- book", "SELECT $$book$$"])
def test_text_that_is_not_a_name_is_not_found(text: str) -> None:
    assert "book" not in parse(text).names


@given(st.text(), st.sampled_from(["sqlite", "postgresql", "mysql"]))
def test_any_text_at_all_is_read(text: str, vendor: str) -> None:
    assert parse(text, vendor).kind in Kind


@given(st.sampled_from([" ", "\n", "/* x */", "-- y\n"]), st.booleans())
def test_space_comments_and_case_lose_no_name(between: str, upper: bool) -> None:
    words = ["select", "*", "from", "book", "join", "author", "on", "true"]
    text = between.join(word.upper() if upper else word for word in words)

    assert {"book", "author"} <= parse(text).names


def test_a_long_statement_takes_no_long_time() -> None:
    text = "SELECT " + ", ".join(f"'it''s {n}' AS \"c{n}\"" for n in range(5000)) + " FROM book"

    assert "book" in parse(text).names


# The statements that Django really writes


LOOKUPS: list[tuple[Callable[[str], object], str, int]] = [
    (lambda db: Author.objects.using(db).filter(pk=7).first(), "library_author", 1),
    (lambda db: Author.objects.using(db).filter(pk=7).exists(), "library_author", 1),
    (lambda db: list(Author.objects.using(db).filter(pk=7).values("name")), "library_author", 1),
    (lambda db: list(Author.objects.using(db).filter(pk=7).only("name")), "library_author", 1),
    (lambda db: Author.objects.using(db).in_bulk([7, 8, 9]), "library_author", 3),
    (lambda db: Author.objects.using(db).filter(pk=7).update(name="x"), "library_author", 1),
]
NO_LOOKUPS: list[Callable[[str], object]] = [
    lambda db: list(Author.objects.using(db).filter(name__startswith="x")),
    lambda db: Author.objects.using(db).filter(pk=7).count(),
    lambda db: list(Book.objects.using(db).filter(pk=7).select_related("author")),
    lambda db: list(Author.objects.using(db).exclude(pk=7)),
    lambda db: list(Author.objects.using(db).filter(pk__gt=7)),
    lambda db: list(Author.objects.using(db).filter(pk=7) | Author.objects.using(db)),
    lambda db: list(Author.objects.using(db).filter(pk=7).union(Author.objects.using(db).all())),
    lambda db: list(Author.objects.using(db).filter(books__pk=7)),
]


def statement_of(site: Site, run: Callable[[str], object]) -> Any:
    found: list[tuple[str, Any]] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        found.append((sql, params))
        return execute(sql, params, many, context)

    with connections[site.database].execute_wrapper(note):
        run(site.database)
    [(text, params)] = found
    return parse_statement(text, connections[site.database].vendor), params


@pytest.mark.parametrize(("run", "table", "count"), LOOKUPS)
def test_rows_selected_by_key_are_recognised_in_djangos_statements(
    site: Site, run: Callable[[str], object], table: str, count: int
) -> None:
    statement, params = statement_of(site, run)

    assert statement.key_lookup is not None
    assert (statement.key_lookup.table, statement.key_lookup.column) == (table, "id")
    assert [params[index] for index in statement.key_lookup.parameters] == [7, 8, 9][:count]


@pytest.mark.parametrize("run", NO_LOOKUPS)
def test_a_statement_that_reads_other_rows_is_not_a_lookup(
    site: Site, run: Callable[[str], object]
) -> None:
    statement, _ = statement_of(site, run)

    assert statement.key_lookup is None
