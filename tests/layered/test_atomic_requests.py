"""A transaction that has written nothing uses all layers, and never stores an old value in one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import caches
from django.db import connection, connections, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from cachelayers import recall, unit_of_work
from tests.layered.conftest import forget_processes
from tests.library.models import Author
from tests.settings import database_cache, layered_cache, memory_cache
from tests.state import reset

pytestmark = pytest.mark.django_db(transaction=True)
NUMBER = 20


@pytest.fixture
def cache() -> Iterator[Any]:
    """Yield a table in the site's own database, behind memory; its log is the bus."""
    configured = {
        "joined": layered_cache("joined-memory", "joined-table", bus="log"),
        "joined-memory": memory_cache(),
        "joined-table": database_cache("default"),
    }
    with override_settings(CACHES={**settings.CACHES, **configured}):
        caches["joined-memory"].clear()
        caches["joined"].clear()
        yield caches["joined"]
        reset("backends.layered.circuit_breaker")
        forget_processes()


def visit() -> list[str]:
    return [
        recall(f"author-{number}", lambda: Author.objects.get().name, using="joined")
        for number in range(NUMBER)
    ]


def statements_of_a_visit(*, atomic: bool) -> int:
    with CaptureQueriesContext(connection) as queries, unit_of_work():
        if atomic:
            with transaction.atomic():
                visit()
        else:
            visit()
    return len([one for one in queries if one["sql"] not in {"BEGIN", "COMMIT"}])


def test_a_visit_in_a_transaction_takes_about_as_many_statements_as_without(cache: Any) -> None:
    Author.objects.create(name="Homer")
    with unit_of_work(), transaction.atomic():
        visit()

    within = [statements_of_a_visit(atomic=True) for _ in range(2)][1]
    without = [statements_of_a_visit(atomic=False) for _ in range(2)][1]

    assert within <= without + 2


def test_the_second_visit_of_each_process_takes_at_most_two_statements(cache: Any) -> None:
    Author.objects.create(name="Homer")
    first = [statements_of_a_visit(atomic=True) for _ in range(2)]
    begin_as_another_process()
    other = [statements_of_a_visit(atomic=True) for _ in range(2)]

    assert max(first[1], other[1]) <= 2


def begin_as_another_process() -> None:
    caches["joined-memory"].clear()
    forget_processes()


def test_entries_read_and_recalled_in_a_transaction_are_stored_in_memory(cache: Any) -> None:
    Author.objects.create(name="Homer")
    cache.set("plain", 1)
    poll(cache)
    cache.state.drop_everything(cache.flows.locals)

    with unit_of_work(), transaction.atomic():
        assert cache.get("plain") == 1
        visit()

    names = " ".join(caches["joined-memory"].store.records)  # type: ignore[attr-defined]
    assert "plain" in names
    assert "author-7" in names


def test_a_transaction_that_began_before_another_write_puts_no_old_value_into_memory(
    cache: Any,
) -> None:
    with unit_of_work(), transaction.atomic():
        # This transaction may read the state of its beginning, and the write is younger.
        run_in_thread(lambda: caches["joined"].set("key", 1))
        caches["joined-memory"].clear()

        cache.get("key")

        assert not keys_in_memory("key")
    poll(cache)
    with unit_of_work(), transaction.atomic():
        assert cache.get("key") == 1
        assert keys_in_memory("key")


def poll(cache: Any) -> None:
    """Poll: this process's own writes are among the events."""
    with unit_of_work():
        cache.get("another")


def run_in_thread(act: Callable[[], object]) -> None:
    def act_and_close() -> None:
        try:
            act()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(act_and_close).result()


def test_entries_written_in_a_transaction_are_in_no_memory_before_its_end(cache: Any) -> None:
    cache.set("key", "old")
    with unit_of_work(), transaction.atomic():
        cache.set("key", "never")
        assert cache.get("key") == "never"
        assert not keys_in_memory("key")
        transaction.set_rollback(True)
    with unit_of_work():
        assert cache.get("key") == "old"


def keys_in_memory(key: str) -> bool:
    records = caches["joined-memory"].store.records  # type: ignore[attr-defined]
    return any(name.endswith(f":{key}") for name in records)
