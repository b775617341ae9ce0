"""recall on several layers: never stale without a bus, and cheap with the log as bus."""

from __future__ import annotations

import pytest
from django.core.cache import caches
from django.db import connection
from django.test.utils import CaptureQueriesContext

from cachelayers import recall, unit_of_work
from tests.layered.conftest import MakeStack, Stack
from tests.layered.helpers import elsewhere
from tests.library.models import Author

pytestmark = pytest.mark.django_db(transaction=True)


def names() -> list[str]:
    return list(Author.objects.order_by("name").values_list("name", flat=True))


def visit(stack: Stack) -> list[str]:
    with unit_of_work():
        found: list[str] = recall("names", names, using=stack.alias, timeout=None)
        return found


def test_a_recalled_value_is_never_stale_without_a_bus(stack: Stack) -> None:
    Author.objects.create(name="Ada")
    assert visit(stack) == ["Ada"]
    assert visit(stack) == ["Ada"]

    Author.objects.create(name="Bea")

    assert visit(stack) == ["Ada", "Bea"]


def test_a_recalled_value_stays_in_memory_for_longer_than_others(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(MEMORY_TIMEOUT=0.001)
    Author.objects.create(name="Ada")
    visit(stack)
    stack.upper.calls.clear()
    stack.lower.calls.clear()

    with unit_of_work():
        for _ in range(3):
            recall("names", names, using=stack.alias, timeout=None)

    assert "get_many" not in stack.upper.calls


def test_one_process_computes_a_changed_value_for_all(make_stack: MakeStack) -> None:
    stack = make_stack(BUS="log")
    Author.objects.create(name="Ada")
    assert visit(stack) == ["Ada"]
    Author.objects.create(name="Bea")
    # Another process has computed it anew; this one's memory has the outdated value.
    elsewhere(stack, lambda cache: visit(stack))

    with unit_of_work():
        found = recall("names", lambda: ["computed again"], using=stack.alias, timeout=None)

    assert found == ["Ada", "Bea"]


def test_the_log_is_read_once_for_bus_and_recall(make_stack: MakeStack) -> None:
    stack = make_stack(BUS="log")
    Author.objects.create(name="Ada")
    visit(stack)

    with CaptureQueriesContext(connection) as statements:
        visit(stack)

    assert len(statements) == 1


def test_a_miss_writes_nothing_to_the_log(make_stack: MakeStack) -> None:
    stack = make_stack(BUS="log")
    stack.cache.get("nothing")

    with CaptureQueriesContext(connection) as statements:
        visit(stack)

    assert [one["sql"] for one in statements if not one["sql"].startswith("SELECT")] == []


def test_a_lease_is_in_no_memory(stack: Stack) -> None:
    assert stack.cache.add("names:lease", "token") is True
    assert stack.cache.get("names:lease") == "token"

    assert not any("lease" in name for name in memory_of(stack))


def memory_of(stack: Stack) -> list[str]:
    return list(caches[stack.layer("memory")].store.records)  # type: ignore[attr-defined]
