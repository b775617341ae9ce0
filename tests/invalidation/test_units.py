"""Units of work have one position, see their own writes, and share nothing uncommitted."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest
from django.core.cache import caches
from django.db import connections, transaction
from django.test.utils import CaptureQueriesContext

from cachelayers import invalidate, unit_of_work
from cachelayers.invalidation import pruning
from cachelayers.invalidation.log import begin_anew, log_of
from cachelayers.invalidation.pruning import prune
from tests.invalidation.conftest import Site
from tests.library.models import Author, Untracked


def name_of(site: Site, key: int = 1) -> str:
    return Author.objects.using(site.database).get(pk=key).name


def rename(site: Site, name: str, key: int = 1) -> None:
    Author.objects.using(site.database).filter(pk=key).update(name=name)


def elsewhere(work: Any) -> Any:
    """Do it in a thread with its own connections, like another process."""

    def work_and_close() -> Any:
        try:
            return work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work_and_close).result(60)


@pytest.fixture(autouse=True)
def _author(site: Site) -> None:
    Author.objects.using(site.database).create(pk=1, name="Ann")
    site.settle()


def test_a_value_read_before_a_commit_and_stored_after_it_is_never_served(site: Site) -> None:
    """The stale-set race, step by step."""

    def read_while_somebody_writes() -> str:
        found = name_of(site)
        elsewhere(lambda: rename(site, "Anna"))
        return found

    made = site.visit("author", read_while_somebody_writes)

    assert made == "Ann"
    assert site.visit("author", lambda: name_of(site)) == "Anna"


def test_reads_before_the_first_recall_make_its_position_older(site: Site) -> None:
    site.visit("warm", lambda: name_of(site))  # the process knows the log

    with unit_of_work():
        found = name_of(site)
        elsewhere(lambda: rename(site, "Anna"))
        site.recall("author", lambda: (found, name_of(site))[0])

    assert site.visit("author", lambda: name_of(site)) == "Anna"


def test_the_later_commit_of_an_open_transaction_invalidates_earlier_reads(
    site: Site,
) -> None:
    """Ids and transactions commit out of order."""
    wrote, may_commit = threading.Event(), threading.Event()

    def write_slowly() -> None:
        with transaction.atomic(site.database):
            rename(site, "Anna")
            wrote.set()
            may_commit.wait(30)
        connections.close_all()

    Author.objects.using(site.database).create(pk=2, name="Bob")
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(write_slowly)
        assert wrote.wait(30)
        if connections[site.database].vendor != "sqlite":  # which has one writer at a time
            rename(site, "Bert", key=2)  # a later id, committed first
        site.visit("author", lambda: name_of(site))
        may_commit.set()
        done.result(60)

    assert site.visit("author", lambda: name_of(site)) == "Anna"


def test_a_unit_sees_its_own_write_at_once(site: Site) -> None:
    with unit_of_work():
        site.recall("author", lambda: name_of(site))
        rename(site, "Anna")
        after_autocommit = site.recall("author", lambda: name_of(site))
        with transaction.atomic(site.database):
            rename(site, "Anja")
            within = site.recall("author", lambda: name_of(site))
        after_commit = site.recall("author", lambda: name_of(site))

    assert [after_autocommit, within, after_commit] == ["Anna", "Anja", "Anja"]


def test_a_value_made_between_two_writes_of_a_transaction_is_not_served(site: Site) -> None:
    with unit_of_work(), transaction.atomic(site.database):
        rename(site, "first")
        site.recall("author", lambda: name_of(site))
        rename(site, "second")

    assert site.visit("author", lambda: name_of(site)) == "second"


def test_a_value_from_a_rolled_back_savepoint_is_not_shared(site: Site) -> None:
    connection = connections[site.database]
    with unit_of_work(), transaction.atomic(site.database):
        savepoint = connection.savepoint()
        rename(site, "uncommitted")
        site.recall("author", lambda: name_of(site))
        connection.savepoint_rollback(str(savepoint))
        site.recall("author", lambda: name_of(site))
        assert connection.in_atomic_block
    assert elsewhere(lambda: site.visit("author", lambda: name_of(site))) == "Ann"


def test_a_computation_that_rolls_back_its_reads_is_not_stored(site: Site) -> None:
    def read_what_never_was() -> str:
        with transaction.atomic(site.database):
            rename(site, "never")
            found = name_of(site)
            transaction.set_rollback(True, site.database)
        return found

    made = site.visit("author", read_what_never_was)

    assert made == "never"
    assert site.visit("author", lambda: name_of(site)) == "Ann"


def test_an_inner_hit_gives_its_rows_to_the_outer_entry(site: Site) -> None:
    def outer() -> str:
        return f"outer {site.recall('inner', lambda: name_of(site))}"

    site.visit("inner", lambda: name_of(site))
    site.visit("outer", outer)
    rename(site, "Anna")

    assert site.visit("outer", outer) == "outer Anna"


def test_an_inner_miss_gives_its_rows_to_the_outer_entry(site: Site) -> None:
    def outer() -> str:
        return f"outer {site.recall('inner', lambda: name_of(site))}"

    site.visit("outer", outer)
    rename(site, "Anna")

    assert site.visit("outer", outer) == "outer Anna"


def test_a_unit_within_a_compute_gives_its_rows_to_the_entry(site: Site) -> None:
    def outer() -> str:
        with unit_of_work():
            return f"outer {site.recall('inner', lambda: name_of(site))}"

    site.visit("outer", outer)
    rename(site, "Anna")

    assert site.visit("outer", outer) == "outer Anna"


def test_reads_of_a_thread_pool_without_the_context_are_tracked(site: Site) -> None:
    site.visit("pooled", lambda: elsewhere(lambda: name_of(site)))
    rename(site, "Anna")

    assert site.visit("pooled", lambda: elsewhere(lambda: name_of(site))) == "Anna"


def test_reads_of_a_thread_with_the_context_are_tracked(site: Site) -> None:
    def compute() -> Any:
        context = copy_context()
        return elsewhere(lambda: context.run(name_of, site))

    site.visit("threaded", compute)
    rename(site, "Anna")

    assert site.visit("threaded", compute) == "Anna"


def test_an_invalidation_in_the_middle_of_a_compute_counts(site: Site) -> None:
    def compute() -> str:
        elsewhere(lambda: invalidate("news", using=site.database))
        return "old news"

    if site.database == "default":
        site.visit("news", compute, tags=["news"])

        assert not site.is_hit("news", lambda: "new", tags=["news"])


def test_a_tag_is_invalidated_when_the_transaction_commits(site: Site) -> None:
    if site.database != "default":  # words are in the default database's log
        return
    site.visit("news", lambda: "old", tags=["news"])

    with transaction.atomic(site.database):
        invalidate("news")
        transaction.set_rollback(True, site.database)
    stays = site.is_hit("news", lambda: "new", tags=["news"])
    with transaction.atomic(site.database):
        invalidate("news")

    assert stays
    assert site.visit("news", lambda: "new", tags=["news"]) == "new"


@pytest.mark.parametrize("target", ["instance", "model"])
def test_a_row_or_a_table_is_invalidated_by_hand(site: Site, target: str) -> None:
    author = Author.objects.using(site.database).get(pk=1)
    site.visit("author", lambda: name_of(site))

    invalidate(author if target == "instance" else Author, using=site.database)

    assert not site.is_hit("author", lambda: name_of(site))


def test_pruning_keeps_stale_entries_invalid_and_valid_entries_valid(site: Site) -> None:
    site.visit("author", lambda: name_of(site))
    for number in range(20):
        rename(site, f"name {number}")
    site.settle()
    site.visit("kept", lambda: name_of(site))

    pruned = prune(site.database)

    assert pruned.redundant >= 20
    assert site.is_hit("kept", lambda: name_of(site))
    assert site.visit("author", lambda: name_of(site)) == "name 19"


def test_a_little_is_pruned_by_the_way(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        rename(site, f"name {number}")
    site.settle()
    before = rows_in_log(site)
    monkeypatch.setattr(pruning, "ONE_IN", 1)

    site.visit("author", lambda: name_of(site))

    assert rows_in_log(site) < before


def test_the_log_of_a_replica_is_not_pruned_by_the_way(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        rename(site, f"name {number}")
    site.settle()
    before = rows_in_log(site)
    monkeypatch.setattr(pruning, "ONE_IN", 1)
    monkeypatch.setitem(connections[site.database].settings_dict["TEST"], "MIRROR", "other")

    site.visit("author", lambda: name_of(site))

    assert rows_in_log(site) == before


def rows_in_log(site: Site) -> int:
    with connections[site.database].cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM cachelayers_invalidation")
        return int(cursor.fetchall()[0][0])


def test_rows_older_than_any_entry_go_and_entries_as_old_with_them(
    site: Site, settings: Any
) -> None:
    site.visit("author", lambda: name_of(site))
    rename(site, "Anna")
    site.execute("UPDATE cachelayers_invalidation SET at = at - 90000000")
    settings.CACHELAYERS = {**settings.CACHELAYERS, "LONGEST_TIMEOUT": 86400}

    pruned = prune(site.database)

    assert pruned.old + pruned.redundant > 0
    assert site.visit("author", lambda: name_of(site)) == "Anna"


def test_a_new_incarnation_makes_every_entry_invalid(site: Site) -> None:
    site.visit("author", lambda: name_of(site))

    begin_anew(connections[site.database])

    assert not site.is_hit("author", lambda: name_of(site))


def test_a_log_that_runs_backwards_is_a_new_one(site: Site) -> None:
    """A restored backup uses ids again, while old values are still in the cache."""
    if site.database != "default":
        return
    for number in range(5):
        rename(site, f"lost {number}")
    site.visit("author", lambda: name_of(site))
    before = log_of(site.database).reading

    site.execute("DELETE FROM cachelayers_invalidation")
    site.execute("DELETE FROM sqlite_sequence WHERE name = 'cachelayers_invalidation'")
    is_hit = site.is_hit("author", lambda: name_of(site))
    after = log_of(site.database).reading

    assert not is_hit
    assert before is not None
    assert after is not None
    assert after.incarnation != before.incarnation


def test_a_table_that_is_not_tracked_is_refused_by_name(site: Site) -> None:
    with pytest.raises(ValueError, match=r"library\.Untracked is not tracked"):
        invalidate(Untracked, using=site.database)


def test_an_evicted_entry_does_not_come_back_to_life(site: Site) -> None:
    site.visit("author", lambda: name_of(site))
    kept = caches[site.store].get("author")
    rename(site, "Anna")
    caches[site.store].clear()
    site.visit("author", lambda: name_of(site))

    caches[site.store].set("author", kept, None)  # an old value, from a store that was away

    assert site.visit("author", lambda: name_of(site)) == "Anna"


def test_a_unit_that_recalls_nothing_costs_nothing(site: Site) -> None:
    site.visit("author", lambda: name_of(site))

    with CaptureQueriesContext(connections[site.database]) as queries, unit_of_work():
        name_of(site)
        rename(site, "Anna")

    assert len(queries) == 2


def test_a_unit_reads_the_log_once_however_much_it_recalls(site: Site) -> None:
    for number in range(5):
        site.visit(f"author-{number}", lambda: name_of(site))

    with CaptureQueriesContext(connections[site.database]) as queries, unit_of_work():
        for number in range(5):
            site.recall(f"author-{number}", lambda: name_of(site))

    assert len(queries) == 1
