"""A read-only transaction is no outage: its layer stays, and an older value does not survive it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import caches
from django.db import connections, transaction
from django.test import override_settings

from cachelayers import unit_of_work
from cachelayers.backends.layered import circuit_breaker
from tests.layered.conftest import forget_processes
from tests.settings import database_cache, layered_cache, memory_cache
from tests.state import reset

READ_ONLY = {
    "default": ("PRAGMA query_only = 1", "PRAGMA query_only = 0"),
    "postgres": ("SET TRANSACTION READ ONLY", None),
}


@pytest.fixture(params=["default", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def cache(database: str, django_db_setup: None, django_db_blocker: Any) -> Iterator[Any]:
    configured = {
        "read-only": layered_cache("read-only-memory", "read-only-table"),
        "read-only-memory": memory_cache(),
        "read-only-table": database_cache(database),
    }
    with django_db_blocker.unblock(), override_settings(CACHES={**settings.CACHES, **configured}):
        caches["read-only"].clear()
        yield caches["read-only"]
        reset("backends.layered.circuit_breaker")
        forget_processes()


@pytest.mark.parametrize("operation", ["set", "delete"])
def test_a_write_in_a_read_only_transaction_ends_no_epoch_and_leaves_no_older_value(
    cache: Any, database: str, operation: str
) -> None:
    cache.set("key", "old")
    cache.set("other", "kept")
    epochs = dict(cache.state.epochs)
    begin, end = READ_ONLY[database]

    with unit_of_work(), transaction.atomic(database):
        execute(database, begin)
        cache.set("key", "new") if operation == "set" else cache.delete("key")
        if end is not None:
            execute(database, end)

    assert cache.state.epochs == epochs
    assert not circuit_breaker.breaker_of("read-only-table").is_open
    with unit_of_work():
        assert cache.get("key") is None
        assert cache.get("other") == "kept"


def execute(database: str, statement: str) -> None:
    with connections[database].cursor() as cursor:
        cursor.execute(statement)
