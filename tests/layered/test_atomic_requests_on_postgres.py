"""ATOMIC_REQUESTS with the table in the site's own PostgreSQL database: fast, and never wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import caches
from django.db import connections, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from cachelayers import recall, unit_of_work
from tests.layered.conftest import forget_processes
from tests.library.models import Author
from tests.settings import database_cache, layered_cache, memory_cache
from tests.state import reset

DATABASE = "postgres"
NUMBER = 20
pytestmark = pytest.mark.django_db(transaction=True, databases=["default", DATABASE])


@pytest.fixture(params=["log", None])
def cache(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a table in the site's own database, behind memory; its log is the bus, or there is
    none.
    """
    for module in ("lookup.policy", "lookup.calls", "backends.layered.bus"):
        monkeypatch.setattr(f"cachelayers.{module}.log_database", lambda: DATABASE)
    configured = {
        "joined": layered_cache("joined-memory", "joined-table", bus=request.param),
        "joined-memory": memory_cache(),
        "joined-table": database_cache(DATABASE),
    }
    with override_settings(CACHES={**settings.CACHES, **configured}):
        caches["joined-memory"].clear()
        caches["joined"].clear()
        yield caches["joined"]
        reset("backends.layered.circuit_breaker")
        forget_processes()


class Page:
    """A page of recalls, which counts its computes."""

    def __init__(self) -> None:
        self.computed = 0

    def name(self) -> str:
        self.computed += 1
        return Author.objects.using(DATABASE).get().name

    def show(self, *, atomic: bool) -> list[str]:
        with unit_of_work():
            if not atomic:
                return self.recalls()
            with transaction.atomic(DATABASE):
                return self.recalls()

    def recalls(self) -> list[str]:
        return [recall(f"author-{n}", self.name, using="joined") for n in range(NUMBER)]


def statements_of(page: Page, *, atomic: bool) -> int:
    with CaptureQueriesContext(connections[DATABASE]) as queries:
        page.show(atomic=atomic)
    return len([one for one in queries if one["sql"] not in {"BEGIN", "COMMIT"}])


def test_a_visit_in_a_transaction_takes_about_as_many_statements_as_without(cache: Any) -> None:
    Author.objects.using(DATABASE).create(name="Homer")
    page = Page()
    page.show(atomic=True)

    within = [statements_of(page, atomic=True) for _ in range(2)][1]
    without = [statements_of(page, atomic=False) for _ in range(2)][1]

    assert within <= without + 2


@pytest.mark.parametrize("cache", ["log"], indirect=True)  # without a bus, memory asks the table
def test_the_second_visit_of_each_process_takes_at_most_two_statements(cache: Any) -> None:
    Author.objects.using(DATABASE).create(name="Homer")
    page = Page()
    first = [statements_of(page, atomic=True) for _ in range(2)]
    caches["joined-memory"].clear()
    forget_processes()
    other = [statements_of(page, atomic=True) for _ in range(2)]

    assert max(first[1], other[1]) <= 2
    assert page.computed == NUMBER


def test_the_cache_s_own_rows_do_not_prevent_storing(cache: Any) -> None:
    Author.objects.using(DATABASE).create(name="Homer")
    page = Page()

    page.show(atomic=True)
    page.show(atomic=True)

    assert page.computed == NUMBER


def test_a_write_past_django_s_cursor_prevents_storing(cache: Any) -> None:
    Author.objects.using(DATABASE).create(name="Homer")

    def visit() -> str:
        return recall("author", lambda: Author.objects.using(DATABASE).get().name, using="joined")

    with unit_of_work(), transaction.atomic(DATABASE):
        driver: Any = connections[DATABASE].connection
        driver.cursor().execute("UPDATE library_author SET name = 'never'")
        assert visit() == "never"
        transaction.set_rollback(True, using=DATABASE)

    with unit_of_work():
        assert visit() == "Homer"
