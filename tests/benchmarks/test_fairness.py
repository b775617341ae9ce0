"""What makes the benchmarks' figures worth comparing."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest
from django.core.cache.backends.locmem import LocMemCache

from benchmarks import peers
from benchmarks.environment import MEMCACHEDS
from benchmarks.growth import Growth
from benchmarks.operations import OPERATIONS, Contestant, Operation, Pace, Timing, time_calls
from benchmarks.peers import DISKCACHE, MEMORY, MEMORY_TABLE, OURS, PEERS, Peer, find_peers
from benchmarks.settings import build_memcached_caches, build_redis_caches
from benchmarks.targets import judge_growth, judge_operations, speed_ratio
from benchmarks.values import KINDS
from benchmarks.worker import build_plan
from benchmarks.workload import Workload
from cachelayers.backends.layered import circuit_breaker

PACE = Pace(rounds=1, seconds=0.05, calls=20, rows=30)


class ForgetfulCache(LocMemCache):
    """Takes every value and keeps none."""

    def set(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing, quickly."""


class CountingCache(LocMemCache):
    """Remembers how often each key was read."""

    def __init__(self, name: str) -> None:
        super().__init__(name, {})
        self.reads: Counter[str] = Counter()

    def get(self, key: str, *args: Any, **kwargs: Any) -> Any:
        """Count, and read."""
        self.reads[key] += 1
        return super().get(key, *args, **kwargs)


def contestant(cache: LocMemCache, place: str = "sqlite") -> Contestant:
    workload = Workload(kind="string", rows=PACE.rows)
    for key, value in workload.rows_to_fill():
        LocMemCache.set(cache, key, value)
    peer = next(peer for peer in PEERS if (peer.name, peer.database) == (OURS, place))
    return Contestant(peer=peer, cache=cache, workload=workload)


def operation(name: str) -> Operation:
    return next(each for each in OPERATIONS if each.name == name)


def timing(peer: str, microseconds: float, place: str = "sqlite") -> Timing:
    return Timing(
        peer=Peer(name=peer, database=place),
        operation="get hit",
        kind="dict",
        round_us=[microseconds] * 3,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_is_never_overwritten_with_the_value_it_has(kind: str) -> None:
    workload = Workload(kind=kind, rows=30)
    stored = dict(workload.rows_to_fill())

    for key, value in itertools.chain.from_iterable(workload.next_pairs(7) for _ in range(40)):
        assert stored[key] != value
        stored[key] = value


def test_no_two_keys_share_an_object() -> None:
    workload = Workload(kind="html", rows=200)

    pairs = [*workload.rows_to_fill(), *workload.next_pairs(200), *workload.next_fresh_pairs(200)]

    assert len({id(value) for _, value in pairs}) == 600


def test_what_is_touched_is_there_and_never_read() -> None:
    workload = Workload(kind="string", rows=30, touched=5)

    touched = set(workload.next_touched_keys(20))

    assert touched <= dict(workload.rows_to_fill()).keys()
    assert touched.isdisjoint(workload.next_keys(100))


@pytest.mark.parametrize(("place", "reads"), [("sqlite", 1), (MEMORY, 3)])
def test_beside_a_stack_a_hit_was_read_before_by_every_peer(place: str, reads: int) -> None:
    cache = CountingCache(f"a hit was read before, {place}")
    entrant = contestant(cache, place)

    time_calls(entrant, operation("get hit"), PACE)

    assert set(cache.reads.values()) == {reads}


def test_a_stack_that_has_lost_a_layer_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    entrant = contestant(LocMemCache("a stack that has lost a layer", {}))
    entrant.peer = Peer(name=MEMORY_TABLE, database=MEMORY, cache_alias="memory_table")
    monkeypatch.setattr(circuit_breaker, "_breakers", {})
    circuit_breaker.breaker_of("sqlite").fail("read_many", TimeoutError())

    with pytest.raises(RuntimeError, match=r"memory\+table, memory: its layers failed 1 times"):
        time_calls(entrant, operation("get hit"), PACE)


def test_no_peer_empties_another_ones_server(monkeypatch: pytest.MonkeyPatch) -> None:
    ports = {name: number for number, name in enumerate(MEMCACHEDS)}
    monkeypatch.setattr("benchmarks.settings.servers", ports)
    caches = build_redis_caches("redis://here") | build_memcached_caches()

    places = [options["LOCATION"] for options in caches.values() if options.get("LOCATION")]

    assert len(places) == len(set(places)) == 10


def test_every_peer_is_asked_for_the_same_keys_in_the_same_order() -> None:
    one, other = (Workload(kind="string", rows=30) for _ in range(2))

    assert one.next_keys(50) == other.next_keys(50)
    assert one.next_pairs(50) == other.next_pairs(50)


def test_a_get_that_misses_is_not_timed_as_a_hit() -> None:
    cache = LocMemCache("a get that misses", {})
    entrant = contestant(cache)
    cache.clear()

    with pytest.raises(RuntimeError, match=r"get hit on ours, sqlite, returned None"):
        time_calls(entrant, operation("get hit"), PACE)


def test_a_set_that_keeps_nothing_is_not_timed() -> None:
    forgetful = contestant(ForgetfulCache("a set that keeps nothing", {}))

    with pytest.raises(RuntimeError, match=r"set new on ours, sqlite, lost the value"):
        time_calls(forgetful, operation("set new"), PACE)


def test_a_round_leaves_as_many_rows_as_it_found() -> None:
    cache = LocMemCache("a round leaves as many rows", {})
    entrant = contestant(cache)
    before = set(cache._cache)  # type: ignore[attr-defined]  # private to Django

    for name in ("set new", "set existing", "add", "delete"):
        time_calls(entrant, operation(name), PACE)

    assert set(cache._cache) == before  # type: ignore[attr-defined]  # private to Django


def test_a_process_sets_keys_of_its_own_only() -> None:
    keys = [f"key:{number}" for number in range(40)]

    sets = [{key for key, is_set in build_plan(keys, number, 4) if is_set} for number in range(4)]

    assert all(one.isdisjoint(other) for one, other in itertools.combinations(sets, 2))
    assert sum(map(len, sets)) == len(keys)


def test_a_peer_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "is_importable", lambda module: module != "diskcache")

    found, missing = find_peers(["sqlite"])

    assert missing == {"diskcache on sqlite": "not installed: diskcache"}
    assert DISKCACHE not in [peer.name for peer in found]


def test_a_ratio_compares_figures_of_the_same_round() -> None:
    noisy_machine_us = [10.0, 100.0, 10.0]
    twice_as_slow_us = [20.0, 200.0, 20.0]

    assert speed_ratio(noisy_machine_us, twice_as_slow_us) == 2


def test_a_target_that_is_missed_says_by_how_much() -> None:
    outcomes = judge_operations([timing(OURS, 10.0), timing("Django", 20.0)])

    assert [(each.found, each.is_reached, each.remark) for each in outcomes] == [
        (2.0, False, "50.0% of it")
    ]


def test_a_hit_in_the_memory_of_a_stack_is_compared_with_one_in_memory_alone() -> None:
    outcomes = judge_operations([timing(OURS, 2.0, MEMORY), timing(MEMORY_TABLE, 4.0, MEMORY)])

    assert [(each.promise, each.wanted, each.remark) for each in outcomes] == [
        ("memory: get hit, dict, memory+table against ours", "at least 0.67x", "75.0% of it")
    ]


def test_growth_is_judged_for_ours_alone() -> None:
    growths = [
        Growth(peer=peer, large_rows=300_000, small_us=[10.0], large_us=[14.0])
        for peer in PEERS
        if peer.database == "sqlite"
    ]

    outcomes = judge_growth(growths)

    assert [(each.found, each.is_reached) for each in outcomes] == [(1.4, True)]
