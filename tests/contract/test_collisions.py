"""Two keys with one hash: a collision is a miss, never another key's value."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache.backends.base import BaseCache

from cachelayers.entries import keys
from tests.contract.fixtures import Clock, MakeCache

real_hash64 = keys.hash64


@pytest.fixture
def one_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "hash64", lambda data: 2**63 + 5)


@pytest.fixture
def three_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    # In the middle bits: the highest choose the alias's range, the lowest are shifted out.
    monkeypatch.setattr(keys, "hash64", lambda data: (real_hash64(data) % 3) << 40)


@pytest.fixture
def crowded(one_hash: None, make_cache: MakeCache) -> BaseCache:
    """Return a cache all of whose keys have the same hash."""
    return make_cache()


def test_a_collision_reads_as_a_miss(crowded: BaseCache) -> None:
    crowded.set("mine", 1)

    assert crowded.get("yours", "missing") == "missing"
    assert crowded.has_key("yours") is False
    assert crowded.get_many(["mine", "yours"]) in ({"mine": 1}, {})
    assert crowded.get("mine") == 1


def test_the_later_of_two_colliding_writes_stays(crowded: BaseCache) -> None:
    crowded.set("mine", 1)

    crowded.set("yours", 2)

    assert crowded.get("yours") == 2
    assert crowded.get("mine", "missing") == "missing"


def test_a_collision_cannot_be_touched_deleted_or_counted(crowded: BaseCache) -> None:
    crowded.set("mine", 1)

    assert crowded.touch("yours", 100) is False
    assert crowded.touch("yours", 0) is False
    assert crowded.delete("yours") is False
    with pytest.raises(ValueError, match="yours"):
        crowded.incr("yours")
    assert crowded.get("mine") == 1


def test_delete_many_of_a_collision_is_at_worst_a_miss(crowded: BaseCache) -> None:
    crowded.set("mine", 1)

    crowded.delete_many(["yours"])

    assert crowded.get("mine", "missing") in {1, "missing"}
    assert crowded.get("yours", "missing") == "missing"


def test_add_stores_over_a_collision(crowded: BaseCache) -> None:
    crowded.set("mine", 1)

    added = crowded.add("yours", 2)

    assert added is True
    assert crowded.get("yours") == 2
    assert crowded.get("mine", "missing") == "missing"


def test_colliding_keys_in_one_set_many_are_no_error(crowded: BaseCache) -> None:
    values = {f"key-{number}": number for number in range(20)}

    crowded.set_many(values)
    found = crowded.get_many(values)

    assert len(found) == 1
    assert found.items() <= values.items()


def test_an_expired_collision_gives_way(crowded: BaseCache, clock: Clock) -> None:
    crowded.set("mine", 1, timeout=10)
    clock.advance(11)

    assert crowded.add("yours", 2, timeout=10) is True
    assert crowded.get("yours") == 2
    assert crowded.get("mine", "missing") == "missing"


def test_get_or_set_returns_its_own_value_among_collisions(crowded: BaseCache) -> None:
    crowded.set("mine", 1)

    assert crowded.get_or_set("yours", lambda: 2) == 2
    assert crowded.get_or_set("mine", lambda: 1) == 1


def test_aliases_with_one_range_stay_apart(one_hash: None, make_cache: MakeCache) -> None:
    first, second = make_cache(), make_cache()
    first.set("answer", 1)

    assert second.get("answer", "missing") == "missing"
    second.clear()
    assert first.get("answer") == 1


def test_clear_spares_an_alias_that_shares_its_range(
    monkeypatch: pytest.MonkeyPatch, make_cache: MakeCache
) -> None:
    # All aliases have the same range of ids; their keys are spread over it as usual.
    monkeypatch.setattr(keys, "hash64", lambda data: real_hash64(data) if b"\0" in data else 7)
    first, second = make_cache(), make_cache()
    values = {f"key-{number}": number for number in range(50)}
    first.set_many(values)
    second.set_many(values)

    second.clear()

    assert second.get_many(values) == {}
    assert first.get_many(values) == values


def test_random_operations_among_collisions_never_return_a_wrong_value(
    three_hashes: None, make_cache: MakeCache
) -> None:
    cache = make_cache()
    story = random.Random(7)  # the same sequence in each run
    names = [f"key-{number}" for number in range(8)]
    last_written: dict[str, int] = {}
    for value in range(400):
        name = story.choice(names)
        tell_one_step(story, cache, name, value, last_written)
        for key, found in cache.get_many(names).items():
            assert found == last_written[key]


def tell_one_step(
    story: random.Random, cache: BaseCache, name: str, value: int, last_written: dict[str, int]
) -> None:
    step: Callable[[], Any] = story.choice(
        [
            lambda: remember(last_written, name, value, cache.set(name, value) is None),  # type: ignore[func-returns-value] # it is None
            lambda: remember(last_written, name, value, cache.add(name, value)),
            lambda: cache.delete(name),
            lambda: cache.touch(name, 100),
        ]
    )
    step()


def remember(last_written: dict[str, int], name: str, value: int, written: bool) -> None:
    if written:
        last_written[name] = value
