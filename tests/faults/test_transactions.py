"""Within the caller's atomic() on the same alias: the cache joins it, and never breaks it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.db import OperationalError, connections, transaction

from cachelayers.backends import DatabaseCache
from cachelayers.conf import table_database_of
from tests.contract.fixtures import MakeCache
from tests.faults.conftest import Reports

JOINING = [
    "sqlite_shared",
    "sqlite_memory",
    pytest.param("postgres", marks=pytest.mark.postgres),
    pytest.param("mariadb", marks=pytest.mark.mariadb),
]
ON_SERVERS = JOINING[2:]

joining = pytest.mark.parametrize("cache_alias", JOINING, indirect=True)
on_servers = pytest.mark.parametrize("cache_alias", ON_SERVERS, indirect=True)


@pytest.fixture
def database(cache_alias: str) -> str:
    return table_database_of(settings.CACHES[cache_alias])


@pytest.fixture
def cache(make_cache: MakeCache) -> BaseCache:
    """Return a cache with an alias of its own: a failure in one test pauses no other one."""
    return make_cache(options={"BUSY_SECONDS": 1})


def runs(database: str) -> bool:
    """Return whether the caller's transaction still accepts statements."""
    with connections[database].cursor() as cursor:
        cursor.execute("SELECT 1")
        return bool(cursor.fetchone() == (1,))


@contextmanager
def undone(database: str) -> Iterator[None]:
    """Run a block in a transaction that is rolled back."""
    with transaction.atomic(database):
        yield
        transaction.set_rollback(True, using=database)


@joining
def test_a_write_is_rolled_back_with_the_transaction(cache: BaseCache, database: str) -> None:
    cache.set_many({"page": "old", "counter": 1, "gone": 1})

    with undone(database):
        cache.set("page", "new")
        cache.set_many({"more": 1})
        cache.incr("counter")
        cache.delete("gone")
        cache.add("added", 1)
        inside = cache.get_many(["page", "more", "counter", "gone", "added"])

    assert inside == {"page": "new", "more": 1, "counter": 2, "added": 1}
    assert cache.get_many(["page", "more", "counter", "gone", "added"]) == {
        "page": "old",
        "counter": 1,
        "gone": 1,
    }


@joining
def test_a_write_is_committed_with_the_transaction(cache: BaseCache, database: str) -> None:
    with transaction.atomic(database):
        cache.set("page", "new")

    assert cache.get("page") == "new"


@joining
def test_a_write_is_rolled_back_with_the_savepoint_around_it(
    cache: BaseCache, database: str
) -> None:
    with transaction.atomic(database):
        cache.set("outer", 1)
        with undone(database):
            cache.set("inner", 2)

    assert cache.get_many(["outer", "inner"]) == {"outer": 1}


@on_servers
def test_others_read_a_write_when_the_transaction_commits(cache: BaseCache, database: str) -> None:
    alias = cast(DatabaseCache, cache).alias

    with transaction.atomic(database):
        cache.set("page", "new")
        before = in_a_thread(lambda: caches[alias].get("page"))

    after = in_a_thread(lambda: caches[alias].get("page"))
    assert (before, after) == (None, "new")


def in_a_thread(work: Callable[[], Any]) -> Any:
    answers: list[Any] = []

    def run() -> None:
        try:
            answers.append(work())
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    return answers[0]


@on_servers
def test_a_broken_value_does_not_break_the_transaction(
    cache: BaseCache, database: str, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    with transaction.atomic(database), failing_statements(database, times=99):
        cache.set("page", "new")
        found = cache.get("page", "missing")
        failed = cache.set_many({"a": 1})
        still_runs = runs(database)

    assert still_runs
    assert found == "missing"
    assert failed == ["a"]


@contextmanager
def failing_statements(database: str, times: int, **errors: str) -> Iterator[list[str]]:
    """Let the database refuse the next statements on the cache's table."""
    statements: list[str] = []

    def refuse(execute: Any, text: str, parameters: Any, many: bool, context: Any) -> Any:
        if "cachelayers_entry" in text:
            statements.append(text)
            if len(statements) <= times:
                return execute(
                    error_statement(connections[database].vendor, **errors), (), False, context
                )
        return execute(text, parameters, many, context)

    with connections[database].execute_wrapper(refuse):
        yield statements


def error_statement(vendor: str, state: str = "53100", number: str = "1114") -> str:
    """Return a statement that fails with the given code; by default, a full disk."""
    if vendor == "postgresql":
        return f"DO $$ BEGIN RAISE EXCEPTION 'on purpose' USING ERRCODE = '{state}'; END $$"
    return (
        f"BEGIN NOT ATOMIC SIGNAL SQLSTATE '{state}'"
        f" SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = 'on purpose'; END"
    )


DEADLOCKS = {"postgresql": {"state": "40P01"}, "mysql": {"state": "40001", "number": "1213"}}


@on_servers
@pytest.mark.parametrize(
    ("operation", "answer"),
    [
        (lambda cache: cache.set("page", "new") or cache.get("page"), "new"),
        (lambda cache: cache.incr("counter"), 2),
        (lambda cache: cache.set_many({"a": 1}), []),
        (lambda cache: cache.delete("counter"), True),
    ],
    ids=["set", "incr", "set_many", "delete"],
)
def test_a_deadlock_is_tried_again_outside_a_transaction(
    cache: BaseCache,
    database: str,
    reports: Reports,
    operation: Callable[[BaseCache], Any],
    answer: object,
) -> None:
    cache.set("counter", 1)
    vendor = connections[database].vendor

    with failing_statements(database, times=2, **DEADLOCKS[vendor]) as statements:
        found = operation(cache)

    assert found == answer
    assert len(statements) >= 3
    assert reports.texts == []


@on_servers
def test_a_deadlock_is_not_tried_again_inside_a_transaction(
    cache: BaseCache, database: str
) -> None:
    # MariaDB rolls the whole transaction back, so a second attempt would run outside of it.
    vendor = connections[database].vendor

    with (
        transaction.atomic(database),
        failing_statements(database, times=1, **DEADLOCKS[vendor]) as statements,
    ):
        cache.set("page", "new")

    assert len([text for text in statements if "INSERT" in text]) == 1


@contextmanager
def locked_row(database: str) -> Iterator[None]:
    """Lock every row of the table, on another connection."""
    locked, release = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic(database), connections[database].cursor() as cursor:
                cursor.execute("SELECT id FROM cachelayers_entry FOR UPDATE")
                cursor.fetchall()
                locked.set()
                release.wait(60)
        finally:
            connections.close_all()

    thread = threading.Thread(target=hold)
    thread.start()
    assert locked.wait(30)
    try:
        yield
    finally:
        release.set()
        thread.join(30)


@on_servers
def test_a_locked_row_makes_a_write_do_nothing_within_the_time_limit(
    cache: BaseCache, database: str
) -> None:
    cache.set("page", "old")

    with locked_row(database):
        began = time.monotonic()
        cache.set("page", "new")
        took_seconds = time.monotonic() - began
        while_locked = cache.get("page", "missing")

    assert took_seconds < 5
    assert while_locked == "missing"


@on_servers
def test_a_locked_row_neither_breaks_nor_delays_the_transaction(
    cache: BaseCache, database: str
) -> None:
    cache.set("page", "old")

    with locked_row(database), transaction.atomic(database):
        began = time.monotonic()
        cache.set("page", "new")
        took_seconds = time.monotonic() - began
        still_runs = runs(database)

    assert took_seconds < 8
    assert still_runs


@on_servers
def test_a_transaction_that_is_broken_already_makes_reads_miss(
    cache: BaseCache, database: str
) -> None:
    cache.set("page", 1)

    with undone(database):
        with pytest.raises(Exception, match="nowhere"), connections[database].cursor() as cursor:
            cursor.execute("SELECT 1 FROM nowhere")
        found = cache.get("page", "missing")
        cache.set("page", 2)

    assert found in {1, "missing"}
    assert cache.get("page") in {1, None}


@pytest.mark.parametrize(
    "cache_alias", [pytest.param("mariadb", marks=pytest.mark.mariadb)], indirect=True
)
def test_a_value_too_large_for_the_server_does_not_break_the_transaction(
    cache: BaseCache, database: str, reports: Reports
) -> None:
    cache.set("page", "old")

    with transaction.atomic(database):
        cache.set("page", "x" * (17 * 2**20))  # above MariaDB's max_allowed_packet of 16 MiB
        found = cache.get("page", "missing")
        still_runs = runs_or_reconnects(database)

    assert still_runs
    assert found != "old"
    assert len(reports.texts) >= 1


def runs_or_reconnects(database: str) -> bool:
    try:
        return runs(database)
    except OperationalError:
        return False


@on_servers
def test_manual_transactions_are_joined_too(cache: BaseCache, database: str) -> None:
    transaction.set_autocommit(False, using=database)
    try:
        cache.set("page", "new")
        inside = cache.get("page")
        transaction.rollback(using=database)
        after = cache.get("page")
        transaction.rollback(using=database)
    finally:
        transaction.set_autocommit(True, using=database)

    assert (inside, after) == ("new", None)
