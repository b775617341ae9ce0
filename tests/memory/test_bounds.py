"""S3-FIFO: which entries stay, which are evicted, and that the bounds always hold."""

from __future__ import annotations

import math
import sys
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachelayers.backends.memory.store import MOST_DELETED, RECORD_BYTES, MemoryStore, freeze

MAX_BYTES = 20_000
TEXT = "x" * 500
ROOM = MAX_BYTES // (sys.getsizeof(TEXT) + len("key 10") + RECORD_BYTES)  # such entries

OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["set", "get", "add", "delete", "touch", "change", "expired", "clear"]),
        st.integers(0, 60),
        st.integers(0, 4000),
    ),
    max_size=300,
)


def put(store: MemoryStore, name: str, value: Any = TEXT, expires: float = math.inf) -> bool:
    return store.put(name, freeze(value), expires)


def read(store: MemoryStore, name: str, times: int = 1) -> Any:
    """Read as the cache does."""
    record = store.records.get(name)
    if record is None or record.entry is None:
        return None
    record.reads = min(record.reads + times, 3)
    return record.entry[0]


def expect_sound(store: MemoryStore) -> None:
    """Check that the sums are those of the records, each of which is in one queue, once."""
    queued = [*store.small.records, *store.main.records]
    alive = [record for record in queued if record.entry is not None]
    assert {record.name for record in alive} == store.records.keys()
    assert len(alive) == len(store.records)
    assert store.deleted == len(queued) - len(alive)
    for queue, in_main in ((store.small, False), (store.main, True)):
        mine = [record for record in alive if record.is_in_main is in_main]
        assert queue.entries == len(mine)
        assert queue.bytes == sum(record.bytes for record in mine)
    assert store.bytes <= store.max_bytes
    assert len(store.records) <= (store.max_entries or sys.maxsize)


class Twin:
    """A store, and a dictionary of the last stored values; entries expire at 5, it is 10."""

    def __init__(self, max_entries: int | None) -> None:
        self.store = MemoryStore(MAX_BYTES, max_entries)
        self.model: dict[str, str] = {}

    def set(self, name: str, value: str) -> None:
        self.model.pop(name, None)
        if put(self.store, name, value):
            self.model[name] = value

    def expired(self, name: str, value: str) -> None:
        self.model.pop(name, None)
        put(self.store, name, value, expires=5.0)

    def add(self, name: str, value: str) -> None:
        if self.store.add(name, freeze(value), math.inf, 10.0):
            self.model[name] = value

    def get(self, name: str, value: str) -> None:
        read(self.store, name)

    def delete(self, name: str, value: str) -> None:
        self.store.delete([name], 10.0)
        self.model.pop(name, None)

    def touch(self, name: str, value: str) -> None:
        self.store.touch(name, math.inf, 10.0)

    def change(self, name: str, value: str) -> None:
        if self.store.change(name, 10.0, lambda entry: (freeze(entry[0] + "!"), math.inf)):
            self.model[name] += "!"

    def clear(self, name: str, value: str) -> None:
        self.store.clear()
        self.model.clear()


@given(OPERATIONS, st.sampled_from([None, 1, 10]))
@settings(max_examples=150, deadline=None)
def test_bounds_and_sums_hold_after_any_operations(
    operations: list[tuple[str, int, int]], max_entries: int | None
) -> None:
    twin = Twin(max_entries)
    for operation, number, size in operations:
        getattr(twin, operation)(f"key {number}", f"{size}" * (size // 4 + 1))

        expect_sound(twin.store)
        for name in twin.store.records:
            entry = twin.store.live(name, 10.0)
            # Never another value than the last one; an evicted one is correct.
            assert entry is None or entry[0] == twin.model[name]


def test_a_scan_does_not_displace_entries_that_are_read() -> None:
    store = MemoryStore(MAX_BYTES, None)
    popular = [f"key {number}" for number in range(5)]
    for name in popular:
        put(store, name)
        read(store, name, times=2)

    for number in range(20 * ROOM):
        put(store, f"scan {number}")
        if number % ROOM == 0:
            for name in popular:
                read(store, name)

    assert all(name in store.records for name in popular)


def test_a_key_that_returns_soon_after_its_eviction_stays_longer() -> None:
    store = MemoryStore(MAX_BYTES, None)
    for number in range(2 * ROOM):
        put(store, f"key {number}")
    left = next(
        f"key {number}" for number in reversed(range(2 * ROOM)) if f"key {number}" in store.ghosts
    )

    put(store, left)
    for number in range(ROOM // 2):
        put(store, f"new {number}")

    assert store.records[left].is_in_main


def test_a_read_entry_stays_in_the_main_queue_once_more() -> None:
    store = MemoryStore(MAX_BYTES, None)
    for number in range(ROOM):
        put(store, f"key {number}")
        read(store, f"key {number}", times=2)
    for number in range(ROOM):  # each one moves to the main queue when others are evicted
        put(store, f"new {number}")

    assert store.evictions > 0
    expect_sound(store)


def test_an_expired_entry_is_evicted_although_it_was_read_often() -> None:
    store = MemoryStore(MAX_BYTES, None)
    put(store, "gone", expires=5.0)
    read(store, "gone", times=3)

    for number in range(3 * ROOM):
        put(store, f"key {number}")

    assert "gone" not in store.records


@pytest.mark.parametrize("max_entries", [1, 2, 7])
def test_max_entries_is_never_exceeded(max_entries: int) -> None:
    store = MemoryStore(MAX_BYTES, max_entries)

    for number in range(50):
        put(store, f"key {number}", number)

    assert len(store.records) == max_entries
    assert "key 49" in store.records


def test_a_value_larger_than_the_store_removes_the_older_one() -> None:
    store = MemoryStore(MAX_BYTES, None)
    put(store, "key", "older")
    put(store, "other", "stays")

    is_stored = put(store, "key", "x" * MAX_BYTES)

    assert not is_stored
    assert "key" not in store.records
    assert read(store, "other") == "stays"


def test_a_value_larger_than_one_may_be_removes_the_older_one() -> None:
    store = MemoryStore(MAX_BYTES, None, MAX_BYTES // 4)
    put(store, "key", "older")

    is_stored = put(store, "key", "x" * (MAX_BYTES // 4))

    assert not is_stored
    assert "key" not in store.records
    assert put(store, "key", "x" * (MAX_BYTES // 8))


def test_repeated_deletes_take_no_memory() -> None:
    store = MemoryStore(MAX_BYTES, None)

    for number in range(5 * MOST_DELETED):
        put(store, f"key {number}")
        store.delete([f"key {number}"], 0)

    assert store.bytes == 0
    assert len(store.small.records) <= MOST_DELETED + 1


def test_the_bytes_that_are_counted_are_those_that_python_takes() -> None:
    """Never much less, and little more: a third to two thirds of a dictionary are free."""
    for length in (20, 1000):
        tracemalloc.start()
        store = MemoryStore(2**30, None)
        for number in range(3000):
            put(store, f"page:{number}", str(number).ljust(length, "x"), expires=1e9 + number)
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert 0.95 < store.bytes / taken < 1.4
