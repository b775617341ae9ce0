"""Bulk writes to PostgreSQL, with one array per column, if the connection is not observed."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import BaseCache, caches
from django.db import connections, transaction

pytestmark = pytest.mark.postgres

VALUES: dict[str, Any] = {"text": "é", "number": -7, "bytes": b"\0'\\", "none": None, "list": [1]}


@pytest.fixture
def postgres_cache(cache_alias: str) -> BaseCache:
    return caches[cache_alias]


def lock_timeout() -> str:
    with connections["postgres"].cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        return str(cursor.fetchone()[0])


@pytest.mark.parametrize("cache_alias", ["postgres"], indirect=True)
def test_a_bulk_write_joins_the_callers_transaction(postgres_cache: BaseCache) -> None:
    with transaction.atomic("postgres"):
        postgres_cache.set_many(VALUES)
        found_inside = postgres_cache.get_many(VALUES)
        transaction.set_rollback(True, using="postgres")

    assert found_inside == VALUES
    assert postgres_cache.get_many(VALUES) == {}


@pytest.mark.parametrize("cache_alias", ["postgres"], indirect=True)
def test_a_bulk_write_leaves_the_callers_own_limits_as_they_were(
    postgres_cache: BaseCache,
) -> None:
    with transaction.atomic("postgres"):
        with connections["postgres"].cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '7s'")

        postgres_cache.set_many(VALUES)

        assert lock_timeout() == "7s"
    assert lock_timeout() == "0"
    assert postgres_cache.get_many(VALUES) == VALUES


@pytest.mark.parametrize("cache_alias", ["postgres"], indirect=True)
def test_a_bulk_write_that_fails_does_not_break_the_callers_transaction(
    postgres_cache: BaseCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements = postgres_cache._table.sessions.current().sql  # type: ignore[attr-defined]
    monkeypatch.setattr(statements, "upsert_columns", "SELECT 1/0 FROM unnest(%b::bigint[])")

    with transaction.atomic("postgres"):
        failed = postgres_cache.set_many(VALUES)
        with connections["postgres"].cursor() as cursor:
            cursor.execute("SELECT 1")
            answer = cursor.fetchone()

    assert sorted(failed) == sorted(VALUES)
    assert answer == (1,)
