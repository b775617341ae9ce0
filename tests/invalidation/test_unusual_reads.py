"""A value reflects the reads of any statement, or it is not stored."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.models.functions import Now, Random

from cachelayers import recall, unit_of_work
from cachelayers.invalidation.dependencies import Capture, add_all_dependencies
from cachelayers.invalidation.reports import reports
from cachelayers.utils.counters import counts
from tests.invalidation.conftest import Site
from tests.library.models import Author, Book, Untracked

VENDORS = {"default": "sqlite", "postgres": "postgresql", "mariadb": "mysql"}
Compute = Callable[[], Any]


@pytest.fixture(autouse=True)
def _rows(site: Site) -> None:
    author = Author.objects.using(site.database).create(pk=1, name="Ann")
    Book.objects.using(site.database).create(pk=1, title="One", author=author)
    Untracked.objects.using(site.database).create(pk=10_000, name="x")
    reports.clear()
    site.settle()


def key_for(name: str) -> str:
    return re.sub(r"\W", "-", name)


def run(site: Site, *statements: str) -> list[Any]:
    """Run statements, and return the rows of the last one that returns any."""
    rows: list[Any] = []
    with connections[site.database].cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
            if cursor.description is not None:
                rows = list(cursor.fetchall())
    return rows


@contextmanager
def made(site: Site, create: str, drop: str) -> Iterator[None]:
    site.execute(create)
    try:
        yield
    finally:
        site.execute(drop)


# By kind of database: how to read the shelf of the one book. The first statements prepare it.
READS: dict[str, dict[str, tuple[str, ...]]] = {
    "postgres": {
        "a temporary table": (
            "DROP TABLE IF EXISTS shelves",
            "CREATE TEMP TABLE shelves AS SELECT shelf FROM library_book",
            "SELECT shelf FROM shelves",
        ),
        "SELECT INTO": (
            "DROP TABLE IF EXISTS shelves",
            "SELECT shelf INTO TEMP shelves FROM library_book",
            "SELECT shelf FROM shelves",
        ),
        "INSERT ... SELECT": (
            (
                "INSERT INTO library_untracked (name) SELECT shelf::text FROM library_book"
                " RETURNING name"
            ),
        ),
        "UPDATE ... FROM": (
            "UPDATE library_untracked u SET name = b.shelf FROM library_book b RETURNING u.name",
        ),
        "a CTE that writes": (
            (
                "WITH w AS (INSERT INTO library_untracked (name) SELECT shelf::text"
                " FROM library_book RETURNING name) SELECT name FROM w"
            ),
        ),
        "a cursor": (
            "DECLARE shelves CURSOR WITH HOLD FOR SELECT shelf FROM library_book",
            "FETCH ALL FROM shelves",
            "CLOSE shelves",
        ),
        "a prepared statement": (
            "PREPARE shelves AS SELECT shelf FROM library_book",
            "EXECUTE shelves",
            "DEALLOCATE shelves",
        ),
        "a column named update": (
            "SELECT b.update FROM (SELECT shelf AS update FROM library_book) b",
        ),
        "SQL in a string": ("SELECT query_to_xml('TABLE library_book', true, true, '')::text",),
        "a JSON path": ("SELECT '{\"a\": 1}'::jsonb #> '{a}', shelf FROM library_book",),
        "bits": ("SELECT 1 # shelf FROM library_book",),
        "marks of comments in strings": ("SELECT '/*', shelf FROM library_book WHERE '*/' > ''",),
        "an array": ("SELECT ARRAY[(SELECT shelf FROM library_book)]",),
        "a name with escapes": ('SELECT shelf FROM U&"library\\005fbook"',),
    },
    "mariadb": {
        "a temporary table": (
            "DROP TEMPORARY TABLE IF EXISTS shelves",
            "CREATE TEMPORARY TABLE shelves AS SELECT shelf FROM library_book",
            "SELECT shelf FROM shelves",
        ),
        "INSERT ... SELECT": (
            "INSERT INTO library_untracked (name) SELECT shelf FROM library_book RETURNING name",
        ),
        "a prepared statement": (
            "PREPARE shelves FROM 'SELECT shelf FROM library_book'",
            "EXECUTE shelves",
        ),
        "a subtraction of a negative": ("SELECT 5--1, shelf FROM library_book",),
        "a comment that is run": ("SELECT shelf /*!50000 FROM library_book */",),
        "a comment that is not": ("SELECT /*!999999 ' */ shelf FROM library_book WHERE '' = ''",),
    },
    "default": {
        "a temporary table": (
            "DROP TABLE IF EXISTS temp.shelves",
            "CREATE TEMP TABLE shelves AS SELECT shelf FROM library_book",
            "SELECT shelf FROM shelves",
        ),
        "INSERT ... SELECT": (
            "INSERT INTO library_untracked (name) SELECT shelf FROM library_book RETURNING name",
        ),
        "marks of comments in strings": ("SELECT '/*', shelf FROM library_book WHERE '*/' > ''",),
    },
}


def test_a_changed_row_shows_however_it_was_read(site: Site) -> None:
    stale = []
    for number, (name, statements) in enumerate(READS[site.database].items()):
        site.visit(key_for(name), partial(run, site, *statements))
        Book.objects.using(site.database).update(shelf=number + 10)
        found = site.visit(key_for(name), partial(run, site, *statements))
        if str(number + 10) not in str(found) and name != "bits":
            stale.append(name)
        if name == "bits" and found != [(1 ^ (number + 10),)]:
            stale.append(name)

    assert stale == []


def test_the_reads_of_a_database_function_are_tracked(site: Site) -> None:
    if site.database == "default":
        return
    body = {
        "postgres": "RETURNS SETOF int LANGUAGE sql AS 'SELECT shelf FROM library_book'",
        "mariadb": "RETURNS int READS SQL DATA RETURN (SELECT MAX(shelf) FROM library_book)",
    }
    with (
        made(
            site,
            f"CREATE FUNCTION library_shelves() {body[site.database]}",
            "DROP FUNCTION library_shelves",
        ),
        made(
            site,
            "CREATE VIEW library_behind AS SELECT library_shelves() AS shelf",
            "DROP VIEW library_behind",
        ),
    ):
        for key in ("SELECT library_shelves()", "SELECT shelf FROM library_behind"):
            site.visit(key_for(key), partial(run, site, key))
        Book.objects.using(site.database).update(shelf=8)

        for key in ("SELECT library_shelves()", "SELECT shelf FROM library_behind"):
            assert site.visit(key_for(key), partial(run, site, key)) == [(8,)]


@pytest.mark.postgres
def test_a_value_under_row_level_security_is_not_stored(site: Site) -> None:
    if site.database != "postgres":
        return
    role = f"library_reader_{connections[site.database].settings_dict['NAME']}"
    policy = "USING (title = current_setting('library.title', true))"

    def titles() -> Any:
        return run(site, "SELECT title FROM library_book")

    def as_reader_of(title: str) -> Any:
        def visit() -> Any:
            run(site, f"SET ROLE {role}", f"SET library.title = '{title}'")
            try:
                return titles()
            finally:
                run(site, "RESET ROLE")

        return visit

    site.execute(f"CREATE ROLE {role}")
    site.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    site.execute("ALTER TABLE library_book ENABLE ROW LEVEL SECURITY")
    site.execute(f"CREATE POLICY library_own ON library_book FOR SELECT {policy}")
    site.settle()
    try:
        assert site.visit("titles", as_reader_of("One")) == [("One",)]
        assert site.visit("titles", as_reader_of("Two")) == []
    finally:
        site.execute("DROP POLICY library_own ON library_book")
        site.execute("ALTER TABLE library_book DISABLE ROW LEVEL SECURITY")
        site.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}")
        site.execute(f"DROP ROLE {role}")


# The session, the clock, chance

OF_THE_SESSION = {
    "postgres": ("SELECT current_user", "SELECT current_setting('TimeZone')", "SHOW timezone"),
    "mariadb": ("SELECT CURRENT_USER()", "SELECT @mine", "SHOW VARIABLES LIKE 'x'"),
    "default": ("SELECT changes()", "SELECT last_insert_rowid()", "PRAGMA foreign_keys"),
}


def test_a_value_that_depends_on_the_session_is_not_stored_and_reported_once(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    for statement in OF_THE_SESSION[site.database]:
        caplog.clear()
        before = counts.of(site.database, "untracked_reads")

        for _ in range(2):
            assert not site.is_hit(key_for(statement), partial(run, site, statement))

        [record] = caplog.records
        message = record.getMessage()
        assert record.levelno == logging.WARNING
        assert statement in message
        assert "test_unusual_reads.py:" in message  # the place
        assert counts.of(site.database, "untracked_reads") == before + 2


def test_a_value_that_depends_on_the_clock_or_on_chance_is_stored_until_its_timeout(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    books = Book.objects.using(site.database)
    views = {
        "the clock": lambda: [*books.annotate(now=Now()).values_list("now")],
        "chance": lambda: [*books.order_by(Random()).values_list("pk")],
    }
    for name, view in views.items():
        caplog.clear()
        for _ in range(2):
            assert not site.is_hit(key_for(f"{name} without end"), view)
        site.visit(key_for(name), view, timeout=60)
        assert site.is_hit(key_for(name), view, timeout=60)
        assert len(caplog.records) == 1


def test_the_clock_counts_behind_a_view_and_in_a_found_entry(site: Site) -> None:
    with made(
        site,
        "CREATE VIEW library_recent AS SELECT title FROM library_book"
        " WHERE CURRENT_TIMESTAMP > '2001-01-01'",
        "DROP VIEW library_recent",
    ):

        def inner() -> Any:
            return recall(
                "inner",
                lambda: run(site, "SELECT title FROM library_recent"),
                using=site.store,
                timeout=60,
            )

        site.settle()
        assert not site.is_hit("outer", inner)
        assert not site.is_hit("outer", inner)  # the inner one was found
        site.visit("bounded", inner, timeout=50)
        assert site.is_hit("bounded", inner, timeout=50)


@pytest.mark.parametrize("statement", ["SELECT '/* now */', title FROM library_book"])
def test_an_ordinary_value_is_stored_without_a_warning(
    site: Site, statement: str, caplog: pytest.LogCaptureFixture
) -> None:
    site.visit("titles", lambda: run(site, statement))

    assert site.is_hit("titles", lambda: run(site, statement))
    assert caplog.records == []


def test_a_fragment_after_an_unknown_statement_in_the_view_is_not_stored(site: Site) -> None:
    with unit_of_work() as unit:
        run(site, OF_THE_SESSION[site.database][0])
        capture = Capture(unit)
        add_all_dependencies(capture)

    assert capture.is_unstorable


# Past Django's cursors


def by_the_drivers_cursor(site: Site) -> None:
    cursor = connections[site.database].connection.cursor()
    cursor.execute("UPDATE library_book SET shelf = 9")
    cursor.close()


def by_copy(site: Site) -> None:
    with (
        connections[site.database].cursor() as cursor,
        cursor.copy("COPY library_book (id, title, author_id, shelf) FROM STDIN") as copy,
    ):
        copy.write_row((10_000, "Two", 1, 9))


@pytest.mark.parametrize("write", [by_the_drivers_cursor, by_copy])
def test_a_value_from_a_rolled_back_write_past_djangos_cursor_is_not_stored(
    site: Site, write: Callable[[Site], None]
) -> None:
    if site.database == "mariadb" or (write is by_copy and site.database != "postgres"):
        return

    def highest() -> Any:
        return run(site, "SELECT MAX(shelf) FROM library_book")

    with unit_of_work(), transaction.atomic(site.database):
        site.recall("before", lambda: run(site, "SELECT name FROM library_author"))
        write(site)
        assert site.recall("highest", highest) == [(9,)]
        transaction.set_rollback(True, using=site.database)

    assert site.visit("highest", highest) == [(0,)]


def test_a_transaction_that_wrote_untracked_tables_only_stores_values(site: Site) -> None:
    def titles() -> Any:
        return run(site, "SELECT title FROM library_book")

    with unit_of_work(), transaction.atomic(site.database):
        Untracked.objects.using(site.database).update(name="y")
        site.recall("titles", titles)

    assert site.is_hit("titles", titles)
