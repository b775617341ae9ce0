"""Entries of older code, in a deploy that changes which tables there are and which are tracked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connections

from cachelayers import cached, unit_of_work
from cachelayers.invalidation.log import write_tags
from cachelayers.invalidation.triggers import receive_post_migrate
from tests.invalidation.conftest import Site
from tests.invalidation.test_triggers import last_id, logged
from tests.library.models import Loan

LOAN = {"table:library_loan", "rows:library_loan"}
RENAME = "ALTER TABLE library_loan RENAME TO library_lending"


@pytest.fixture
def newer_code(settings: Any) -> Callable[[], None]:
    """Return a function that untracks the table of loans."""

    def deploy() -> None:
        track = [name for name in settings.CACHELAYERS["TRACK"] if name != "library.Loan"]
        settings.CACHELAYERS = {**settings.CACHELAYERS, "TRACK": track}

    return deploy


@pytest.fixture(autouse=True)
def loans_anew(site: Site, settings: Any) -> Iterator[None]:
    older = settings.CACHELAYERS
    yield
    settings.CACHELAYERS = older
    connection = connections[site.database]
    with connection.cursor() as cursor:
        there = {one.name: one.type for one in connection.introspection.get_table_list(cursor)}
    for name in sorted(there.keys() & {"library_loan", "library_lending"}, reverse=True):
        site.execute(f"DROP {'VIEW' if there[name] == 'v' else 'TABLE'} {name}")
    with connection.schema_editor() as editor:
        editor.create_model(Loan)
    receive_post_migrate(None, using=site.database, plan=["anything"])


def count(site: Site, table: str) -> int:
    with connections[site.database].cursor() as cursor:
        cursor.execute(f"SELECT COUNT(*) FROM {table}")
        return int(cursor.fetchall()[0][0])


def test_values_from_a_table_become_invalid_when_newer_code_renames_it(
    site: Site, newer_code: Callable[[], None]
) -> None:
    Loan.objects.using(site.database).create(number=1, reader="Ann")
    site.settle()
    assert site.visit("loans", lambda: count(site, "library_loan")) == 1
    assert site.is_hit("loans", lambda: count(site, "library_loan"))

    newer_code()
    site.execute(RENAME)
    site.execute("INSERT INTO library_lending VALUES (2, 'Bea')")

    assert site.visit("loans", lambda: count(site, "library_lending")) == 2


def test_a_table_that_newer_code_drops_is_logged(
    site: Site, newer_code: Callable[[], None]
) -> None:
    newer_code()
    before = last_id(site)

    site.execute("DROP TABLE library_loan")

    assert logged(site, before) >= LOAN


def test_a_table_that_newer_code_no_longer_tracks_is_logged_a_last_time(
    site: Site, newer_code: Callable[[], None]
) -> None:
    newer_code()
    before = last_id(site)

    receive_post_migrate(None, using=site.database)  # nothing to migrate

    assert logged(site, before) >= {*LOAN, "schema:"}


def test_a_view_under_the_old_name_depends_on_the_renamed_table(site: Site) -> None:
    site.execute(RENAME)
    site.execute("CREATE VIEW library_loan AS SELECT * FROM library_lending")
    site.execute("INSERT INTO library_lending VALUES (1, 'Ann')")
    site.settle()

    def names() -> list[str]:
        return list(Loan.objects.using(site.database).values_list("reader", flat=True))

    def name() -> str:
        return Loan.objects.using(site.database).get(number=1 ^ 0x5A5A).reader

    assert (site.visit("names", names), site.visit("name", name)) == (["Ann"], "Ann")
    assert site.is_hit("names", names)

    site.execute("UPDATE library_lending SET reader = 'Bea'")
    write_tags(connections[site.database], ["table:library_lending"])  # as newer code's trigger

    assert (site.visit("names", names), site.visit("name", name)) == (["Bea"], "Bea")


def test_a_value_from_before_its_table_was_tracked_is_not_served(
    site: Site, newer_code: Callable[[], None], settings: Any
) -> None:
    tracked = settings.CACHELAYERS
    newer_code()
    receive_post_migrate(None, using=site.database)
    loan = Loan.objects.using(site.database).create(number=1, reader="Ann")

    @cached(using=site.store, timeout=None)
    def reader_of(loan: Loan) -> str:
        return loan.reader

    def count_loans() -> int:
        return count(site, "library_loan")

    def results() -> tuple[int, str]:
        found = site.visit("loans", count_loans)
        with unit_of_work():
            return found, reader_of(Loan.objects.using(site.database).get(pk=loan.pk))

    site.settle()
    assert results() == (1, "Ann")
    assert site.is_hit("loans", count_loans)

    settings.CACHELAYERS = tracked
    receive_post_migrate(None, using=site.database)
    site.settle()
    site.execute("INSERT INTO library_loan VALUES (2, 'Bea')")
    site.execute("UPDATE library_loan SET reader = 'Cid' WHERE number = %s", [1 ^ 0x5A5A])

    assert results() == (2, "Cid")
