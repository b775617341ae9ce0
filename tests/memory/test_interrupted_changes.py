"""A signal's handler may end a change of a MemoryCache anywhere by raising."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest

from cachelayers.backends.memory.store import MemoryStore
from tests.interruptions import interrupted_everywhere

MOST = 4
FOREVER = float("inf")


def change(store: MemoryStore, name: str) -> None:
    store.put(name, (name, False, 10), FOREVER)


CHANGES: dict[str, Callable[[MemoryStore], Any]] = {
    "a new entry, for which another goes": lambda store: change(store, "new"),
    "an older entry": lambda store: change(store, "2"),
    "several": lambda store: store.put_many({"2": ("2", False, 10), "x": ("x", False, 9)}, FOREVER),
    "deleted": lambda store: store.delete(["2", "3"], 0),
    "cleared": lambda store: store.clear(),
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_interrupted_change_leaves_the_store_as_good_as_before(name: str) -> None:
    store = MemoryStore(10**6, MOST)
    numbers = itertools.count()

    def prepare() -> Callable[[], Any]:
        for number in range(MOST):
            change(store, str(number))
        return lambda: CHANGES[name](store)

    lines = []
    for line in interrupted_everywhere(prepare):
        lines.append(line)
        newest = next(numbers)
        store.put("2", (newest, False, 10), FOREVER)
        assert store.read("2", time.time()) == (newest, False, FOREVER), line
        for number in range(3 * MOST):
            change(store, f"more {number}")
        assert len(store.records) <= MOST, line
        assert store.bytes == sum(record.bytes for record in store.records.values()), line

    assert len(lines) >= 3, lines
