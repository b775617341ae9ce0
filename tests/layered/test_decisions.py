"""One layer decides incr, add and touch: right under concurrency, and across an outage."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.cache import caches
from django.db import connections
from pytest_django.plugin import DjangoDbBlocker

from cachelayers.backends.layered import circuit_breaker
from cachelayers.backends.layered.layers.base import TOMBSTONE_SECONDS
from tests.conftest import ForkPython, empty_cache
from tests.contract.fixtures import STACKS, Clock
from tests.forks import Forked
from tests.layered.conftest import Stack
from tests.state import reset

PROCESSES, TIMES = 4, 150

every_stack = pytest.mark.parametrize("shared_alias", STACKS, indirect=True)
# Files have no operation that is atomic between processes: see docs/layered_cache.md.
atomic_stacks = pytest.mark.parametrize(
    "shared_alias",
    ["memory_table_alone", *(one for one in STACKS if "_files" not in str(one))],
    indirect=True,
)
COUNT_UP = """
import sys
import django
django.setup()
from django.core.cache import caches
cache = caches[sys.argv[1]]
cache.get("counter")
print("ready", flush=True)
sys.stdin.readline()
won = sum(cache.add(f"race-{number}", sys.argv[2]) for number in range(50))
for _ in range(int(sys.argv[3])):
    cache.incr("counter")
print(won, flush=True)
"""


@pytest.fixture
def shared_alias(
    request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[str]:
    """Return the alias of each stack in turn, empty."""
    alias: str = request.param
    with django_db_blocker.unblock():
        empty_cache(alias)
        yield alias
        caches[alias].clear()
        caches[alias].close()


@atomic_stacks
def test_processes_lose_no_count_and_one_of_them_adds(
    shared_alias: str, fork_python: ForkPython
) -> None:
    cache = caches[shared_alias]
    cache.set("counter", 0)

    processes = [fork_python(COUNT_UP, shared_alias, number, TIMES) for number in range(PROCESSES)]
    won = together(processes)

    assert cache.incr("counter") == PROCESSES * TIMES + 1
    assert sum(won) == 50


def together(processes: list[Forked]) -> list[int]:
    """Start all processes at once, and return their answers."""
    for process in processes:
        line = process.stdout.readline()
        assert line == "ready\n", process.communicate()[1]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60) for process in processes]
    return [json.loads(output) if output else pytest.fail(errors) for output, errors in answers]


@every_stack
def test_threads_lose_no_count(shared_alias: str) -> None:
    caches[shared_alias].set("counter", 0)

    def count(_: int) -> None:
        for _ in range(50):
            caches[shared_alias].incr("counter")
        caches[shared_alias].close()
        connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(8)))

    assert caches[shared_alias].get("counter") == 400


def test_an_entry_of_an_upper_layer_only_can_be_incremented(stack: Stack, clock: Clock) -> None:
    stack.cache.set("counter", 5, timeout=100)
    bring_up("counter", stack, clock)
    forget(stack)

    assert stack.cache.incr("counter") == 6
    assert stack.cache.incr("counter", 4) == 10
    assert stack.cache.get("counter") == 10


def test_add_refuses_an_entry_of_an_upper_layer_only(stack: Stack) -> None:
    stack.cache.set("key", "here")
    forget(stack)

    assert stack.cache.add("key", "new") is False
    assert stack.cache.get("key") == "here"


def test_an_entry_of_an_upper_layer_only_can_be_touched(stack: Stack, clock: Clock) -> None:
    stack.cache.set("key", "here", timeout=10)
    forget(stack)

    assert stack.cache.touch("key", 1000) is True
    clock.advance(500)
    assert stack.cache.get("key") == "here"


def test_a_touch_shortens_the_timeout_in_every_layer(stack: Stack, clock: Clock) -> None:
    stack.cache.set("key", "here", timeout=1000)
    stack.forget_memory()
    assert stack.cache.get("key") == "here"

    assert stack.cache.touch("key", 10) is True
    clock.advance(11)

    assert stack.cache.get("key") is None
    stack.forget_memory()
    assert stack.cache.get("key") is None


def test_counting_goes_on_above_a_layer_that_is_down(
    stack: Stack, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(circuit_breaker, "FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(circuit_breaker, "LONGEST_PAUSE_SECONDS", 0.0)
    stack.cache.set("counter", 5)
    bring_up("counter", stack, clock)
    stack.lower.is_down = True

    assert stack.cache.incr("counter") == 6
    assert stack.cache.get("counter") == 6
    stack.lower.is_down = False
    assert stack.cache.incr("counter") == 7
    stack.forget_memory()
    assert stack.cache.get("counter") == 7
    reset("backends.layered.circuit_breaker")


def test_one_layer_decides_which_caller_adds(stack: Stack) -> None:
    def add_elsewhere() -> None:
        assert stack.cache.add("key", "first") is True

    assert stack.cache.get("key") is None
    stack.lower.before["add"] = add_elsewhere

    assert stack.cache.add("key", "second") is False
    assert stack.cache.get("key") == "first"


def bring_up(key: str, stack: Stack, clock: Clock) -> None:
    """Read a number after its tombstone has expired, so that it fills the layer above."""
    stack.forget_memory()
    clock.advance(TOMBSTONE_SECONDS + 1)
    stack.cache.get(key)


def forget(stack: Stack) -> None:
    """Empty the deciding layer and memory, except the record of epochs."""
    for key in [key for key in stack.lower.entries if not key.endswith(":epochs")]:
        del stack.lower.entries[key]
    stack.forget_memory()


@pytest.mark.usefixtures("quick_probes")
def test_a_number_that_the_lowest_layer_missed_is_in_the_next_one(stack: Stack) -> None:
    stack.cache.get("nothing")
    stack.lower.is_down = True

    stack.cache.set("counter", 5)
    stack.forget_memory()

    assert stack.cache.get("counter") == 5
    assert stack.cache.incr("counter") == 6
