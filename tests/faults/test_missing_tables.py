"""A missing table: a miss, one log line that names the command, and a check."""

from __future__ import annotations

import io
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.cache.backends.base import BaseCache
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connections, transaction

from cachelayers.exceptions import MissingTable
from cachelayers.lookup import recall
from tests.faults.conftest import OpenCache, Reports, sqlite_settings
from tests.faults.test_servers import WHILE_DOWN, everything
from tests.servers import Server
from tests.state import reset

COMMAND = r"manage.py migrate( cachelayers)? --database=bare"


@pytest.fixture
def bare_file(open_cache: OpenCache, tmp_path: Path) -> BaseCache:
    """Return a cache in a file that has no tables."""
    path = tmp_path / "bare.sqlite3"
    path.touch()
    # Its own Health: reports are limited to one a minute.
    return open_cache("bare", sqlite_settings(path), migrate=False, BUSY_SECONDS=unique_seconds())


@pytest.fixture
def bare_server(open_cache: OpenCache, server: Server) -> BaseCache:
    server.create_database("bare")  # type: ignore[attr-defined] # both kinds have it
    settings = server.database_settings("bare")  # type: ignore[attr-defined] # both kinds have it
    return open_cache("bare", settings, migrate=False, BUSY_SECONDS=unique_seconds())


def unique_seconds() -> float:
    return 0.3 + uuid.uuid4().int % 10**6 / 10**9


@pytest.fixture(autouse=True)
def _unreported() -> None:
    reset("backends.faults")


def test_a_missing_table_in_a_file_is_a_miss_and_one_line(
    bare_file: BaseCache, reports: Reports
) -> None:
    answers = everything(bare_file)

    assert answers == WHILE_DOWN
    assert len(reports.texts) == 1
    assert re.search(COMMAND, reports.texts[0])
    assert "cachelayers_entry" in reports.texts[0]


def test_a_missing_table_on_a_server_is_a_miss_and_one_line(
    bare_server: BaseCache, reports: Reports
) -> None:
    answers = everything(bare_server)

    assert answers == WHILE_DOWN
    assert len(reports.texts) == 1
    assert re.search(COMMAND, reports.texts[0])


def test_a_missing_table_does_not_break_the_transaction_around_it(bare_server: BaseCache) -> None:
    with transaction.atomic("bare"):
        bare_server.set("a", 1)
        with connections["bare"].cursor() as cursor:
            cursor.execute("SELECT 1")
            found = cursor.fetchone()

    assert found == (1,)


def test_the_cache_works_as_soon_as_the_table_is_made(bare_file: BaseCache) -> None:
    bare_file.set("a", 1)

    call_command("migrate", "cachelayers", database="bare", verbosity=0)

    bare_file.set("a", 1)
    assert bare_file.get("a") == 1


@pytest.mark.parametrize(
    "operation", [lambda cache: cache.clear_entries(), lambda cache: cache.count_entries()]
)
def test_an_operator_sees_the_command_that_makes_it(
    bare_file: BaseCache, operation: Callable[[Any], Any]
) -> None:
    with pytest.raises(MissingTable, match=COMMAND) as caught:
        operation(bare_file)

    assert isinstance(caught.value, ImproperlyConfigured)


def test_a_file_of_the_caches_own_is_made_when_it_is_missing(
    open_cache: OpenCache, tmp_path: Path
) -> None:
    path = tmp_path / "fresh disk" / "cache.sqlite3"
    path.parent.mkdir()
    cache = open_cache("fresh", sqlite_settings(path), migrate=False)

    first = cache.get("a")
    cache.set("a", 1)

    assert first is None
    assert cache.get("a") == 1
    call_command("migrate", "cachelayers", database="fresh", verbosity=0)  # has nothing to do
    assert cache.get("a") == 1


def test_a_folder_that_is_missing_is_a_miss(
    open_cache: OpenCache, tmp_path: Path, reports: Reports
) -> None:
    cache = open_cache("nowhere", sqlite_settings(tmp_path / "no" / "c.sqlite3"), migrate=False)

    assert everything(cache) == WHILE_DOWN
    assert reports.texts


def test_a_check_says_that_a_table_is_missing(bare_file: BaseCache) -> None:
    said = io.StringIO()

    call_command("check", databases=["bare"], stderr=said)

    assert "cachelayers.W045" in said.getvalue()
    assert "CACHES['bare']" in said.getvalue()
    call_command("migrate", "cachelayers", database="bare", verbosity=0)
    call_command("check", databases=["bare"], stderr=(silence := io.StringIO()))
    assert "cachelayers.W045" not in silence.getvalue()


def test_values_are_computed_where_cache_and_log_are_missing(
    bare_file: BaseCache, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cachelayers.lookup.policy.log_database", lambda: "bare", raising=False)

    found = [recall("country:FR", lambda: "France", using="bare", tags=["a"]) for _ in range(2)]

    assert found == ["France", "France"]


def test_searches_and_locks_raise_an_error_that_names_the_command(bare_file: BaseCache) -> None:
    cache: Any = bare_file

    assert (cache.ttl("key"), cache.persist("key"), cache.set("key", 1, xx=True)) == (
        0,
        False,
        False,
    )
    for call in (
        lambda: cache.keys("*"),
        lambda: cache.delete_pattern("*"),
        cache.lock("door").acquire,
    ):
        with pytest.raises(MissingTable, match=COMMAND):
            call()
