"""A process's knowledge of the log: since when, how far, and what it has to look up."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import caches
from django.db import connections, transaction

from cachelayers import unit_of_work
from cachelayers.invalidation import log
from cachelayers.invalidation.log import log_of
from cachelayers.invalidation.pruning import prune
from cachelayers.invalidation.triggers import receive_post_migrate
from tests.invalidation.conftest import Site
from tests.invalidation.test_own_writes import one_snapshot
from tests.invalidation.test_triggers import last_id, logged, without_triggers
from tests.invalidation.test_units import elsewhere, name_of, rename
from tests.library.models import Author, Book, Subject

__all__ = ["without_triggers"]


@pytest.fixture(autouse=True)
def _author(site: Site) -> None:
    Author.objects.using(site.database).create(pk=1, name="Ann")
    site.settle()


@pytest.fixture
def as_new_process(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that makes this process forget the log, as a new process."""
    return lambda: monkeypatch.setattr(log, "_logs", {})


def test_a_new_process_finds_a_log_that_was_set_back(site: Site, as_new_process: Any) -> None:
    """Only the entry shows it: its position is newer than the log."""
    if site.database != "default":
        return
    for number in range(5):
        rename(site, f"lost {number}")
    site.visit("author", lambda: name_of(site))

    set_back(site)
    site.execute("UPDATE cachelayers_logstate SET floor = 0")
    as_new_process()

    assert not site.is_hit("author", lambda: name_of(site))


@pytest.mark.parametrize("is_pruned_first", [True, False])
def test_a_new_process_does_not_take_pruned_rows_for_rows_that_never_were(
    site: Site, as_new_process: Any, settings: Any, is_pruned_first: bool
) -> None:
    settings.CACHELAYERS = {**settings.CACHELAYERS, "LONGEST_TIMEOUT": 86400}
    site.visit("author", lambda: name_of(site))
    rename(site, "Anna")
    site.execute("UPDATE cachelayers_invalidation SET at = at - 90000000")
    as_new_process()

    with unit_of_work() as unit:
        if not is_pruned_first:
            unit.refresh(site.database)
        elsewhere(lambda: prune(site.database))
        found = site.recall("author", lambda: name_of(site))

    assert found == "Anna"


def test_rows_missing_in_an_old_snapshot_are_not_remembered_as_missing(
    site: Site, as_new_process: Any
) -> None:
    if site.database == "default":
        return  # without a write-ahead log, a reader's transaction keeps writers out
    site.visit("author", lambda: name_of(site))
    as_new_process()

    with one_snapshot(site):
        elsewhere(lambda: rename(site, "Anna"))
        elsewhere(site.settle)
        elsewhere(lambda: site.visit("other", lambda: "read by this process"))
        elsewhere(lambda: site.visit("another", lambda: name_of(site)))
        site.visit("author", lambda: name_of(site))

    assert site.visit("author", lambda: name_of(site)) == "Anna"


def test_rows_above_the_first_watermark_are_read(site: Site, as_new_process: Any) -> None:
    """An open transaction keeps PostgreSQL's watermark below later commits."""
    if site.database == "default":
        return  # has one writer at a time
    site.visit("author", lambda: name_of(site))
    with transaction.atomic(site.database):
        Author.objects.using(site.database).create(pk=2, name="Bob")
        elsewhere(lambda: site.visit("author", lambda: name_of(site)))
        elsewhere(lambda: rename(site, "Anna"))
        as_new_process()
        found = elsewhere(lambda: site.visit("author", lambda: name_of(site)))

    assert found == "Anna"


def test_a_migration_invalidates_though_all_triggers_are_there(site: Site) -> None:
    """It may have written past Django, or before the triggers existed."""
    before = last_id(site)

    receive_post_migrate(None, using=site.database, plan=["something was migrated"])

    assert {"table:library_author", "rows:library_author"} <= logged(site, before)


@pytest.mark.usefixtures("without_triggers")
def test_a_write_and_its_rows_in_the_log_are_one_transaction(site: Site) -> None:
    """Otherwise a reader between them stores the old row after its invalidation."""

    def read_before_the_write(execute: Any, sql: str, *others: Any) -> Any:
        if sql.startswith("UPDATE"):
            elsewhere(lambda: site.visit("author", lambda: name_of(site)))
        return execute(sql, *others)

    site.visit("author", lambda: name_of(site))
    with connections[site.database].execute_wrapper(read_before_the_write):
        rename(site, "Anna")

    assert site.visit("author", lambda: name_of(site)) == "Anna"


def test_a_row_that_replace_deletes_is_invalidated(site: Site) -> None:
    """SQLite deletes it without a trigger."""
    if site.database == "postgres":
        return  # knows no REPLACE
    book = Book.objects.using(site.database).create(title="One", author_id=1)
    book.subjects.add(Subject.objects.using(site.database).create(word="x"))
    site.settle()
    links = Book.subjects.through.objects.using(site.database)
    key = links.get().pk
    site.visit("link", lambda: links.filter(pk=key).first() is not None)

    site.execute(
        "REPLACE INTO library_book_subjects (id, book_id, subject_id) VALUES (%s, %s, 'x')",
        [key + 1, book.pk],
    )

    assert site.visit("link", lambda: links.filter(pk=key).first() is not None) is False


def test_more_rows_than_have_their_own_tags_are_all_tracked(site: Site) -> None:
    authors = Author.objects.using(site.database)
    authors.bulk_create(Author(pk=number, name="x") for number in range(2, 150))
    site.settle()

    def names() -> list[str]:
        return [authors.get(pk=number).name for number in range(1, 150)]

    site.visit("names", names)
    rename(site, "last", key=149)

    assert site.visit("names", names)[-1] == "last"


def test_an_outer_value_is_as_old_as_the_oldest_that_it_was_made_from(site: Site) -> None:
    with unit_of_work():
        found = name_of(site)
        elsewhere(lambda: rename(site, "Anna"))

        def made_from_both() -> str:
            with unit_of_work():
                site.recall("inner", Author.objects.using(site.database).count)
            return (found, name_of(site))[0]

        site.recall("outer", made_from_both)

    assert site.visit("outer", lambda: name_of(site)) == "Anna"


def test_a_value_from_two_incarnations_is_not_stored(site: Site) -> None:
    """Their positions cannot be compared: a backup may have been restored in between."""
    site.visit("warm", lambda: name_of(site))

    def made_from_both() -> str:
        with unit_of_work():
            site.recall("inner", Author.objects.using(site.database).count)
        return (found, name_of(site))[0]

    with unit_of_work():
        found = name_of(site)
        elsewhere(lambda: rename(site, "Anna"))
        elsewhere(lambda: log.begin_anew(connections[site.database]))
        set_back(site)
        site.recall("outer", made_from_both)

    assert site.visit("outer", lambda: name_of(site)) == "Anna"


def set_back(site: Site) -> None:
    """Restore the log of a backup, with lower ids than this process has read."""
    if site.database == "default":
        site.execute("DELETE FROM cachelayers_invalidation")
        site.execute("DELETE FROM sqlite_sequence WHERE name = 'cachelayers_invalidation'")


def test_a_value_known_to_be_invalid_is_not_stored(site: Site) -> None:
    def read_and_be_overtaken() -> str:
        found = name_of(site)
        elsewhere(lambda: rename(site, "Anna"))
        elsewhere(lambda: site.visit("other", lambda: name_of(site)))
        return found

    site.visit("author", read_and_be_overtaken)

    assert caches[site.store].get("author") is None


def test_a_process_that_remembers_too_much_forgets_it_and_looks_it_up(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.visit("author", lambda: name_of(site))
    monkeypatch.setattr(log, "MOST_TAGS", 3)
    for number in range(2, 8):
        Author.objects.using(site.database).create(pk=number, name="x")
    site.settle()

    is_hit = site.is_hit("author", lambda: name_of(site))
    known = log_of(site.database).known
    rename(site, "Anna")

    assert is_hit
    assert known is not None
    assert len(known.last) <= 3
    assert site.visit("author", lambda: name_of(site)) == "Anna"
