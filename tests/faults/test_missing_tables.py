"""A table that was never made: an error that names the alias, the table and the command."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.cache.backends.base import BaseCache
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connections, transaction

from cachelayers.exceptions import MissingTable
from tests.faults.conftest import OpenCache, sqlite_settings
from tests.servers import Server

OPERATIONS: list[Callable[[BaseCache], Any]] = [
    lambda cache: cache.get("a"),
    lambda cache: cache.set("a", 1),
    lambda cache: cache.add("a", 1),
    lambda cache: cache.touch("a"),
    lambda cache: cache.delete("a"),
    lambda cache: cache.has_key("a"),
    lambda cache: cache.incr("a"),
    lambda cache: cache.get_many(["a"]),
    lambda cache: cache.set_many({"a": 1}),
    lambda cache: cache.delete_many(["a"]),
    lambda cache: cache.clear(),
]


@pytest.fixture
def unmigrated_sqlite(open_cache: OpenCache, sqlite_path: Path) -> BaseCache:
    sqlite_path.touch()
    return open_cache("bare", sqlite_settings(sqlite_path), migrate=False)


@pytest.fixture
def unmigrated_server(open_cache: OpenCache, server: Server) -> BaseCache:
    server.create_database("bare")  # type: ignore[attr-defined] # both kinds have it
    return open_cache("bare", server.database_settings("bare"), migrate=False)  # type: ignore[attr-defined] # both kinds have it


def assert_helpful(error: BaseException) -> None:
    text = str(error)
    assert isinstance(error, ImproperlyConfigured)
    assert "'bare'" in text
    assert "cachelayers_entry" in text
    assert re.search(r"manage.py migrate( cachelayers)? --database=bare", text)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_missing_table_in_a_file_says_how_to_make_it(
    unmigrated_sqlite: BaseCache, operation: Callable[[BaseCache], Any]
) -> None:
    with pytest.raises(MissingTable) as caught:
        operation(unmigrated_sqlite)

    assert_helpful(caught.value)


def test_a_missing_table_on_a_server_says_how_to_make_it(unmigrated_server: BaseCache) -> None:
    for operation in OPERATIONS:
        with pytest.raises(MissingTable) as caught:
            operation(unmigrated_server)
        assert_helpful(caught.value)


def test_a_missing_table_does_not_break_the_transaction_around_it(
    unmigrated_server: BaseCache,
) -> None:
    with transaction.atomic("bare"):
        with pytest.raises(MissingTable):
            unmigrated_server.set("a", 1)
        with connections["bare"].cursor() as cursor:
            cursor.execute("SELECT 1")
            found = cursor.fetchone()

    assert found == (1,)


def test_the_cache_works_as_soon_as_the_table_is_made(unmigrated_sqlite: BaseCache) -> None:
    with pytest.raises(MissingTable):
        unmigrated_sqlite.set("a", 1)

    call_command("migrate", "cachelayers", database="bare", verbosity=0)

    unmigrated_sqlite.set("a", 1)
    assert unmigrated_sqlite.get("a") == 1
