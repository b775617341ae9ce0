"""Reads go down, fill upward for the remaining time, and never overwrite newer entries."""

from __future__ import annotations

import pickle
import threading

import pytest

from cachelayers import unit_of_work
from cachelayers.backends.layered import flows
from cachelayers.backends.layered.bus import Apply, Bus, Events
from cachelayers.backends.layered.layers import base
from tests.contract.fixtures import Clock
from tests.layered.conftest import MakeStack, Stack


def test_the_first_layer_that_has_it_answers(stack: Stack) -> None:
    stack.cache.set("key", "value")
    stack.upper.calls.clear()
    stack.lower.calls.clear()

    assert stack.cache.get("key") == "value"
    assert (stack.upper.calls, stack.lower.calls) == ([], [])

    stack.forget_memory()
    assert stack.cache.get("key") == "value"
    assert "set_many" not in stack.upper.calls
    assert stack.lower.calls.count("get_many") == 1  # the record of epochs


def test_an_entry_of_a_lower_layer_fills_the_upper_one(stack: Stack) -> None:
    stack.cache.set_many({"a": 1, "b": None})
    stack.forget_memory()
    lose_entries(stack)

    assert stack.cache.get_many(["a", "b"]) == {"a": 1, "b": None}

    stack.lower.entries.clear()
    stack.lower.calls.clear()
    assert stack.cache.get_many(["a", "b"]) == {"a": 1, "b": None}
    stack.forget_memory()
    stack.lower.is_down = True
    assert stack.cache.get_many(["a", "b"]) == {"a": 1, "b": None}


@pytest.mark.django_db(transaction=True)
def test_a_fill_keeps_the_remaining_time(make_stack: MakeStack, clock: Clock) -> None:
    stack = make_stack(BUS="log")
    stack.cache.set("key", "value", timeout=40)
    stack.forget_memory()
    lose_entries(stack)
    clock.advance(30)
    assert stack.cache.get("key") == "value"

    clock.advance(9)
    assert stack.cache.get("key") == "value"
    clock.advance(2)
    assert stack.cache.get("key") is None


def test_an_entry_without_expiry_stays_so(stack: Stack, clock: Clock) -> None:
    stack.cache.set("key", "value", timeout=None)
    lose_entries(stack)
    stack.forget_memory()
    assert stack.cache.get("key") == "value"

    clock.advance(10**8)

    assert stack.cache.get("key") == "value"


def test_memory_without_a_bus_keeps_a_value_for_seconds(
    make_stack: MakeStack, clock: Clock
) -> None:
    stack = make_stack(MEMORY_TIMEOUT=3)
    stack.cache.set("key", "old")
    change_elsewhere(stack, "key", "new")

    clock.advance(2.9)
    assert stack.cache.get("key") == "old"
    clock.advance(0.2)
    assert stack.cache.get("key") == "new"


@pytest.mark.parametrize("change", ["set", "delete", "incr", "touch"])
def test_a_slow_reader_fills_no_old_entry(stack: Stack, change: str) -> None:
    stack.cache.set("key", 1)
    lose_entries(stack)
    stack.forget_memory()

    def change_it() -> None:
        arguments = {"set": (2,), "touch": (1000,)}.get(change, ())
        getattr(stack.cache, change)("key", *arguments)

    # After the slow reader has read the lower layer, and before it fills the one above.
    stack.upper.before["add"] = change_it
    assert stack.cache.get("key") == 1

    expected = {"set": 2, "delete": None, "incr": 2, "touch": 1}[change]
    assert stack.cache.get("key") == expected
    stack.forget_memory()
    assert stack.cache.get("key") == expected


def test_a_reader_that_took_seconds_fills_nothing(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.cache.set("key", 1)
    lose_entries(stack)
    stack.forget_memory()
    monkeypatch.setattr(flows, "FILL_SECONDS", -1.0)

    assert stack.cache.get("key") == 1

    assert "add" not in stack.upper.calls


def test_a_value_deleted_during_a_read_is_not_stored(stack: Stack) -> None:
    stack.cache.set("key", "old")
    stack.forget_memory()
    has_read, may_go_on = threading.Event(), threading.Event()

    def wait() -> None:
        has_read.set()
        may_go_on.wait(10)

    assert stack.cache.get("other") is None  # the epochs have been read
    thread = threading.Thread(target=lambda: stack.cache.get("key"))
    stack.upper.before["get_many"] = wait
    thread.start()
    has_read.wait(10)
    stack.cache.set("key", "new")
    may_go_on.set()
    thread.join()

    assert stack.cache.get("key") == "new"


def test_many_keys_are_one_call_of_each_layer(stack: Stack) -> None:
    values = {f"key-{number}": number for number in range(500)}
    stack.cache.set_many({"first": 1})  # the epochs are coordinated
    stack.upper.calls.clear()
    stack.lower.calls.clear()

    stack.cache.set_many(values)
    assert (stack.upper.calls, stack.lower.calls) == (["set_many"], ["set_many"])

    stack.forget_memory()
    assert stack.cache.get("nothing") is None
    stack.upper.calls.clear()
    stack.lower.calls.clear()
    assert stack.cache.get_many([*values, "missing"]) == values
    assert (stack.upper.calls, stack.lower.calls) == (["get_many"], ["get_many"])

    stack.upper.calls.clear()
    stack.lower.calls.clear()
    stack.cache.delete_many(values)
    assert (stack.upper.calls, stack.lower.calls) == (["set_many"], ["delete_many"])


def test_only_missing_names_are_read_further_down(stack: Stack) -> None:
    stack.cache.set_many({"a": 1, "b": 2})
    stack.forget_memory()
    stack.cache.get("a")
    stack.upper.calls.clear()

    assert stack.cache.get_many(["a", "b"]) == {"a": 1, "b": 2}

    assert stack.upper.calls == ["get_many"]


@pytest.mark.django_db(transaction=True)
def test_a_unit_of_work_polls_once(make_stack: MakeStack) -> None:
    stack = make_stack(BUS="log")
    stack.cache.set("key", "value")
    looks = []
    bus: Bus = stack.cache.flows.bus  # type: ignore[attr-defined]
    read = bus.read

    def read_and_count(apply: Apply) -> Events:
        looks.append(1)
        return read(apply)

    bus.read = read_and_count  # type: ignore[method-assign]

    for _ in range(2):
        with unit_of_work():
            for _ in range(20):
                assert stack.cache.get("key") == "value"

    assert len(looks) == 2


def test_a_tombstone_outlives_the_slowest_fill() -> None:
    assert base.TOMBSTONE_SECONDS > 2 * base.FILL_SECONDS


def test_a_large_number_of_entries_of_one_call_expires_one_by_one(
    stack: Stack, clock: Clock
) -> None:
    stack.cache.set("short", 1, timeout=5)
    stack.cache.set("long", 2, timeout=500)
    lose_entries(stack)
    stack.forget_memory()
    assert stack.cache.get_many(["short", "long"]) == {"short": 1, "long": 2}

    clock.advance(10)

    assert stack.cache.get_many(["short", "long"]) == {"long": 2}


def lose_entries(stack: Stack) -> None:
    """Evict everything from the upper layer except the record of epochs."""
    for key in [key for key in stack.upper.entries if not key.endswith(":epochs")]:
        del stack.upper.entries[key]


def change_elsewhere(stack: Stack, key: str, value: object) -> None:
    """Set a key as another process, without an event."""
    changed = pickle.dumps(base.wrap(base.LayerEntry(value, base.NEVER)))
    for server in (stack.upper, stack.lower):
        for made, (_, expires) in list(server.entries.items()):
            if made.endswith(f":{key}"):
                server.entries[made] = changed, expires
