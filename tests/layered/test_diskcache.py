"""A folder of diskcache as a layer: it increments atomically, and its failures are misses."""

from __future__ import annotations

import gc
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import caches
from django.test import override_settings

from cachelayers import unit_of_work
from cachelayers.backends.layered.calls import Call
from cachelayers.backends.layered.circuit_breaker import breaker_of
from cachelayers.backends.layered.layers import LayerEntry, make_layer
from cachelayers.backends.layered.layers.base import NEVER
from cachelayers.utils.counters import counts
from tests.interruptions import interrupted_everywhere
from tests.layered.conftest import NUMBERS
from tests.settings import layered_cache, memory_cache

# diskcache leaves connections and generators open where its own code was interrupted or failed.
# Nobody can catch the errors of their collection, which may come in the test after that.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def alias(tmp_path: Path) -> Iterator[str]:
    """Return the alias of a stack of memory and a folder, whose own alias ends with -disk."""
    alias = f"folder-{next(NUMBERS)}"
    stack = layered_cache(f"{alias}-memory", f"{alias}-disk")
    stack["OPTIONS"]["TIME_LIMIT"] = 0.3
    disk = {"BACKEND": "diskcache.DjangoCache", "LOCATION": str(tmp_path / "disk"), "SHARDS": 2}
    added = {alias: stack, f"{alias}-memory": memory_cache(), f"{alias}-disk": disk}
    with override_settings(CACHES={**settings.CACHES, **added}):
        yield alias
        caches[alias].close()
        gc.collect()


def files_of(folder: Path) -> list[sqlite3.Connection]:
    paths = (folder / "disk").glob("*/cache.db")
    return [sqlite3.connect(path, isolation_level=None) for path in paths]


def test_counts_of_several_connections_are_not_lost(alias: str) -> None:
    caches[alias].set("count", 0, timeout=None)

    def count() -> None:
        cache = caches[alias]  # with connections of its own, as in another process
        for _ in range(25):
            cache.incr("count")
        cache.close()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with unit_of_work():
        assert caches[alias].incr("count", 0) == 100


def test_one_of_several_adds(alias: str) -> None:
    added: list[bool] = []

    def add() -> None:
        cache = caches[alias]
        added.extend(cache.add(f"key-{number}", "value") for number in range(20))
        cache.close()

    threads = [threading.Thread(target=add) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(added) == 20


def test_a_locked_folder_is_skipped_and_does_not_come_back_with_old_values(
    alias: str, tmp_path: Path, quick_probes: None
) -> None:
    cache = caches[alias]
    cache.set("key", "old")
    locked = files_of(tmp_path)
    for file in locked:
        file.execute("BEGIN IMMEDIATE")

    with unit_of_work():
        cache.set("key", "new")  # raises nothing
    assert breaker_of(f"{alias}-disk").is_open
    for file in locked:
        file.execute("ROLLBACK")
        file.close()

    caches[f"{alias}-memory"].clear()
    with unit_of_work():
        assert cache.get("key") in {"new", None}
        cache.set("key", "newest")
        assert cache.get("key") == "newest"


def test_a_folder_that_cannot_be_opened_is_a_miss(alias: str, tmp_path: Path) -> None:
    (tmp_path / "disk").write_text("no folder")
    cache = caches[alias]

    cache.set("key", "value")

    assert cache.get("key") == "value"  # from memory
    assert breaker_of(f"{alias}-disk").is_open


def test_a_broken_file_is_a_miss(alias: str, tmp_path: Path) -> None:
    caches[f"{alias}-disk"].close()
    for path in (tmp_path / "disk").glob("*/cache.db"):
        path.write_bytes(b"no database" * 1000)

    assert caches[alias].get("key", "nothing") == "nothing"
    assert breaker_of(f"{alias}-disk").is_open


def test_a_value_that_cannot_be_decoded_is_a_miss(alias: str, tmp_path: Path) -> None:
    layer = make_layer(f"{alias}-disk", 0.3)
    layer.write_many({"name": LayerEntry(["a list"], NEVER)})
    for file in files_of(tmp_path):
        file.execute("UPDATE Cache SET value = ?", [b"no pickle"])
        file.close()

    assert layer.read_many(["name"]) == {}
    assert counts.of(f"{alias}-disk", "undecodable") == 1
    layer.close()


def test_entries_are_found_by_the_beginning_of_their_keys(alias: str) -> None:
    cache: Any = caches[alias]
    cache.set_many({"car:1": 1, "car:2": 2, "bus:1": 3})

    assert cache.delete_prefix("car:") == {f"{alias}-memory": True, f"{alias}-disk": True}

    assert cache.get_many(["car:1", "car:2", "bus:1"]) == {"bus:1": 3}


def test_an_interrupted_change_leaves_no_transaction_open(alias: str, tmp_path: Path) -> None:
    layer = make_layer(f"{alias}-disk", 0.05)
    other = make_layer(f"{alias}-disk", 0.05)
    layer.write_many({"name": LayerEntry(0, NEVER)})

    def prepare() -> Callable[[], Any]:
        return Call(layer, "increment", 5.0, "name", 1).run

    places = 0
    for place in interrupted_everywhere(prepare):
        places += 1
        value = layer.increment("name", 0)
        assert other.increment("name", 1) == value + 1, place
        assert layer.increment("name", 1) == value + 2, place
    assert places > 10
    layer.close()
    other.close()
