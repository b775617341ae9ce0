"""How layers and processes coordinate: fills, events, epochs, the bounds of memory."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import redis
from django.core.cache import caches

from cachelayers import unit_of_work
from cachelayers.backends.layered import state
from cachelayers.backends.layered.bus import LogBus
from cachelayers.backends.layered.layers.base import (
    NEVER,
    TOMBSTONE,
    TOMBSTONE_SECONDS,
    LayerEntry,
    native_seconds,
)
from cachelayers.backends.layered.state import later_than
from tests.coherence import stacks
from tests.contract.fixtures import Clock
from tests.layered.conftest import MakeStack, Stack
from tests.layered.helpers import elsewhere, forget_entries, ignore, logged
from tests.layered.test_reading import change_elsewhere
from tests.layered.test_servers import using
from tests.servers import Redis
from tests.settings import layered_cache


@pytest.mark.usefixtures("django_db_setup")
@pytest.mark.parametrize("which", [0, 1])
def test_a_fill_overwrites_no_entry_and_no_tombstone(redis_server: Redis, which: int) -> None:
    with using(stacks.memory_redis_table(redis_server.url), "filled"):
        layer: Any = caches["filled"].flows.shared[which]  # type: ignore[attr-defined]
        layer.write_many({"there": LayerEntry("new", NEVER)})
        layer.write_tombstones(["buried"])

        layer.fill({name: LayerEntry("old", NEVER) for name in ("there", "buried", "empty")})

        found = layer.read_many(["there", "buried", "empty"])
        assert found["there"].value == "new"
        assert found["buried"] is TOMBSTONE
        assert found["empty"].value == "old"
        layer.delete_many(["there", "buried", "empty"])


@pytest.mark.django_db(transaction=True)
def test_a_clear_is_published(make_stack: MakeStack) -> None:
    stack = make_stack(BUS="log")
    stack.cache.set("key", 1)
    before = logged(stack).count("*")

    stack.cache.clear()

    assert logged(stack).count("*") > before


@pytest.mark.django_db(transaction=True)
def test_a_new_epoch_is_published(make_stack: MakeStack) -> None:
    stack = make_stack(BUS="log")
    stack.cache.set("key", 1)
    known, upper = stack.cache.state, stack.layer("upper")  # type: ignore[attr-defined]
    known.take_epochs({**known.epochs, upper: -later_than(known.epochs[upper])})
    known.compared_at = known.polled_at = float("-inf")
    before = logged(stack).count("*")

    stack.cache.get("other")  # which finds that the layer has recovered

    assert known.epochs[upper] > 0
    assert logged(stack).count("*") > before


@pytest.mark.usefixtures("django_db_setup")
def test_an_event_is_written_with_the_last_write_only(redis_server: Redis) -> None:
    configured = stacks.memory_redis_table(redis_server.url).caches
    configured["upper"] = stacks.django_redis(redis_server.url.replace("/0", "/1"))
    configured["default"] = layered_cache("memory", "upper", "redis", bus="redis")
    with using(stacks.Stack(configured), "below"):
        flows: Any = caches["below"].flows  # type: ignore[attr-defined]
        # The layer above is written later: a process with the event would read the old value there.
        assert [flows.event_for(layer, ["key"]) for layer in flows.shared] == [None, None]
    with using(stacks.memory_redis_table(redis_server.url), "above"):
        flows = caches["above"].flows  # type: ignore[attr-defined]
        assert [flows.event_for(layer, ["key"]) is None for layer in flows.shared] == [False, True]


@pytest.mark.usefixtures("django_db_setup")
def test_own_events_cost_no_memory(redis_server: Redis) -> None:
    with using(stacks.memory_redis(redis_server.url), "own"):
        cache: Any = caches["own"]
        with unit_of_work():
            cache.get("key")
        cache.set("key", 1)
        with unit_of_work():
            cache.get("other")

        assert any(name.endswith(":key") for name in caches["own-memory"].store.records)  # type: ignore[attr-defined]


@pytest.mark.usefixtures("django_db_setup")
def test_a_position_that_was_trimmed_away_is_noticed(redis_server: Redis) -> None:
    client = redis.Redis(host="127.0.0.1", port=redis_server.port)
    with using(stacks.memory_redis(redis_server.url), "trimmed"):
        cache: Any = caches["trimmed"]
        cache.set("key", "old")
        cache.get("key")
        bus = cache.flows.bus
        assert not bus.read(ignore).everything
        for name in (":1:key", ":1:other"):
            client.xadd(bus.stream, {"e": json.dumps(["another process", [name]])})
        client.xtrim(bus.stream, maxlen=1, approximate=False)

        assert bus.read(ignore).everything
    client.close()


def test_an_entry_read_before_memory_was_emptied_is_not_stored(stack: Stack) -> None:
    stack.cache.set("key", "old")
    stack.forget_memory()
    assert stack.cache.get("other") is None
    cache: Any = stack.cache
    stack.upper.before["get_many"] = lambda: forget_entries(cache)  # as when the bus has a gap

    assert cache.get("key") == "old"

    assert list(caches[stack.layer("memory")].store.records) == []  # type: ignore[attr-defined]


def test_a_layer_keeps_an_entry_until_no_fill_can_follow(clock: Clock) -> None:
    assert native_seconds(LayerEntry(1, time.time() + 0.5)) > TOMBSTONE_SECONDS  # type: ignore[operator]
    assert native_seconds(LayerEntry(1, time.time() + 500)) > 500  # type: ignore[operator]
    assert native_seconds(LayerEntry(1, NEVER)) is None


@pytest.mark.usefixtures("quick_probes")
def test_recorded_epochs_count_from_the_first_read_of_a_layer_on(stack: Stack) -> None:
    stack.cache.set("key", "old")
    cache: Any = stack.cache
    stack.upper.is_down = True
    forget_entries(cache)
    # from the lower layer; this process knows that the upper one is out
    assert cache.get("key") == "old"
    elsewhere(stack, lambda other: other.set("key", "new"))
    stack.upper.is_down = False
    forget_entries(cache)
    cache.state.compared_at = time.monotonic()

    assert cache.get("key") == "new"


def test_memory_keeps_a_read_entry_for_seconds(make_stack: MakeStack, clock: Clock) -> None:
    stack = make_stack(MEMORY_TIMEOUT=3)
    stack.cache.set("key", "old")
    stack.forget_memory()
    assert stack.cache.get("key") == "old"
    change_elsewhere(stack, "key", "new")

    clock.advance(3.1)

    assert stack.cache.get("key") == "new"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("how", ["set", "get"])
def test_while_the_bus_is_down_memory_keeps_a_value_for_a_second(
    make_stack: MakeStack, clock: Clock, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    stack = make_stack(BUS="log")
    stack.cache.set("key", "old")
    monkeypatch.setattr(LogBus, "read", fail)
    with unit_of_work():
        stack.cache.get("other")
        if how == "set":
            stack.cache.set("key", "old")
        assert stack.cache.get("key") == "old"
        change_elsewhere(stack, "key", "new")

        clock.advance(1.1)

        assert stack.cache.get("key") == "new"


@pytest.mark.usefixtures("quick_probes")
@pytest.mark.django_db(transaction=True)
def test_an_outage_and_a_recovery_of_the_bus_empty_memory(
    make_stack: MakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = make_stack(BUS="log")
    stack.cache.set("key", "old")
    with unit_of_work():
        assert stack.cache.get("key") == "old"
    change_elsewhere(stack, "key", "new")

    with monkeypatch.context() as patched:
        patched.setattr(LogBus, "read", fail)
        with unit_of_work():
            assert stack.cache.get("key") == "new"
        change_elsewhere(stack, "key", "newer")
    with unit_of_work():
        assert stack.cache.get("key") == "newer"


def fail(*arguments: object) -> None:
    raise OSError("the bus is out")


@pytest.mark.usefixtures("quick_probes")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("many", [False, True])
def test_an_unpublished_event_is_published_later(
    make_stack: MakeStack, monkeypatch: pytest.MonkeyPatch, many: bool
) -> None:
    stack = make_stack(BUS="log")
    stack.cache.set("key", "old")
    before = logged(stack)
    with monkeypatch.context() as patched:
        patched.setattr(LogBus, "append", fail)
        stack.cache.set("key", "new")
        if many:
            stack.cache.set_many(dict.fromkeys(map(str, range(state.MOST_UNPUBLISHED + 1)), 1))

    with unit_of_work():
        stack.cache.get("other")

    assert sorted(logged(stack)) == sorted([*before, "*" if many else ":1:key"])
    with unit_of_work():
        stack.cache.get("other")
    assert len(logged(stack)) == len(before) + 1
