"""However a row was changed, the next request does not get a value made from the old row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.models import F

from cachelayers import unit_of_work
from tests.invalidation.conftest import Site
from tests.library.models import Author, Book, Branch, Card, Place, Subject


def fill(site: Site) -> None:
    author = Author.objects.using(site.database).create(pk=1, name="Ann")
    Author.objects.using(site.database).create(pk=2, name="Bob")
    sea = Subject.objects.using(site.database).create(word="sea")
    book = Book.objects.using(site.database).create(pk=1, title="One", author=author)
    Book.objects.using(site.database).create(pk=2, title="Two", author=author)
    book.subjects.add(sea)


def book_state(site: Site) -> list[Any]:
    """Read books with everything around them, so that any write to them shows."""
    books = Book.objects.using(site.database).select_related("author").order_by("pk")
    return [
        (
            book.pk,
            book.title,
            book.shelf,
            book.author.name,
            sorted(s.pk for s in book.subjects.all()),
        )
        for book in books.prefetch_related("subjects")
    ]


def save_again(site: Site) -> None:
    book = Book.objects.using(site.database).get(pk=1)
    book.title = "Changed"
    book.save()


def update_by_filter(site: Site) -> None:
    Book.objects.using(site.database).filter(title="One").update(shelf=F("shelf") + 1)


def create(site: Site) -> None:
    Book.objects.using(site.database).create(pk=50, title="New", author_id=1)


def delete_one(site: Site) -> None:
    Book.objects.using(site.database).get(pk=2).delete()


def delete_fast(site: Site) -> None:
    Book.subjects.through.objects.using(site.database).all().delete()


def bulk_create(site: Site) -> None:
    Book.objects.using(site.database).bulk_create([Book(pk=51, title="Bulk", author_id=2)])


def upsert(site: Site) -> None:
    connection = connections[site.database]
    unique = ["pk"] if connection.features.supports_update_conflicts_with_target else None
    Book.objects.using(site.database).bulk_create(
        [Book(pk=1, title="Upserted", author_id=2)],
        update_conflicts=True,
        update_fields=["title"],
        unique_fields=unique,
    )


def bulk_update(site: Site) -> None:
    books = list(Book.objects.using(site.database).all())
    for book in books:
        book.shelf += 5
    Book.objects.using(site.database).bulk_update(books, ["shelf"])


def m2m_add(site: Site) -> None:
    Book.objects.using(site.database).get(pk=2).subjects.add(
        Subject.objects.using(site.database).get(pk="sea")
    )


def m2m_clear(site: Site) -> None:
    Book.objects.using(site.database).get(pk=1).subjects.clear()


def m2m_set_from_the_other_side(site: Site) -> None:
    Subject.objects.using(site.database).get(pk="sea").books.set([2])


def change_the_middle_of_the_chain(site: Site) -> None:
    Book.objects.using(site.database).filter(pk=1).update(author_id=2)


def change_the_end_of_the_chain(site: Site) -> None:
    Author.objects.using(site.database).filter(pk=1).update(name="Anna")


def cascade_in_python(site: Site) -> None:
    Author.objects.using(site.database).get(pk=1).delete()


def raw_update(site: Site) -> None:
    site.execute("UPDATE library_book SET shelf = 99 WHERE title = %s", ["One"])


def raw_with_comment_and_case(site: Site) -> None:
    site.execute("/* nightly; */ uPdAtE library_book -- all of them\n set shelf = 98")


def raw_many(site: Site) -> None:
    with connections[site.database].cursor() as cursor:
        cursor.executemany("UPDATE library_book SET shelf = %s WHERE id = %s", [(5, 1), (6, 2)])


def past_django(site: Site) -> None:
    """Write with the driver's own cursor, past the execute wrapper."""
    driver = connections[site.database].connection.cursor()
    driver.execute("UPDATE library_book SET shelf = 77")
    driver.close()


WRITES: list[Callable[[Site], None]] = [
    *(save_again, update_by_filter, create, delete_one, delete_fast, bulk_create, upsert),
    *(bulk_update, m2m_add, m2m_clear, m2m_set_from_the_other_side, raw_update, raw_many),
    *(change_the_middle_of_the_chain, change_the_end_of_the_chain, cascade_in_python),
    *(raw_with_comment_and_case, past_django),
]


@pytest.mark.parametrize("write", WRITES)
def test_the_next_request_sees_the_write(site: Site, write: Callable[[Site], None]) -> None:
    fill(site)
    site.settle()
    before = site.visit("books", lambda: book_state(site))

    write(site)
    after = site.visit("books", lambda: book_state(site))

    assert after == book_state(site)
    assert after != before


@pytest.mark.parametrize("write", [write for write in WRITES if write is not past_django])
def test_a_rolled_back_write_invalidates_nothing_and_is_not_shared(
    site: Site, write: Callable[[Site], None]
) -> None:
    fill(site)
    site.settle()
    before = site.visit("books", lambda: book_state(site))

    with unit_of_work(), transaction.atomic(site.database):
        write(site)
        within = site.recall("books", lambda: book_state(site))
        transaction.set_rollback(True, site.database)
    after = site.visit("books", lambda: book_state(site))

    assert within != before
    assert after == before
    assert site.computed == ["books", "books"]


def test_a_row_read_by_its_key_stays_when_another_one_changes(site: Site) -> None:
    fill(site)
    site.settle()

    def one() -> str:
        return Author.objects.using(site.database).get(pk=1).name

    site.visit("author", one)
    Author.objects.using(site.database).filter(pk=2).update(name="Bert")
    stays = site.is_hit("author", one)
    Author.objects.using(site.database).filter(pk=1).update(name="Anja")

    assert stays
    assert site.visit("author", one) == "Anja"


def test_a_uuid_row_is_invalidated_by_its_key(site: Site) -> None:
    cards = Card.objects.using(site.database)
    mine, other = cards.create(holder="me"), cards.create(holder="you")
    site.settle()

    site.visit("card", lambda: cards.get(pk=mine.pk).holder)
    cards.filter(pk=other.pk).update(holder="they")
    stays = site.is_hit("card", lambda: cards.get(pk=mine.pk).holder)
    cards.filter(pk=mine.pk).update(holder="I")

    assert stays
    assert site.visit("card", lambda: cards.get(pk=mine.pk).holder) == "I"


def test_a_negative_answer_ends_when_the_row_is_created(site: Site) -> None:
    authors = Author.objects.using(site.database)

    def name() -> str | None:
        found = authors.filter(pk=9).first()
        return found.name if found else None

    absent = site.visit("ninth", name)
    authors.create(pk=9, name="Nina")

    assert absent is None
    assert site.visit("ninth", name) == "Nina"


def test_a_negative_answer_ends_when_the_database_gives_the_key(site: Site) -> None:
    authors = Author.objects.using(site.database)
    last = authors.create(name="Last").pk

    def name() -> str | None:
        found = authors.filter(pk=last + 1).first()
        return found.name if found else None

    site.visit("next", name)
    authors.create(name="Next")

    assert site.visit("next", name) == "Next"


@pytest.mark.parametrize("through", ["the parent", "the child", "an update of the parent"])
def test_a_child_is_invalidated_through_its_parent_too(site: Site, through: str) -> None:
    branches = Branch.objects.using(site.database)
    branch = branches.create(pk=1, name="North")
    site.settle()

    def state() -> tuple[str, int]:
        found = branches.get(pk=1)
        return found.name, found.rooms

    before = site.visit("branch", state)
    if through == "the parent":
        place = Place.objects.using(site.database).get(pk=1)
        place.name = "South"
        place.save()
    elif through == "the child":
        branch.rooms = 7
        branch.save()
    else:
        Place.objects.using(site.database).update(name="East")

    assert site.visit("branch", state) == state() != before


def test_swapped_members_of_a_collection_invalidate(site: Site) -> None:
    fill(site)
    books = Book.objects.using(site.database)
    books.update(shelf=1)
    books.filter(pk=2).update(shelf=2)
    site.settle()

    def on_the_first_shelf() -> list[int]:
        return [book.pk for book in books.filter(shelf=1)]

    site.visit("shelf", on_the_first_shelf)
    with transaction.atomic(site.database):
        books.filter(pk=1).update(shelf=2)
        books.filter(pk=2).update(shelf=1)

    assert site.visit("shelf", on_the_first_shelf) == [2]


def test_truncated_tables_invalidate(site: Site) -> None:
    fill(site)
    site.settle()
    site.visit("count", lambda: Book.objects.using(site.database).count())

    if site.database == "postgres":
        site.execute("TRUNCATE library_book CASCADE")
    elif site.database == "mariadb":
        site.execute("SET FOREIGN_KEY_CHECKS = 0")
        site.execute("TRUNCATE library_book")
        site.execute("SET FOREIGN_KEY_CHECKS = 1")
    else:
        site.execute("DELETE FROM library_book_subjects")
        site.execute("DELETE FROM library_book")

    assert site.visit("count", lambda: Book.objects.using(site.database).count()) == 0


def test_a_view_is_invalidated_with_its_tables(site: Site) -> None:
    fill(site)
    site.execute("CREATE VIEW library_titles AS SELECT title FROM library_book")
    try:

        def titles() -> list[Any]:
            with connections[site.database].cursor() as cursor:
                cursor.execute("SELECT * FROM library_titles ORDER BY title")
                return list(cursor.fetchall())

        site.settle()
        site.visit("titles", titles)
        Book.objects.using(site.database).filter(pk=1).update(title="Zero")

        assert site.visit("titles", titles) == [("Two",), ("Zero",)]
    finally:
        site.execute("DROP VIEW library_titles")


def test_a_write_to_a_model_invalidates_the_tags_that_it_declares(site: Site) -> None:
    fill(site)
    site.settle()
    if site.database != "default":  # the router names it for writes
        return

    site.visit("window", lambda: "books", tags=["new books"], capture=False)
    stays = site.is_hit("window", lambda: "books", tags=["new books"], capture=False)
    Book.objects.using(site.database).filter(pk=1).update(shelf=3)

    assert stays
    assert not site.is_hit("window", lambda: "books", tags=["new books"], capture=False)
