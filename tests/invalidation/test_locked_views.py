"""A lock on a table behind a view delays only the readers of that table."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
from django.db import connections, transaction

from cachelayers.invalidation.sql import catalogue
from cachelayers.invalidation.sql.analysis import database_of
from tests.invalidation.conftest import Site
from tests.library.models import Author, Card

LONGEST_LOCK_SECONDS = 10.0
DATABASE = "postgres"
pytestmark = [
    pytest.mark.postgres,
    pytest.mark.parametrize("site", [DATABASE], indirect=True),
]


@pytest.fixture(autouse=True)
def _views(site: Site) -> Iterator[None]:
    site.execute("CREATE VIEW library_holders AS SELECT holder FROM library_card")
    site.execute("CREATE VIEW library_names AS SELECT holder AS name FROM library_holders")
    yield
    site.execute("DROP VIEW library_names; DROP VIEW library_holders")


@contextmanager
def locked_cards() -> Iterator[threading.Timer]:
    """Lock a table in another connection, as a migration does, for seconds or for the block."""
    holder = connections[DATABASE].copy()
    holder.connect()
    holder.set_autocommit(False)
    with holder.cursor() as cursor:
        cursor.execute("LOCK TABLE library_card IN ACCESS EXCLUSIVE MODE")
    lock = threading.Timer(LONGEST_LOCK_SECONDS, holder.connection.rollback)
    lock.start()
    try:
        yield lock
    finally:
        lock.cancel()
        lock.join()
        holder.close()


def find_again() -> None:
    """Have the next statement load the catalogue, as it happens once a minute."""
    database_of(connections[DATABASE]).forget()


def names(site: Site) -> list[Any]:
    with connections[DATABASE].cursor() as cursor:
        cursor.execute("SELECT name FROM library_names")
        return list(cursor.fetchall())


@pytest.mark.parametrize("is_within", [False, True], ids=["alone", "in a transaction"])
@pytest.mark.parametrize("comes", ["before", "in between"])
def test_a_read_of_another_table_does_not_wait(
    site: Site, is_within: bool, comes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if comes == "in between":  # after locks were looked for
        unseen = catalogue.POSTGRES_VIEWS.replace("AccessExclusiveLock", "none")
        monkeypatch.setattr(catalogue, "POSTGRES_VIEWS", unseen)
    Author.objects.using(DATABASE).create(name="Ann")

    with locked_cards() as lock, transaction.atomic(DATABASE) if is_within else nullcontext():
        find_again()
        found = Author.objects.using(DATABASE).count()
        is_still_locked = lock.is_alive()
        Author.objects.using(DATABASE).create(name="Bea")

    assert (found, is_still_locked) == (1, True)
    assert Author.objects.using(DATABASE).count() == 2


def test_a_value_from_a_view_with_an_unreadable_definition_is_not_stored(site: Site) -> None:
    Card.objects.using(DATABASE).create(holder="Ann")
    site.settle()
    site.visit("names", lambda: names(site))  # which has read in the log that there are new views
    Card.objects.using(DATABASE).update(holder="Bea")
    with locked_cards():
        find_again()
        Author.objects.using(DATABASE).count()
    site.settle()

    assert not site.is_hit("names", lambda: names(site))
    assert not site.is_hit("names", lambda: names(site))

    find_again()
    assert not site.is_hit("names", lambda: names(site))
    assert site.is_hit("names", lambda: names(site))
