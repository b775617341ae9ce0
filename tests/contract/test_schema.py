"""The table and its connections: one B-tree, and a file of the cache's own."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.checks import Tags, run_checks
from django.core.management import call_command
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import override_settings

from cachelayers.conf import table_database_of
from cachelayers.models import Entry
from cachelayers.routers import CacheRouter
from tests.contract.fixtures import MakeCache

TABLE = "cachelayers_entry"

only_sqlite = pytest.mark.parametrize("cache_alias", ["sqlite"], indirect=True)
only_postgres = pytest.mark.parametrize(
    "cache_alias", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)


@pytest.fixture
def connection(cache: BaseCache, cache_alias: str) -> BaseDatabaseWrapper:
    return connections[table_database_of(settings.CACHES[cache_alias])]


def test_the_table_has_no_index_but_its_primary_key(connection: BaseDatabaseWrapper) -> None:
    with connection.cursor() as cursor:
        constraints = connection.introspection.get_constraints(cursor, TABLE)

    indexes = [one for one in constraints.values() if one["index"] or one["primary_key"]]
    assert [one["columns"] for one in indexes] == [["id"]]


@only_sqlite
def test_on_sqlite_the_primary_key_is_the_row_id_itself(connection: BaseDatabaseWrapper) -> None:
    Entry.objects.using(connection.alias).create(
        id=-5, full_key=b"a", expires=1, used=1, format=0, number=1
    )

    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id FROM {TABLE} WHERE rowid = -5")
        row_ids = [row[0] for row in cursor.fetchall()]
        cursor.execute(
            "SELECT COUNT(*) FROM sqlite_master WHERE type = 'index' AND tbl_name = %s", [TABLE]
        )
        (indexes,) = cursor.fetchone()
    Entry.objects.using(connection.alias).filter(id=-5).delete()

    assert row_ids == [-5]
    assert indexes == 0


@only_sqlite
def test_on_sqlite_the_cache_has_connections_of_its_own(
    cache: BaseCache, connection: BaseDatabaseWrapper
) -> None:
    connection.close()

    cache.set("answer", 42)
    found = cache.get("answer")

    assert found == 42
    assert connection.connection is None


WORKERS = "the_test_s_own_thread"


@pytest.fixture
def opened(cache: BaseCache, monkeypatch: pytest.MonkeyPatch) -> list[sqlite3.Connection]:
    """Return the SQLite connections that this test and its workers open from now on.

    Not those of other threads: a thread of an earlier test may still use a cache. Nor that of the
    cache under test, which is open already: an earlier test's fork may have closed it.
    """
    cache.has_key("any")
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect
    tester = threading.current_thread()

    def recorded_connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        thread = threading.current_thread()
        if thread is tester or thread.name.startswith(WORKERS):
            opened.append(connection)
        return connection

    monkeypatch.setattr(sqlite3, "connect", recorded_connect)
    return opened


@only_sqlite
def test_on_sqlite_each_thread_has_one_connection_and_keeps_it(
    opened: list[sqlite3.Connection], make_cache: MakeCache
) -> None:
    alias = "threaded"
    make_cache(alias)

    def work(number: int) -> None:
        for step in range(5):
            caches[alias].set(f"{number}-{step}", step)
            caches[alias].close()

    for number in range(3):
        with ThreadPoolExecutor(1, thread_name_prefix=WORKERS) as pool:
            pool.submit(work, number).result(30)

    assert len(opened) == 3


@only_sqlite
def test_on_sqlite_the_connections_are_tuned_for_a_cache(
    opened: list[sqlite3.Connection], make_cache: MakeCache
) -> None:
    make_cache().set("answer", 42)

    (connection,) = opened
    pragmas = ("journal_mode", "synchronous", "secure_delete")
    found = [connection.execute(f"PRAGMA {pragma}").fetchall()[0][0] for pragma in pragmas]
    assert found == ["wal", 1, 0]  # 1: NORMAL
    assert connection.isolation_level is None  # each statement commits by itself


@pytest.mark.parametrize("cache_alias", ["sqlite_shared"], indirect=True)
def test_a_file_that_holds_the_site_s_tables_keeps_its_journal_mode(
    cache: BaseCache, connection: BaseDatabaseWrapper
) -> None:
    with closing(sqlite3.connect(connection.settings_dict["NAME"])) as before:
        (mode_before,) = before.execute("PRAGMA journal_mode").fetchone()

    cache.set("answer", 42)

    with closing(sqlite3.connect(connection.settings_dict["NAME"])) as after:
        assert after.execute("PRAGMA journal_mode").fetchone() == (mode_before,)


# UNLOGGED


@pytest.fixture
def logged_again(connection: BaseDatabaseWrapper) -> Iterator[None]:
    yield
    migrate(connection)


def migrate(connection: BaseDatabaseWrapper) -> None:
    call_command("migrate", "cachelayers", database=connection.alias, verbosity=0)


def persistence_of(connection: BaseDatabaseWrapper) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT relpersistence::text FROM pg_class WHERE relname = %s", [TABLE])
        return str(cursor.fetchone()[0])


@only_postgres
@pytest.mark.usefixtures("logged_again")
def test_unlogged_takes_the_table_out_of_the_log_and_back(
    cache: BaseCache, cache_alias: str, connection: BaseDatabaseWrapper
) -> None:
    cache.set("answer", 42)
    unlogged = {**settings.CACHES[cache_alias], "OPTIONS": {"UNLOGGED": True}}
    before = persistence_of(connection)

    with override_settings(CACHES={"default": unlogged, cache_alias: unlogged}):
        migrate(connection)
        during = persistence_of(connection)
        found = caches[cache_alias].get("answer")
    migrate(connection)
    after = persistence_of(connection)

    assert (before, during, after) == ("p", "u", "p")
    assert found == 42


@only_sqlite
def test_a_check_reports_unlogged_on_other_databases(make_cache: MakeCache) -> None:
    cache = make_cache("unlogged", options={"UNLOGGED": True})

    cache.set("answer", 42)

    assert cache.get("answer") == 42
    assert warnings_about("'unlogged'", "cachelayers.W004")


# Checks and the router


def warnings_about(place: str, check_id: str, tag: str = Tags.caches) -> bool:
    return any(
        message.id == check_id and place in message.msg
        for message in run_checks(tags=[tag], databases=["default", "sqlite_cache"])
    )


@pytest.mark.usefixtures("cache")
def test_a_file_shared_with_the_site_is_warned_of_and_one_of_its_own_is_not() -> None:
    assert warnings_about("'default'", "cachelayers.W001", Tags.database)
    assert not warnings_about("'sqlite_cache'", "cachelayers.W001", Tags.database)
    # Other packages compare the list of all checks except the database checks.
    assert not warnings_about("'default'", "cachelayers.W001")


@pytest.mark.usefixtures("cache")
def test_a_database_of_its_own_without_the_router_is_warned_of() -> None:
    with override_settings(DATABASE_ROUTERS=[]):
        without = warnings_about("'sqlite_cache'", "cachelayers.W002")
    with override_settings(DATABASE_ROUTERS=["cachelayers.routers.CacheRouter"]):
        beside_it = warnings_about("'sqlite_cache'", "cachelayers.W002")

    assert without
    assert not beside_it


def test_the_router_sends_the_table_to_the_caches_databases_and_nothing_else_there() -> None:
    own = {"BACKEND": "cachelayers.backends.DatabaseCache", "LOCATION": "sqlite_cache"}
    router = CacheRouter()

    with override_settings(CACHES={"default": own}):
        allowed = {
            "entries in the cache's database": router.allow_migrate(
                "sqlite_cache", "cachelayers", "entry"
            ),
            "entries in the site's": router.allow_migrate("default", "cachelayers", "entry"),
            "users in the cache's": router.allow_migrate("sqlite_cache", "auth", "user"),
            "users in the site's": router.allow_migrate("default", "auth", "user"),
        }
        read, written = router.db_for_read(Entry), router.db_for_write(Entry)

    assert allowed == {
        "entries in the cache's database": True,
        "entries in the site's": False,
        "users in the cache's": False,
        "users in the site's": None,
    }
    assert (read, written) == ("sqlite_cache", "sqlite_cache")


def test_the_router_shares_the_site_s_database_where_a_cache_names_it() -> None:
    shared = {"BACKEND": "cachelayers.backends.DatabaseCache"}
    router = CacheRouter()

    with override_settings(CACHES={"default": shared}):
        entries = router.allow_migrate("default", "cachelayers", "entry")
        users = router.allow_migrate("default", "auth", "user")

    assert (entries, users) == (True, None)
