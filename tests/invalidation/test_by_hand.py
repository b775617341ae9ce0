"""Operators invalidate, and read the log, on every kind of database."""

from __future__ import annotations

from cachelayers import invalidate
from cachelayers.dashboard.history import read_log
from cachelayers.dashboard.invalidating import invalidate_and_find
from tests.invalidation.conftest import Site
from tests.library.models import Author, Loan


def test_an_operator_invalidates_a_row_and_finds_it_in_the_log(site: Site) -> None:
    author = Author(name="Ada")
    author.save(using=site.database)

    def name() -> str:
        return Author.objects.using(site.database).get(pk=author.pk).name

    site.settle()
    site.visit("author", name)
    assert site.is_hit("author", name)

    rows = invalidate_and_find([author])

    assert not site.is_hit("author", name)
    tags = [f"row:library_author:{author.pk}", "table:library_author"]
    page = read_log(site.database, text="library_author")
    logged = {row.tag: row for row in page.rows if row.id in rows[site.database]}
    assert sorted(logged) == tags
    assert logged[tags[0]].what == f"author {author.pk}"
    assert logged[tags[0]].cause == "a write to library_author, by this site or another program"
    assert [row.id for row in page.rows] == sorted((row.id for row in page.rows), reverse=True)


def test_many_rows_at_once_are_found_all(site: Site) -> None:
    authors = [Author(name=str(number)) for number in range(150)]
    for author in authors:
        author.save(using=site.database)

    rows = invalidate_and_find(list(authors))

    assert len(set(rows[site.database])) == len(authors) + 1


def test_a_row_is_found_whose_key_the_database_writes_in_another_way(site: Site) -> None:
    loans = Loan.objects.using(site.database)
    loan = loans.create(number=7, reader="Ada")

    def reader() -> str:
        return loans.get(pk=7).reader

    site.settle()
    site.visit("reader", reader)
    assert site.is_hit("reader", reader)

    invalidate(loan)

    assert not site.is_hit("reader", reader)
