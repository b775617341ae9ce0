"""A locked or frozen log: after one wait, values are computed, and none is served unchecked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.conf import settings
from django.core.cache import caches
from django.db import connections, transaction
from django.test import override_settings

from cachelayers.invalidation.log import log_of
from cachelayers.invalidation.units import unit_of_work
from cachelayers.lookup import recall
from tests.faults.conftest import OpenCache, frozen, remember, remembered, seconds_of
from tests.servers import Server
from tests.settings import layered_cache, memory_cache
from tests.state import reset

LOG_SECONDS = 0.3
LONGEST_WAIT_SECONDS = LOG_SECONDS + 0.25 + 1.0


@pytest.fixture
def log(server: Server, open_cache: OpenCache, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the alias of a database on a private server, which holds the log for a while."""
    alias = "logged"
    open_cache(alias, server.database_settings())  # type: ignore[attr-defined] # both kinds have it
    for module in ("lookup.policy", "lookup.calls", "backends.layered.bus"):
        monkeypatch.setattr(f"cachelayers.{module}.log_database", lambda: alias)
    reset("invalidation.own_statements")
    memory = f"{alias}-memory"
    stack = {
        memory: memory_cache(),
        f"{alias}-files": {**settings.CACHES["files"], "KEY_PREFIX": alias},
        f"{alias}-stack": layered_cache(memory, f"{alias}-files", bus="log"),
    }
    with override_settings(
        CACHES={**settings.CACHES, **stack},
        CACHELAYERS={**settings.CACHELAYERS, "LOG_SECONDS": LOG_SECONDS},
    ):
        log_of(alias).known = None
        yield alias
    reset("invalidation.own_statements")


@contextmanager
def locked(database: str) -> Iterator[None]:
    """Lock the log against readers."""
    is_locked, release = threading.Event(), threading.Event()
    statement = {
        "postgresql": "LOCK TABLE cachelayers_invalidation IN ACCESS EXCLUSIVE MODE",
        "mysql": "LOCK TABLES cachelayers_invalidation WRITE",
    }[connections[database].vendor]

    def hold() -> None:
        try:
            with transaction.atomic(database), connections[database].cursor() as cursor:
                cursor.execute(statement)
                is_locked.set()
                release.wait(30)
        finally:
            connections.close_all()

    thread = threading.Thread(target=hold)
    thread.start()
    assert is_locked.wait(30)
    try:
        yield
    finally:
        release.set()
        thread.join(30)


@pytest.mark.parametrize("fault", ["locked", "frozen"])
def test_values_are_computed_after_one_wait(
    log: str, server: Server, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cachelayers.utils.answers.is_own_database", lambda alias: False)
    values = iter(range(100))

    def visit() -> int:
        return recall(
            f"counted-{fault}-{connections[log].vendor}",
            lambda: next(values),
            using="logged-stack",
            timeout=None,
        )

    with unit_of_work():
        before = [visit(), visit()]
    remember(connections[log], "seven")
    trouble = locked(log) if fault == "locked" else frozen(server)

    with trouble, unit_of_work():
        found: list[int] = []
        took = seconds_of(lambda: found.extend(visit() for _ in range(5)))

    assert before == [0, 0]
    assert found == [1, 2, 3, 4, 5]
    assert LOG_SECONDS * 0.9 < took < LONGEST_WAIT_SECONDS
    assert remembered(connections[log]) == "seven"


def test_plain_entries_are_set_and_got_after_one_wait(log: str) -> None:
    cache = caches["logged-stack"]
    cache.set("page", "old")

    def visit() -> None:
        cache.get("page")
        cache.set("page", "new")
        cache.set("other", "new")

    with locked(log), unit_of_work():
        took = seconds_of(visit)
        found = cache.get("page")

    assert took < LONGEST_WAIT_SECONDS
    assert found == "new"


def test_a_locked_log_does_not_break_the_transaction(log: str) -> None:
    with unit_of_work():
        recall("a", lambda: 1, using="logged-stack", timeout=None)

    with locked(log), transaction.atomic(log), unit_of_work():
        took = seconds_of(lambda: recall("a", lambda: 2, using="logged-stack", timeout=None))
        with connections[log].cursor() as cursor:
            cursor.execute("SELECT 1")
            found = cursor.fetchone()

    assert took < 2 + 1  # MariaDB takes whole seconds within a transaction
    assert found == (1,)
