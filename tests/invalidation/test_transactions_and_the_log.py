"""Reading and pruning the log harms no transaction, and uncommitted rows do not count as read."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections, transaction

from cachelayers import invalidate, unit_of_work
from cachelayers.invalidation import units
from cachelayers.invalidation.dialects import LOG, PostgresDialect
from cachelayers.invalidation.log import ProcessLog, log_of
from cachelayers.invalidation.pruning import prune
from tests.invalidation import moving
from tests.invalidation.conftest import Site
from tests.invalidation.test_units import elsewhere, name_of, rename
from tests.library.models import Author, Branch, Subject

ON_SQLITE = pytest.mark.parametrize("site", ["default"], indirect=True)
ON_POSTGRES = pytest.mark.parametrize(
    "site", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)


@pytest.fixture(autouse=True)
def _authors(site: Site) -> None:
    Author.objects.using(site.database).create(pk=1, name="Ann")
    Author.objects.using(site.database).create(pk=2, name="Bob")
    site.settle()


@pytest.mark.parametrize(
    "site", ["default", pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)
def test_a_transaction_begun_in_sql_is_one(site: Site) -> None:
    """After a rollback, SQLite gives the ids of its log rows to others."""
    site.visit("author", lambda: name_of(site))
    with unit_of_work():
        site.execute("BEGIN IMMEDIATE" if site.database == "default" else "BEGIN")
        rename(site, "never")
        within = site.recall("author", lambda: name_of(site))
        site.execute("ROLLBACK")
    elsewhere(lambda: rename(site, "Anna"))

    assert within == "never"
    assert site.visit("author", lambda: name_of(site)) == "Anna"


@ON_SQLITE
def test_pruning_takes_the_lock_before_it_reads(site: Site) -> None:
    """SQLite refuses a transaction that reads and then writes if others write in between."""
    for number in range(5):
        rename(site, f"name {number}")
    could_write: list[bool] = []

    def write_meanwhile(execute: Any, sql: str, *others: Any) -> Any:
        result = execute(sql, *others)
        if sql.startswith("SELECT"):
            could_write.append(can_write(str(connections[site.database].settings_dict["NAME"])))
        return result

    with connections[site.database].execute_wrapper(write_meanwhile):
        pruned = prune(site.database)

    assert pruned.redundant >= 5
    assert could_write
    assert not any(could_write)


def can_write(path: str) -> bool:
    """Return whether another connection gets the lock of a file now."""
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return True


@ON_POSTGRES
def test_serializable_transactions_that_recall_do_not_abort_each_other(site: Site) -> None:
    branches = Branch.objects.using(site.database)
    site.visit("branches", branches.count)
    both_have_read = threading.Barrier(2, timeout=20)

    def work(write: Any) -> None:
        with unit_of_work(), transaction.atomic(site.database):
            site.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
            site.recall("branches", branches.count)
            both_have_read.wait()
            write()

    # Of two tables: what they have in common is the log.
    writes = [
        lambda: Author.objects.using(site.database).create(pk=3, name="Cleo"),
        lambda: Subject.objects.using(site.database).create(word="x"),
    ]
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(elsewhere, lambda write=write: work(write)) for write in writes]:
            done.result(60)

    assert Author.objects.using(site.database).count() == 3


@ON_POSTGRES
def test_a_site_that_is_serializable_by_default_has_hits_outside_of_transactions(
    site: Site,
) -> None:
    configured = connections[site.database].settings_dict
    options = {"OPTIONS": {"options": "-c default_transaction_isolation=serializable"}}
    with moving.database("serializable", {**configured, **options}) as serializable:
        serializable.visit("author", lambda: name_of(serializable))

        assert serializable.is_hit("author", lambda: name_of(serializable))
        rename(site, "Anna")
        assert serializable.visit("author", lambda: name_of(serializable)) == "Anna"


@ON_POSTGRES
def test_known_rows_are_not_read_again_while_another_transaction_writes(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    usual = ProcessLog._rows

    def count(self: ProcessLog, *arguments: Any) -> Any:
        rows = usual(self, *arguments)
        read.append(sum(row.tag is not None for row in rows))
        return rows

    monkeypatch.setattr(ProcessLog, "_rows", count)
    wrote, may_commit = threading.Event(), threading.Event()

    def write_slowly() -> None:
        with transaction.atomic(site.database):
            rename(site, "Anna")
            wrote.set()
            may_commit.wait(30)

    site.visit("author", lambda: name_of(site))
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(elsewhere, write_slowly)
        assert wrote.wait(30)
        invalidate(*(f"word {number}" for number in range(200)), using=site.database)
        log_of(site.database).refresh()
        log_of(site.database).refresh()
        meanwhile = read[-2:]
        before = site.visit("author", lambda: name_of(site))
        may_commit.set()
        done.result(60)

    assert meanwhile == [200, 0]
    assert before == "Ann"
    assert site.visit("author", lambda: name_of(site)) == "Anna"


@ON_POSTGRES
def test_a_transaction_that_reads_the_log_and_then_writes_invalidates(site: Site) -> None:
    """It has an id already, from its write to an untracked table."""
    site.visit("author", lambda: name_of(site))
    with unit_of_work(), transaction.atomic(site.database):
        site.execute("SELECT pg_current_xact_id()")
        elsewhere(lambda: rename(site, "other", key=2))
        site.recall("author", lambda: name_of(site))
        rename(site, "Anna")

    assert site.visit("author", lambda: name_of(site)) == "Anna"


@ON_POSTGRES
def test_a_log_without_statistics_is_read_by_its_index(site: Site) -> None:
    dialect = PostgresDialect()
    with transaction.atomic(site.database), connections[site.database].cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {LOG} (position, tag, at) SELECT pg_current_xact_id()::text::bigint,"
            " 'word:' || n, 0 FROM generate_series(1, 20000) AS n"
        )
        cursor.execute("DELETE FROM pg_statistic WHERE starelid = %s::regclass", [LOG])
        plans = []
        asked: list[tuple[str, Any]] = [
            (dialect.refresh, [2**60, [1, 2]]),
            (dialect.first_refresh, []),
            (dialect.look_up(1), ["word:1"]),
        ]
        for statement, parameters in asked:
            cursor.execute(f"EXPLAIN {statement}", parameters)
            plans.append("\n".join(row for (row,) in cursor.fetchall()))
        transaction.set_rollback(True, site.database)

    assert not [plan for plan in plans if f"Seq Scan on {LOG}" in plan]


def test_a_unit_that_lasts_reads_the_log_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """For example the worker of a queue, which is one command."""
    monkeypatch.setattr(units, "LONGEST_READING_SECONDS", 0)
    with unit_of_work():
        site.recall("author", lambda: name_of(site))
        elsewhere(lambda: rename(site, "Anna"))

        assert site.recall("author", lambda: name_of(site)) == "Anna"


def test_a_short_unit_sees_one_state(site: Site) -> None:
    with unit_of_work():
        site.recall("author", lambda: name_of(site))
        elsewhere(lambda: rename(site, "Anna"))

        assert site.recall("author", lambda: name_of(site)) == "Ann"


@ON_SQLITE
def test_a_user_of_the_primary_gets_no_value_from_the_replica(
    site: Site, tmp_path: Any, settings: Any
) -> None:
    """The replica lags behind what the user has just written."""
    path = moving.copy_file(tmp_path / "copy.sqlite3")
    follows = {**moving.sqlite_file(path), "TEST": {"MIRROR": "default"}}
    with moving.database("copy", follows):
        router = Router()
        settings.DATABASE_ROUTERS = [router]

        def read() -> str:
            return Author.objects.get(pk=1).name

        site.visit("author", read)
        has_hits = site.is_hit("author", read)
        rename(site, "Anna")
        still_old = site.visit("author", read)
        router.reads_from = "default"

        assert has_hits
        assert still_old == "Ann"
        assert site.visit("author", read) == "Anna"
        assert site.is_hit("author", read)


class Router:
    """Reads from the replica, unless told otherwise."""

    reads_from = "copy"

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return self.reads_from

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "default"
