"""The log as bus is in the table's own database: a write does not wait for the site's writers."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import caches
from django.db import connections
from django.test import override_settings

from cachelayers import recall, unit_of_work
from cachelayers.backends.database import raising
from cachelayers.backends.database.sqlite_file import FileConnection
from cachelayers.backends.layered import bus, circuit_breaker
from cachelayers.checks import cache_messages
from cachelayers.invalidation.dialects import LOG
from tests.layered.conftest import Stack, forget_processes
from tests.layered.helpers import elsewhere
from tests.settings import database_cache, layered_cache, memory_cache
from tests.state import reset

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def cache() -> Iterator[Any]:
    configured = {
        "apart": layered_cache("apart-memory", "sqlite", bus="log"),
        "apart-memory": memory_cache(),
    }
    with override_settings(CACHES={**settings.CACHES, **configured}):
        caches["apart"].clear()
        yield caches["apart"]
        reset("backends.layered.circuit_breaker")
        forget_processes()


def rows_in_the_sites_log() -> int:
    with connections["default"].cursor() as cursor:
        cursor.execute(f"SELECT COUNT(*) FROM {LOG}")
        return int(cursor.fetchone()[0])


def test_a_write_is_published_without_a_row_in_the_sites_log(
    cache: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.set("key", "old")
    with unit_of_work():
        assert cache.get("key") == "old"
    before = rows_in_the_sites_log()
    stack = Stack("apart", None, None)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(bus, "_token", "another process")
        elsewhere(stack, lambda other: other.set("key", "new"))

    assert rows_in_the_sites_log() == before
    with unit_of_work():
        assert cache.get("key") == "new"


def test_a_write_does_not_wait_for_the_site_s_writers(cache: Any) -> None:
    cache.set("key", "old")
    site = sqlite3.connect(settings.DATABASES["default"]["NAME"], isolation_level=None)
    site.execute("BEGIN EXCLUSIVE")
    try:
        began = time.monotonic()
        cache.set("key", "new")
        cache.delete("other")
        assert time.monotonic() - began < 1
        assert not cache.flows.bus.breaker.is_open
    finally:
        site.execute("ROLLBACK")
        site.close()
    assert cache.get("key") == "new"


def test_a_file_that_takes_no_writes_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers are not locked out: a successful read is no sign that the file takes writes again."""
    tries: list[float] = []
    execute = FileConnection.execute

    def count(session: FileConnection, statement: str, parameters: Any) -> Any:
        try:
            return execute(session, statement, parameters)
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                tries.append(time.monotonic())
            raise

    monkeypatch.setattr(FileConnection, "execute", count)
    configured = {
        "locked": layered_cache("locked-memory", "locked-table", bus="log"),
        "locked-memory": memory_cache(),
        "locked-table": {**database_cache("sqlite_cache"), "OPTIONS": {"BUSY_SECONDS": 0.1}},
    }
    with override_settings(CACHES={**settings.CACHES, **configured}):
        cache: Any = caches["locked"]
        cache.set("key", "old")
        other = sqlite3.connect(connections["sqlite_cache"].settings_dict["NAME"])
        other.execute("BEGIN IMMEDIATE")
        try:
            began = time.monotonic()
            for number in range(10):
                cache.set("key", number)
                cache.state.polled_at = float("-inf")  # as at the next request
                circuit_breaker.breaker_of(cache.flows.bus.alias).try_at = 0.0
            took = time.monotonic() - began
        finally:
            other.rollback()
            other.close()
            reset("backends.layered.circuit_breaker")
            forget_processes()

    assert len(tries) <= 1 + took  # a pause takes a second at least


def test_events_are_bounded_and_a_replaced_file_empties_memory(
    cache: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raising, "ONE_IN", 1)
    monkeypatch.setattr(raising, "ROWS_KEPT", 5)
    for number in range(20):
        cache.set(f"key-{number}", number)
    table = cache.flows.bus.table
    assert len(table.read(0, 100)) <= 6

    with unit_of_work():
        assert cache.get("key-1") == 1
    newest = table.newest()
    with closing(sqlite3.connect(connections["sqlite_cache"].settings_dict["NAME"])) as file:
        file.execute("DELETE FROM cachelayers_event WHERE id >= ?", [newest.id])
        file.commit()

    with unit_of_work():
        assert cache.get("key-1") == 1
    assert any(name.endswith("key-1") for name in caches["apart-memory"].store.records)  # type: ignore[attr-defined]


@pytest.mark.mariadb
def test_a_table_on_a_server_of_its_own_is_a_warning_that_names_both_databases(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configured = {
        "m": memory_cache(),
        "t": database_cache("mariadb"),
        "l": layered_cache("m", "t", bus="log"),
    }
    with override_settings(CACHES=configured):
        [message] = cache_messages()
        assert message.id == "cachelayers.W054"
        assert "CACHES['t'] is in DATABASES['mariadb']" in message.msg
        assert "into DATABASES['default'] too" in message.msg

        # Another alias of the same database.
        monkeypatch.setitem(connections.settings, "default", connections.settings["mariadb"])
        assert list(cache_messages()) == []


@pytest.mark.usefixtures("cache")
def test_a_table_in_a_file_of_its_own_gives_no_warning() -> None:
    ids = [one.id for one in cache_messages()]

    assert "cachelayers.W054" not in ids


def test_without_a_table_layer_a_check_names_the_database_of_the_events() -> None:
    configured = {
        "m": memory_cache(),
        "f": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"},
        "l": layered_cache("m", "f", bus="log"),
    }
    with override_settings(CACHES=configured):
        assert [one.id for one in cache_messages()] == ["cachelayers.W051"]


def test_an_entry_and_its_event_are_one_transaction(
    cache: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed between them would leave old values in other processes' memory."""
    cache.set("key", "old")
    newest = cache.flows.bus.table.newest()

    def fail(session: Any, rows: Any) -> None:
        raise sqlite3.OperationalError("disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(raising, "write_events", fail)
        cache.set("key", "new")

    assert cache.flows.bus.table.newest() == newest
    with closing(sqlite3.connect(connections["sqlite_cache"].settings_dict["NAME"])) as file:
        held = file.execute("SELECT data FROM cachelayers_entry WHERE data LIKE '%new%'").fetchall()
    assert held == []


@pytest.mark.parametrize(
    ("change", "events"),
    [
        (lambda cache: cache.set("number", 2), 1),
        (lambda cache: cache.set_many({"a": 1, "b": 2}), 2),
        (lambda cache: cache.incr("number"), 1),
        (lambda cache: cache.decr("number"), 1),  # the sum is 0, and still a change
        (lambda cache: cache.touch("number", 9), 1),
        (lambda cache: cache.add("new", 1), 1),
        (lambda cache: cache.delete("number"), 1),
        (lambda cache: cache.delete("absent"), 1),  # it may be in another process's memory
        (lambda cache: cache.add("number", 1), 0),
        (lambda cache: cache.touch("absent", 9), 0),
        (lambda cache: cache.set("number", 3, nx=True), 0),
    ],
)
def test_each_change_is_published_once(cache: Any, change: Any, events: int) -> None:
    cache.set("number", 1)
    table = cache.flows.bus.table
    before = table.newest().id

    change(cache)

    assert table.newest().id - before == events


def test_a_recalled_value_needs_no_event(cache: Any) -> None:
    cache.set("key", 1)
    before = cache.flows.bus.table.newest()

    with unit_of_work():
        recall("recalled", lambda: 1, using="apart")

    assert cache.flows.bus.table.newest() == before
