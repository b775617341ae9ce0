"""However a value was read, the next request sees the changes of its rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections, models
from django.db.models import Case, Count, Exists, F, Max, OuterRef, Prefetch, Q, Subquery, Sum, When

from cachelayers.invalidation.triggers import install_triggers
from tests.invalidation.conftest import Site
from tests.library.models import Author, Book, Subject

Read = Callable[[str], Any]


def books(database: str) -> models.QuerySet[Book]:
    return Book.objects.using(database)


def authors(database: str) -> models.QuerySet[Author]:
    return Author.objects.using(database)


def raw(database: str, statement: str) -> list[Any]:
    with connections[database].cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


WITH_BOOKS = Exists(Book.objects.filter(author=OuterRef("pk"), shelf__gt=5))
READS: dict[str, Read] = {
    "a filter": lambda db: list(books(db).filter(shelf__gt=5).values_list("pk")),
    "a filter over a join": lambda db: list(authors(db).filter(books__shelf__gt=5).values_list()),
    "select_related": lambda db: [b.shelf for b in books(db).select_related("author")],
    "exists": lambda db: list(authors(db).filter(WITH_BOOKS).values_list()),
    "not exists": lambda db: list(authors(db).filter(~WITH_BOOKS).values_list()),
    "exists()": lambda db: books(db).filter(shelf__gt=5).exists(),
    "count": lambda db: books(db).filter(shelf__gt=5).count(),
    "an aggregate": lambda db: books(db).aggregate(Sum("shelf")),
    "an aggregate over a join": lambda db: list(
        authors(db).annotate(top=Max("books__shelf"), of=Count("books")).values_list("top", "of")
    ),
    "case and when": lambda db: list(
        books(db)
        .annotate(high=Case(When(shelf__gt=5, then=F("pk")), default=0))
        .values_list("high", flat=True)
    ),
    "a union": lambda db: list(
        books(db).filter(shelf__gt=5).values_list("pk").union(authors(db).none().values_list("pk"))
    ),
    "a subquery in a filter": lambda db: list(
        authors(db).filter(pk__in=books(db).filter(shelf__gt=5).values("author_id")).values_list()
    ),
    "a subquery as a column": lambda db: list(
        authors(db)
        .annotate(shelf=Subquery(Book.objects.filter(author=OuterRef("pk")).values("shelf")[:1]))
        .values_list("shelf")
    ),
    "prefetch_related": lambda db: [
        [b.shelf for b in author.books.all()] for author in authors(db).prefetch_related("books")
    ],
    "a prefetch of its own": lambda db: [
        len(author.high)
        for author in authors(db).prefetch_related(
            Prefetch("books", books(db).filter(shelf__gt=5), to_attr="high")
        )
    ],
    "or": lambda db: list(books(db).filter(Q(pk=404) | Q(shelf__gt=5)).values_list("pk")),
    "an iterator": lambda db: [b.shelf for b in books(db).iterator(chunk_size=1)],
    "in_bulk": lambda db: [b.shelf for b in books(db).in_bulk([1]).values()],
    "a row by its key": lambda db: books(db).get(pk=1).shelf,
    "a row by another field": lambda db: books(db).get(title="One").shelf,
    "a related object": lambda db: authors(db).get(pk=1).books.get().shelf,
    "many to many": lambda db: [b.shelf for b in Subject.objects.using(db).get().books.all()],
    "raw()": lambda db: [b.shelf for b in books(db).raw("SELECT * FROM library_book")],
    "raw SQL": lambda db: raw(db, "select shelf from library_book"),
    "raw SQL with a CTE": lambda db: raw(
        db, "WITH b AS (SELECT shelf FROM library_book) SELECT * FROM b"
    ),
    "raw SQL with an alias": lambda db: raw(db, "SELECT x.shelf FROM library_book AS x"),
}


@pytest.fixture(autouse=True)
def _rows(site: Site) -> None:
    author = authors(site.database).create(pk=1, name="Ann")
    book = books(site.database).create(pk=1, title="One", author=author)
    book.subjects.add(Subject.objects.using(site.database).create(word="sea"))
    site.settle()


@pytest.mark.parametrize("name", READS)
def test_a_changed_row_shows_in(site: Site, name: str) -> None:
    read = READS[name]
    before = site.visit("read", lambda: read(site.database))

    books(site.database).filter(pk=1).update(shelf=9)
    after = site.visit("read", lambda: read(site.database))

    assert after == read(site.database)
    assert after != before


@pytest.mark.parametrize("name", READS)
def test_a_value_is_a_hit_while_nothing_changes(site: Site, name: str) -> None:
    read = READS[name]
    site.visit("read", lambda: read(site.database))

    assert site.is_hit("read", lambda: read(site.database))


# What writes without being named


def test_a_write_by_the_users_own_trigger_is_tracked(site: Site) -> None:
    """A write to an untracked table changes a tracked one."""
    create = {
        "sqlite": "CREATE TRIGGER library_own AFTER INSERT ON library_untracked FOR EACH ROW"
        " BEGIN UPDATE library_book SET shelf = 8; END",
        "mysql": "CREATE TRIGGER library_own AFTER INSERT ON library_untracked FOR EACH ROW"
        " UPDATE library_book SET shelf = 8",
        "postgresql": "CREATE FUNCTION library_own() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN UPDATE library_book SET shelf = 8; RETURN NULL; END';"
        " CREATE TRIGGER library_own AFTER INSERT ON library_untracked FOR EACH ROW"
        " EXECUTE FUNCTION library_own()",
    }
    vendor = connections[site.database].vendor
    site.execute(create[vendor])
    try:
        site.visit("shelf", lambda: books(site.database).get(pk=1).shelf)
        site.execute("INSERT INTO library_untracked (name) VALUES ('x')")
        found = site.visit("shelf", lambda: books(site.database).get(pk=1).shelf)
    finally:
        on_table = " ON library_untracked" if vendor == "postgresql" else ""
        site.execute(f"DROP TRIGGER library_own{on_table}")
        if vendor == "postgresql":
            site.execute("DROP FUNCTION library_own()")

    assert found == 8


def test_a_cascade_in_the_database_is_tracked(site: Site) -> None:
    """It deletes rows of a tracked table without a statement for them."""
    if site.database == "default":
        return  # SQLite cannot give a constraint to a table that there is
    connection = connections[site.database]
    authors(site.database).create(pk=2, name="Bob")
    other = own_constraint(site)
    with connection.constraint_checks_disabled():
        site.execute(f"ALTER TABLE library_book DROP {other}")
        site.execute(
            "ALTER TABLE library_book ADD CONSTRAINT library_swept FOREIGN KEY (author_id)"
            " REFERENCES library_author (id) ON DELETE CASCADE"
        )
    try:
        install_triggers(connection)
        books(site.database).create(pk=2, title="Two", author_id=2)
        site.settle()
        before = site.visit("count", lambda: books(site.database).count())
        site.execute("DELETE FROM library_author WHERE id = 2")
        after = site.visit("count", lambda: books(site.database).count())
    finally:
        kind = "FOREIGN KEY" if connection.vendor == "mysql" else "CONSTRAINT"
        site.execute(f"ALTER TABLE library_book DROP {kind} library_swept")
        name = other.rpartition(" ")[2]
        site.execute(
            f"ALTER TABLE library_book ADD CONSTRAINT {name} FOREIGN KEY (author_id)"
            " REFERENCES library_author (id)"
            + (" DEFERRABLE INITIALLY DEFERRED" if connection.vendor == "postgresql" else "")
        )
        install_triggers(connection)

    assert (before, after) == (2, 1)


def own_constraint(site: Site) -> str:
    """Return the name of the foreign key from books to authors that Django has created."""
    connection = connections[site.database]
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, "library_book")
    [name] = [
        name
        for name, one in found.items()
        if one["foreign_key"] and one["columns"] == ["author_id"]
    ]
    return f"{'FOREIGN KEY' if connection.vendor == 'mysql' else 'CONSTRAINT'} {name}"


def test_a_writing_cte_is_tracked(site: Site) -> None:
    if site.database != "postgres":
        return
    site.visit("shelf", lambda: books(site.database).get(pk=1).shelf)

    found = raw(
        site.database,
        "WITH w AS (UPDATE library_book SET shelf = 7 RETURNING shelf) SELECT * FROM w",
    )

    assert found == [(7,)]
    assert site.visit("shelf", lambda: books(site.database).get(pk=1).shelf) == 7


def test_a_replaced_row_is_invalidated(site: Site) -> None:
    if site.database == "postgres":
        return  # knows no REPLACE
    site.visit("shelf", lambda: books(site.database).get(pk=1).shelf)

    with connections[site.database].constraint_checks_disabled():
        site.execute(
            "REPLACE INTO library_book (id, title, author_id, shelf) VALUES (1, 'One', 1, 6)"
        )

    assert site.visit("shelf", lambda: books(site.database).get(pk=1).shelf) == 6
