"""Real processes that use the same table at the same time."""

from __future__ import annotations

import collections

import pytest
from django.core.cache.backends.base import BaseCache
from django.db import connections

from tests.concurrency.conftest import SHARED_BY_PROCESSES, StartProgram, begin, expect_line, go

pytestmark = pytest.mark.parametrize("cache_alias", SHARED_BY_PROCESSES, indirect=True)

FOUR = range(4)


def test_four_processes_lose_no_count(cache: BaseCache, start_program: StartProgram) -> None:
    cache.set("counter", 0)

    complaints = go(*(start_program("count", "counter", 100) for _ in FOUR))

    assert complaints == [[], [], [], []]
    assert cache.get("counter") == 400


def test_exactly_one_of_four_processes_adds(cache: BaseCache, start_program: StartProgram) -> None:
    prizes = go(*(start_program("win", 50) for _ in FOUR))

    won = collections.Counter(prize for some in prizes for prize in some)
    assert won == dict.fromkeys(range(50), 1)


def test_four_processes_lose_no_write_and_meet_no_error(
    cache: BaseCache, start_program: StartProgram
) -> None:
    wrong = go(*(start_program("live", f"process-{number}", 120) for number in FOUR))

    assert wrong == [[], [], [], []]


def test_bulk_writes_in_any_order_never_deadlock_and_lose_nothing(
    cache: BaseCache, cache_alias: str, start_program: StartProgram
) -> None:
    deadlocks_before = deadlocks_in(cache_alias)

    wrong = go(*(start_program("write_in_bulk", f"process-{number}", 10) for number in FOUR))

    assert wrong == [[], [], [], []]
    assert deadlocks_in(cache_alias) == deadlocks_before


def deadlocks_in(cache_alias: str) -> int:
    """Return the server's number of deadlocks: the cache retries without logging."""
    if "sqlite" in cache_alias:
        return 0  # SQLite has one lock
    question = {
        "postgres": "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()",
        "mariadb": "SELECT variable_value FROM information_schema.global_status"
        " WHERE variable_name = 'Innodb_deadlocks'",
    }
    with connections[cache_alias].cursor() as cursor:
        cursor.execute(question[cache_alias])
        return int(cursor.fetchone()[0])


@pytest.mark.parametrize("warm_up", ["used before", "not used before"])
def test_a_fork_during_work_breaks_neither_process(
    cache: BaseCache, cache_alias: str, start_program: StartProgram, warm_up: str
) -> None:
    if warm_up == "used before" and "sqlite" not in cache_alias:
        warm_up = "not used before"  # Django's own connections must not be used across a fork

    (wrong,) = go(start_program("fork_while_a_thread_works", warm_up))

    assert wrong == []


def test_a_process_killed_during_writes_leaves_a_working_cache(
    cache: BaseCache, cache_alias: str, start_program: StartProgram
) -> None:
    for round_number in range(2):
        process = start_program("write_for_ever", f"victim-{round_number}")
        begin(process)
        expect_line(process, "under way")

        process.kill()
        process.wait()

        cache.set("survivor", round_number)
        assert cache.get("survivor") == round_number
        assert len(cache.get_many([f"victim-{round_number}-many-{n}" for n in range(50)])) == 50
    assert soundness_of(cache_alias) == "ok"


def soundness_of(cache_alias: str) -> str:
    """Return SQLite's integrity check of its file; servers check theirs themselves."""
    database = {"sqlite": "sqlite_cache", "sqlite_shared": "default"}.get(cache_alias)
    if database is None:
        return "ok"
    with connections[database].cursor() as cursor:
        cursor.execute("PRAGMA integrity_check")
        return str(cursor.fetchone()[0])
