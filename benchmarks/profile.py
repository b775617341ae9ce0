"""The functions in which one operation spends its time: `python -m benchmarks.profile sqlite get`.

Prints the plain microseconds of a call, then the microseconds of every function in a call. The
profiler makes Python functions look slower beside the database's work: compare functions with each
other, and use the plain figure for the total.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.machines import running
from benchmarks.operations import OPERATIONS, Contestant, Operation, Pace, enter, time_calls
from benchmarks.peers import PEERS, STORES, Peer, reference_of
from benchmarks.values import KINDS

SHORT_NAMES = {"get": "get hit", "set": "set existing", "miss": "get miss", "new": "set new"}
SHOWN_FUNCTIONS = 40
PLAIN_ROUNDS = 7


class Cost(NamedTuple):
    """The cost of a function within one call of the operation."""

    calls: float
    own_us: float
    total_us: float
    location: str


def main(arguments: Sequence[str] | None = None) -> None:
    """Profile the operation of the command line and print it."""
    options = parse(arguments)
    name = SHORT_NAMES.get(options.operation, options.operation)
    peer = find_peer(options.peer or reference_of(options.database), options.database)
    operation = next(operation for operation in OPERATIONS if operation.name == name)
    with running([options.database]) as missing:
        if missing:
            raise SystemExit(f"{options.database} cannot be had: {missing[options.database]}")
        pace = Pace(rounds=PLAIN_ROUNDS, seconds=0.5, calls=options.calls, rows=options.rows)
        contestant = prepare(peer, options.value, pace)
        plain_us = [time_round(contestant, operation, pace) for _ in range(pace.rounds)]
        costs = profile(contestant, operation, pace)
    print(
        f"{peer.name} on {options.database}, {name}, {options.value}: "
        f"{statistics.median(plain_us):.1f} us a call (best {min(plain_us):.1f})\n"
    )
    print_costs(costs)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [operation.name for operation in OPERATIONS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("database", choices=STORES)
    parser.add_argument("operation", choices=[*SHORT_NAMES, *names], metavar="operation")
    parser.add_argument("--value", choices=KINDS, default="dict")
    parser.add_argument("--peer", choices=sorted({peer.name for peer in PEERS}))
    parser.add_argument("--rows", type=int, default=10_000, help="rows in the table")
    parser.add_argument("--calls", type=int, default=20_000, help="calls in a round")
    return parser.parse_args(arguments)


def find_peer(name: str, database: str) -> Peer:
    for peer in PEERS:
        if (peer.name, peer.database) == (name, database):
            return peer
    raise SystemExit(f"--peer={name} does not exist on {database}. Choose another database.")


def prepare(peer: Peer, kind: str, pace: Pace) -> Contestant:
    peer.create_table()
    contestant = enter(peer, kind, pace.rows)
    for operation in OPERATIONS:  # fills lazy attributes
        time_calls(contestant, operation, pace)
    return contestant


def time_round(contestant: Contestant, operation: Operation, pace: Pace) -> float:
    restock(contestant, operation, pace)
    return time_calls(contestant, operation, pace)


def restock(contestant: Contestant, operation: Operation, pace: Pace) -> None:
    """Write the keys that "delete" will delete."""
    if operation.name == "delete":
        time_calls(contestant, next(each for each in OPERATIONS if each.name == "set new"), pace)


def profile(contestant: Contestant, operation: Operation, pace: Pace) -> list[Cost]:
    """Return every function's cost within one call, the most expensive first."""
    restock(contestant, operation, pace)
    count = max(1, pace.calls // operation.keys_per_call)
    arguments = operation.arguments(contestant.workload, count)
    method = getattr(contestant.cache, operation.method)
    profiler = cProfile.Profile()
    profiler.enable()
    for each in arguments:
        method(*each)
    profiler.disable()
    costs = [
        Cost(
            calls=calls / len(arguments),
            own_us=own / len(arguments) * 1e6,
            total_us=total / len(arguments) * 1e6,
            location=describe(location),
        )
        for location, (_, calls, own, total, _) in read_entries(profiler).items()
    ]
    return sorted(costs, key=lambda cost: cost.own_us, reverse=True)


def read_entries(
    profiler: cProfile.Profile,
) -> dict[tuple[str, int, str], tuple[int, int, float, float, object]]:
    entries: dict[tuple[str, int, str], tuple[int, int, float, float, object]]
    entries = vars(pstats.Stats(profiler))["stats"]
    return entries


def describe(location: tuple[str, int, str]) -> str:
    path, line, name = location
    if path == "~":
        return name
    return f"{'/'.join(Path(path).parts[-3:])}:{line} {name}"


def print_costs(costs: list[Cost]) -> None:
    print(f"{'calls':>8} {'own us':>8} {'total us':>8}  (with the profiler's own cost)")
    for cost in costs[:SHOWN_FUNCTIONS]:
        if cost.calls >= 0.001:
            print(f"{cost.calls:8.2f} {cost.own_us:8.2f} {cost.total_us:8.2f}  {cost.location}")


if __name__ == "__main__":
    main()
