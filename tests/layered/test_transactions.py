"""The log as bus within the caller's transaction: nothing uncommitted is stored in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.db import DatabaseError, connection, connections, transaction
from django.test import override_settings

from cachelayers import unit_of_work
from cachelayers.backends.layered.bus import Apply, LogBus
from cachelayers.invalidation.dialects import LOG
from tests.layered.conftest import forget_processes
from tests.library.models import Author
from tests.settings import database_cache, layered_cache, memory_cache
from tests.state import reset

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def cache() -> Iterator[BaseCache]:
    """Yield a table in the site's own database, behind memory; its log is the bus."""
    configured = {
        "joined": layered_cache("joined-memory", "joined-table", bus="log"),
        "joined-memory": memory_cache(),
        "joined-table": database_cache("default"),
    }
    with override_settings(CACHES={**settings.CACHES, **configured}):
        caches["joined-memory"].clear()
        yield caches["joined"]
        reset("backends.layered.circuit_breaker")
        forget_processes()


def memory_of(cache: Any) -> list[str]:
    return list(caches["joined-memory"].store.records)  # type: ignore[attr-defined]


def test_a_rolled_back_write_is_in_no_memory(cache: BaseCache) -> None:
    cache.set("key", "old")

    with transaction.atomic():
        cache.set("key", "never")
        assert cache.get("key") == "never"
        transaction.set_rollback(True)

    assert cache.get("key") == "old"
    with unit_of_work():
        assert cache.get("key") == "old"


def test_a_committed_write_is_read(cache: BaseCache) -> None:
    cache.set("key", "old")

    with transaction.atomic():
        cache.set("key", "new")

    assert cache.get("key") == "new"
    with unit_of_work():
        assert cache.get("key") == "new"


def test_nothing_is_put_into_memory_within_a_transaction(cache: BaseCache) -> None:
    cache.set("key", "value")
    cache.state.drop_everything(cache.flows.locals)  # type: ignore[attr-defined]

    with transaction.atomic():
        assert cache.get("key") == "value"
        assert memory_of(cache) == []

    assert cache.get("key") == "value"
    assert memory_of(cache) != []


def test_a_unit_that_began_in_a_written_transaction_polls_the_bus(cache: BaseCache) -> None:
    cache.set("key", "old")
    assert cache.get("key") == "old"

    with transaction.atomic():
        Author.objects.create(name="Ada")
        # A row that another process has logged, as this transaction reads it.
        with connection.cursor() as cursor:
            cursor.execute(f"INSERT INTO {LOG} (tag, at) VALUES (%s, 0)", ["key:joined::1:key"])
        with unit_of_work():
            cache.get("key")

        assert not any(name.endswith(":key") for name in memory_of(cache))


def test_a_broken_transaction_breaks_no_cache(cache: BaseCache) -> None:
    cache.set("key", "value")

    with transaction.atomic():
        with pytest.raises(DatabaseError), connection.cursor() as cursor:
            cursor.execute("SELECT no_such_column FROM no_such_table")
        connections["default"].needs_rollback = True
        with unit_of_work():
            cache.get("key")
            cache.set("key", "other")
        connections["default"].set_rollback(True)

    with unit_of_work():
        # The table's write was rolled back too, and no other process has lost anything.
        assert cache.get("key") == "value"
    cache.set("key", "again")
    assert cache.get("key") == "again"


def test_a_log_without_tables_is_a_bus_that_is_down_and_is_named(
    cache: BaseCache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: LogBus, apply: Apply) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM cachelayers_no_such_log")

    monkeypatch.setattr(LogBus, "_read_log", fail)

    with unit_of_work():
        found = cache.get("key")

    assert found is None
    assert "migrate cachelayers" in caplog.text
