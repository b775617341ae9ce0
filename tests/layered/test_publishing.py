"""Events, records and polls: what is published and when, one fault at a time."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
import redis
from django.core.cache import caches
from django.db import connection, connections, transaction

from cachelayers import unit_of_work
from cachelayers.backends.layered import bus as bus_module
from cachelayers.invalidation.dialects import LOG
from cachelayers.invalidation.units import is_written_to
from tests.coherence import stacks
from tests.layered.conftest import MakeStack, Stack
from tests.layered.helpers import elsewhere, forget_entries, ignore, logged
from tests.layered.test_reading import change_elsewhere, lose_entries
from tests.layered.test_servers import using
from tests.servers import Redis


def test_a_record_that_was_overwritten_by_an_older_one_begins_a_new_epoch(stack: Stack) -> None:
    stack.cache.set("key", 1)
    known: Any = stack.cache.state  # type: ignore[attr-defined]
    upper = stack.layer("upper")
    # it was in the record, until an older one was written over it
    used = known.epochs[upper] + 1_000
    known.take_epochs({**known.epochs, upper: used})
    known.compared_at = known.polled_at = float("-inf")

    stack.cache.get("key")

    assert known.epochs[upper] > used


@pytest.mark.usefixtures("quick_probes")
@pytest.mark.parametrize(
    ("layers", "shuffles", "begins_anew"),
    [
        (("memory", "upper", "lower"), False, False),
        (("memory", "upper", "lower"), True, True),
        (("memory", "upper"), False, True),
    ],
)
def test_a_layer_whose_outage_may_be_unrecorded_begins_a_new_epoch(
    make_stack: MakeStack, layers: tuple[str, ...], shuffles: bool, begins_anew: bool
) -> None:
    stack = make_stack(layers=layers)
    stack.cache.set("key", 1)
    cache: Any = stack.cache
    upper = stack.layer("upper")
    cache.flows.shared[0].shuffles_keys = shuffles
    before = cache.state.epochs[upper]
    forget_entries(cache)
    stack.upper.is_down = True
    cache.get("key")  # a read: this process has missed no write
    stack.upper.is_down = False
    cache.get("other")

    assert (cache.state.epochs[upper] > before) is begins_anew


@pytest.mark.django_db(transaction=True)
def test_a_missed_write_is_published_as_a_change_of_everything(make_stack: MakeStack) -> None:
    stack = make_stack(BUS="log")
    stack.cache.set("key", "old")
    stack.upper.is_down = True
    before = logged(stack).count("*")

    stack.cache.set("key", "new")

    assert logged(stack).count("*") == before + 1


def test_memory_stores_neither_of_two_concurrent_sets(stack: Stack) -> None:
    stack.cache.get("key")
    stack.upper.before["set_many"] = lambda: stack.cache.set("key", "second")

    stack.cache.set("key", "first")

    assert list(caches[stack.layer("memory")].store.records) == []  # type: ignore[attr-defined]


def test_a_fill_goes_to_the_epoch_of_its_read(stack: Stack) -> None:
    stack.cache.set("key", "old")
    lose_entries(stack)
    stack.forget_memory()
    assert stack.cache.get("other") is None
    stack.lower.before["get_many"] = stack.cache.clear  # after the request, before the answer

    stack.cache.get("key")

    assert stack.cache.get("key") is None


def test_of_two_first_records_one_wins(stack: Stack) -> None:
    stack.lower.before["add"] = lambda: elsewhere(stack, lambda other: other.set("key", "theirs"))

    assert stack.cache.get("key") == "theirs"


def changed_by_another_process(stack: Stack, *names: str) -> None:
    for name in names:
        with connection.cursor() as cursor:
            tag = f"key:{stack.alias}:{name}"
            cursor.execute(f"INSERT INTO {LOG} (tag, at) VALUES (%s, 0)", [tag])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", [":1:key", "*"])
@pytest.mark.parametrize("how", ["get", "get_many", "aget", "aget_many", "has_key"])
def test_the_first_read_of_a_unit_polls_the_bus(make_stack: MakeStack, how: str, name: str) -> None:
    stack = make_stack(BUS="log")
    cache = stack.cache
    cache.set("key", "old")
    for _ in range(2):  # its own event is among those of the first poll
        with unit_of_work():
            assert cache.get("key") == "old"
    change_elsewhere(stack, "key", "new")
    changed_by_another_process(stack, name)

    with unit_of_work():
        if how == "has_key":
            assert cache.has_key("key")
            assert cache.get("key") == "new"
        elif how in {"get", "aget"}:
            found = cache.get("key") if how == "get" else asyncio.run(cache.aget("key"))
            assert found == "new"
        else:
            bulk = cache.get_many(["key"]) if how == "get_many" else None
            assert (bulk or asyncio.run(cache.aget_many(["key"]))) == {"key": "new"}


@pytest.mark.usefixtures("django_db_setup")
def test_a_poll_counts_from_its_beginning(redis_server: Redis) -> None:
    with using(stacks.memory_redis(redis_server.url), "looks"):
        cache: Any = caches["looks"]
        cache.get("key")
        bus, asked = cache.flows.bus, []
        read = bus.read

        def ask(apply: Any) -> Any:
            asked.append(time.monotonic())
            return read(apply)

        bus.read = ask
        with unit_of_work():
            cache.get("key")

        assert cache.state.polled_at <= asked[0]


@pytest.mark.django_db(transaction=True)
def test_a_log_that_was_read_before_counts_from_then(make_stack: MakeStack) -> None:
    stack = make_stack(BUS="log")
    stack.cache.set("key", 1)
    with unit_of_work() as unit:
        unit.refresh("default")  # as recall does
        after = time.monotonic()
        stack.cache.get("key")

        assert unit.began <= stack.cache.state.polled_at < after  # type: ignore[attr-defined]


@pytest.mark.django_db(transaction=True)
def test_a_transaction_with_an_event_is_one_that_has_written(make_stack: MakeStack) -> None:
    stack = make_stack(BUS="log")
    stack.cache.get("key")
    with transaction.atomic():
        stack.cache.set("key", 1)
        # After a rollback, other rows get the same ids: they must not count as read.
        assert is_written_to(connections["default"])
        transaction.set_rollback(True)


@pytest.mark.usefixtures("django_db_setup")
def test_a_process_far_behind_empties_its_memory(
    redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_module, "READ_AT_ONCE", 3)
    monkeypatch.setattr(bus_module, "MOST_READS", 2)
    client = redis.Redis(host="127.0.0.1", port=redis_server.port)
    with using(stacks.memory_redis(redis_server.url), "behind"):
        cache: Any = caches["behind"]
        cache.get("key")
        bus = cache.flows.bus
        for number in range(3):
            event = json.dumps(["another process", [f"name-{number}"]])
            client.xadd(bus.stream, {"e": event})
        assert list(bus.read(ignore).names) == ["name-0", "name-1", "name-2"]
        for number in range(20):
            event = json.dumps(["another process", [f"name-{number}"]])
            client.xadd(bus.stream, {"e": event})

        assert bus.read(ignore).everything
        assert bus.read(ignore) == ([], False, None)
    client.close()


@pytest.mark.usefixtures("quick_probes")
def test_a_recovered_layer_is_used_again(stack: Stack) -> None:
    stack.cache.set("key", "old")
    stack.upper.is_down = True
    stack.cache.set("key", "new")  # recorded in the lower layer: the upper one is out
    stack.upper.is_down = False
    stack.cache.set("key", "newer")

    stack.lower.is_down = True
    forget_entries(stack.cache)
    assert stack.cache.get("key") == "newer"
