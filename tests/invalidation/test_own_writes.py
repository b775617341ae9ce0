"""A unit sees its own writes before others do, however it writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from django.db import connections, transaction

from cachelayers import unit_of_work
from tests.invalidation.conftest import Site
from tests.invalidation.test_units import elsewhere, name_of, rename
from tests.library.models import Author, Untracked


@pytest.fixture(autouse=True)
def _author(site: Site) -> None:
    Author.objects.using(site.database).create(pk=1, name="Ann")
    site.settle()


def write_through_a_trigger(site: Site) -> None:
    Untracked.objects.using(site.database).create(name="x")


def write_in_a_block_of_code(site: Site) -> None:
    site.execute("DO $$ BEGIN UPDATE library_author SET name = 'Anna'; END $$")


def write_in_a_function(site: Site) -> None:
    site.execute("SELECT library_rename()")


@pytest.fixture
def own_code(site: Site) -> Iterator[None]:
    """Add a user's trigger to the database, and on PostgreSQL a function."""
    update = "UPDATE library_author SET name = 'Anna'"
    on_insert = "CREATE TRIGGER library_own AFTER INSERT ON library_untracked FOR EACH ROW"
    vendor = connections[site.database].vendor
    if vendor == "postgresql":
        language = "LANGUAGE plpgsql AS"
        site.execute(
            f"CREATE FUNCTION library_rename() RETURNS int {language} '"
            f"BEGIN {update.replace(chr(39), chr(39) * 2)}; RETURN 1; END'"
        )
        site.execute(
            f"CREATE FUNCTION library_own() RETURNS trigger {language} '"
            f"BEGIN {update.replace(chr(39), chr(39) * 2)}; RETURN NULL; END'"
        )
        site.execute(f"{on_insert} EXECUTE FUNCTION library_own()")
    else:
        site.execute(f"{on_insert} {update if vendor == 'mysql' else f'BEGIN {update}; END'}")
    yield
    if vendor == "postgresql":
        site.execute("DROP TRIGGER library_own ON library_untracked")
        site.execute("DROP FUNCTION library_own()")
        site.execute("DROP FUNCTION library_rename()")
    else:
        site.execute("DROP TRIGGER library_own")


@pytest.mark.usefixtures("own_code")
@pytest.mark.parametrize(
    "write", [write_through_a_trigger, write_in_a_block_of_code, write_in_a_function]
)
@pytest.mark.parametrize("is_atomic", [False, True])
def test_the_same_unit_sees_a_write_that_the_statement_does_not_show(
    site: Site, write: Callable[[Site], None], is_atomic: bool
) -> None:
    if write is not write_through_a_trigger and site.database != "postgres":
        return
    site.visit("author", lambda: name_of(site))

    with unit_of_work():
        before = site.recall("author", lambda: name_of(site))
        if is_atomic:
            with transaction.atomic(site.database):
                write(site)
                after = site.recall("author", lambda: name_of(site))
        else:
            write(site)
            after = site.recall("author", lambda: name_of(site))

    assert (before, after) == ("Ann", "Anna")


def test_the_outer_unit_sees_a_write_of_the_inner_one(site: Site) -> None:
    with unit_of_work():
        site.recall("author", lambda: name_of(site))
        with unit_of_work():
            rename(site, "Anna")

        assert site.recall("author", lambda: name_of(site)) == "Anna"


@pytest.mark.parametrize("ends_well", [True, False])
def test_a_unit_begun_in_a_transaction_that_has_written_sees_it_and_shares_nothing(
    site: Site, ends_well: bool
) -> None:
    site.visit("author", lambda: name_of(site))

    with transaction.atomic(site.database):
        rename(site, "Anna")
        with unit_of_work():
            inside = site.recall("author", lambda: name_of(site))
        transaction.set_rollback(not ends_well, site.database)

    assert inside == "Anna"
    assert site.visit("author", lambda: name_of(site)) == ("Anna" if ends_well else "Ann")


@contextmanager
def one_snapshot(site: Site) -> Iterator[None]:
    """Begin a transaction that sees the present rows until its end."""
    repeatable, committed = "REPEATABLE READ", "READ COMMITTED"
    if site.database == "mariadb":
        site.execute(f"SET SESSION TRANSACTION ISOLATION LEVEL {repeatable}")
    try:
        with transaction.atomic(site.database):
            if site.database == "postgres":
                site.execute(f"SET TRANSACTION ISOLATION LEVEL {repeatable}")
            name_of(site)  # it begins with the first read
            yield
    finally:
        if site.database == "mariadb":
            site.execute(f"SET SESSION TRANSACTION ISOLATION LEVEL {committed}")


def test_a_value_read_from_another_s_open_transaction_s_past_is_not_shared(site: Site) -> None:
    """A value read in a snapshot older than the log is stored with the snapshot's age."""
    if site.database == "default":
        return  # without a write-ahead log, a reader's transaction keeps writers out
    site.visit("warm", lambda: name_of(site))

    with one_snapshot(site):
        elsewhere(lambda: rename(site, "Anna"))
        elsewhere(site.settle)
        elsewhere(lambda: site.visit("warm", lambda: name_of(site)))  # the process has read it
        with unit_of_work():
            found = name_of(site)
            site.recall("author", lambda: (found, name_of(site))[0])

    assert site.visit("author", lambda: name_of(site)) == "Anna"


def test_a_connection_that_wrote_by_itself_is_not_dirty_in_its_next_transaction(
    site: Site,
) -> None:
    with unit_of_work():
        rename(site, "Anna")
        site.settle()
        with transaction.atomic(site.database):
            site.recall("author", lambda: name_of(site))

    assert site.is_hit("author", lambda: name_of(site))


def test_uncommitted_reads_of_a_thread_pool_are_not_shared(site: Site) -> None:
    block = transaction.atomic(site.database)

    def begin() -> None:
        block.__enter__()
        rename(site, "never")

    def end() -> None:
        transaction.set_rollback(True, site.database)
        block.__exit__(None, None, None)
        connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(begin).result(20)
        seen = site.visit("author", lambda: pool.submit(name_of, site).result(20))
        pool.submit(end).result(20)

    assert seen == "never"
    assert site.visit("author", lambda: name_of(site)) == "Ann"
