"""Time every operation on every peer, in rounds that take turns: noise affects all alike."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.environment import TIMEOUT_SECONDS
from benchmarks.filling import fill
from benchmarks.peers import DATABASES, Cache, Peer
from benchmarks.workload import Workload

BULK = 100  # keys in one get_many or set_many

COUNTERS = 1_000  # keys that incr takes in turn
TOUCHED = 1_000  # keys that touch takes in turn

Arguments = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """The length of a round of one operation on one peer, and the number of rounds."""

    rounds: int
    seconds: float
    # at most this many in a round, so that the tables of fast peers do not outgrow the others
    calls: int
    rows: int


PACES = {
    "full": Pace(rounds=7, seconds=0.08, calls=2_000, rows=10_000),
    "quick": Pace(rounds=3, seconds=0.02, calls=300, rows=1_000),
    "smoke": Pace(rounds=1, seconds=0.002, calls=200, rows=200),
}


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A method, its arguments, made before the clock starts, and a check of its results."""

    name: str
    method: str
    arguments: Callable[[Workload, int], list[Arguments]]
    is_right: Callable[[Any], bool]
    keys_per_call: int = 1
    is_hit: bool = False


@dataclass(kw_only=True)
class Contestant:
    """A peer with an open cache and its own order of keys."""

    peer: Peer
    cache: Cache
    workload: Workload


@dataclass(kw_only=True)
class Timing:
    """The time of one call of an operation on a peer, by round."""

    peer: Peer
    operation: str
    kind: str
    round_us: list[float] = field(default_factory=list)

    @property
    def median_us(self) -> float:
        """Return the microseconds of one call."""
        return statistics.median(self.round_us)


def measure_operations(peers: Iterable[Peer], kind: str, pace: Pace) -> list[Timing]:
    """Time all operations with values of one kind on peers that have their tables."""
    contestants = [enter(peer, kind, pace.rows) for peer in peers]
    timings = {
        (operation.name, contestant.peer): Timing(
            peer=contestant.peer, operation=operation.name, kind=kind
        )
        for operation in OPERATIONS
        for contestant in contestants
    }
    for round_number in range(-1, pace.rounds):  # round -1 warms up and is not recorded
        for operation in OPERATIONS:
            for contestant in rotate(contestants, round_number):
                call_us = time_calls(contestant, operation, pace)
                if round_number >= 0:
                    timings[operation.name, contestant.peer].round_us.append(call_us)
    return list(timings.values())


def enter(peer: Peer, kind: str, rows: int) -> Contestant:
    workload = Workload(kind=kind, rows=rows, counters=COUNTERS, touched=TOUCHED)
    fill(peer, workload.rows_to_fill())
    return Contestant(peer=peer, cache=peer.open(), workload=workload)


def rotate(contestants: list[Contestant], turn: int) -> list[Contestant]:
    """Let another peer begin in every round: the one after a heavy writer may be slower."""
    start = turn % len(contestants)
    return contestants[start:] + contestants[:start]


def time_calls(contestant: Contestant, operation: Operation, pace: Pace) -> float:
    """Return the microseconds of one call, the mean of a round."""
    count = max(1, pace.calls // operation.keys_per_call)
    arguments = operation.arguments(contestant.workload, count)
    method = getattr(contestant.cache, operation.method)
    if operation.is_hit and contestant.peer.database not in DATABASES:
        # The contents of a LayeredCache's memory depend on earlier writes. Read everything first,
        # so that the measured gets are hits: by all peers, and twice, as the first read fills
        # memory from below and displaces the processor's caches.
        for each in arguments * 2:
            method(*each)
    clock = time.perf_counter
    calls = 0
    result = None
    begin = now = clock()
    deadline = begin + pace.seconds
    for each in arguments:
        result = method(*each)
        calls += 1
        now = clock()
        if now >= deadline:
            break
    check(contestant.peer, operation, result)
    settle(contestant, operation, arguments[:calls], arguments[calls:])
    return (now - begin) / calls * 1e6


def check(peer: Peer, operation: Operation, result: Any) -> None:
    """End the run after a wrong result: a miss is faster than a hit."""
    if not operation.is_right(result):
        raise RuntimeError(
            f"{operation.name} on {peer.name}, {peer.database}, returned {result!r:.80}: "
            f"the figure would be that of something else. Call {operation.method}() by hand to see "
            "why."
        )
    if failures := peer.count_failures():
        raise RuntimeError(
            f"{operation.name} on {peer.name}, {peer.database}: its layers failed {failures} "
            "times, so the figure would be that of another stack. Their errors are logged above."
        )


def settle(
    contestant: Contestant, operation: Operation, done: list[Arguments], left: list[Arguments]
) -> None:
    """Check the last writes, and restore the table's size."""
    if operation.method in ("set", "add"):
        key, value, _timeout = done[-1]
        if contestant.cache.get(key) != value:
            peer = contestant.peer
            raise RuntimeError(
                f"{operation.name} on {peer.name}, {peer.database}, lost the value of {key!r}. "
                "Look for an error that the peer hides, or a bound on its rows."
            )
    if operation.name in ("set new", "add"):
        contestant.workload.fresh_keys += [arguments[0] for arguments in done]
    if operation.name == "delete":
        for (key,) in left:
            contestant.cache.delete(key)


def timeouts(count: int) -> list[int]:
    # Never the same twice in a row: some databases do not write an unchanged row at all.
    return [TIMEOUT_SECONDS - random.randrange(3_600) for _ in range(count)]


def arguments_of_get(workload: Workload, count: int) -> list[Arguments]:
    return [(key,) for key in workload.next_keys(count)]


def arguments_of_miss(workload: Workload, count: int) -> list[Arguments]:
    return [(key,) for key in workload.next_absent_keys(count)]


def arguments_of_fresh(workload: Workload, count: int) -> list[Arguments]:
    return [(key, value, TIMEOUT_SECONDS) for key, value in workload.next_fresh_pairs(count)]


def arguments_of_overwrite(workload: Workload, count: int) -> list[Arguments]:
    return [(key, value, TIMEOUT_SECONDS) for key, value in workload.next_pairs(count)]


def arguments_of_get_many(workload: Workload, count: int) -> list[Arguments]:
    return [(workload.next_keys(BULK),) for _ in range(count)]


def arguments_of_set_many(workload: Workload, count: int) -> list[Arguments]:
    return [(dict(workload.next_pairs(BULK)), TIMEOUT_SECONDS) for _ in range(count)]


def arguments_of_incr(workload: Workload, count: int) -> list[Arguments]:
    return [(key,) for key in workload.next_counters(count)]


def arguments_of_touch(workload: Workload, count: int) -> list[Arguments]:
    return list(zip(workload.next_touched_keys(count), timeouts(count), strict=True))


def arguments_of_delete(workload: Workload, count: int) -> list[Arguments]:
    """Return all keys of "set new" and "add": deleting them restores the table's size."""
    keys, workload.fresh_keys = workload.fresh_keys, []
    return [(key,) for key in keys]


def is_anything(result: Any) -> bool:
    return True


# In the order of a round: "delete" removes the keys of "set new" and "add".
OPERATIONS = (
    Operation(
        name="get hit",
        method="get",
        arguments=arguments_of_get,
        is_right=lambda result: result is not None,
        is_hit=True,
    ),
    Operation(
        name="get miss",
        method="get",
        arguments=arguments_of_miss,
        is_right=lambda result: result is None,
    ),
    Operation(name="set new", method="set", arguments=arguments_of_fresh, is_right=is_anything),
    Operation(
        name="set existing", method="set", arguments=arguments_of_overwrite, is_right=is_anything
    ),
    Operation(name="add", method="add", arguments=arguments_of_fresh, is_right=bool),
    Operation(
        name="get_many",
        method="get_many",
        arguments=arguments_of_get_many,
        is_right=lambda result: len(result) == BULK,
        keys_per_call=BULK,
        is_hit=True,
    ),
    Operation(
        name="set_many",
        method="set_many",
        arguments=arguments_of_set_many,
        is_right=lambda result: not result,
        keys_per_call=BULK,
    ),
    Operation(
        name="delete",
        method="delete",
        arguments=arguments_of_delete,
        is_right=lambda result: result is not False,  # MySQLCache always returns None
    ),
    Operation(
        name="incr",
        method="incr",
        arguments=arguments_of_incr,
        is_right=lambda result: result > 0,
    ),
    Operation(name="touch", method="touch", arguments=arguments_of_touch, is_right=bool),
)
