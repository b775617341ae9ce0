"""The cost of a write in a small and in a large table, filled and timed in turns."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field

from benchmarks.environment import SIZES
from benchmarks.filling import fill
from benchmarks.operations import OPERATIONS, Contestant, Pace, time_calls
from benchmarks.peers import Peer
from benchmarks.workload import Workload

KIND = "dict"
SMALL_ROWS = 1_000

# The rows are those of the large table. Full rounds are longer than for single operations: each
# must contain a checkpoint of the database.
PACES = {
    "full": Pace(rounds=7, seconds=0.3, calls=4_000, rows=300_000),
    "quick": Pace(rounds=3, seconds=0.05, calls=500, rows=20_000),
    "smoke": Pace(rounds=1, seconds=0.002, calls=100, rows=2_000),
}


@dataclass(kw_only=True)
class Growth:
    """The cost of a set of an existing key on a peer, in the small and in the large table."""

    peer: Peer
    large_rows: int
    small_us: list[float] = field(default_factory=list)
    large_us: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Return the cost in the large table in multiples of that in the small one."""
        return statistics.median(self.large_us) / statistics.median(self.small_us)


def measure_growth(peers: Iterable[Peer], pace: Pace) -> list[Growth]:
    """Fill both tables of each peer, then time all in turns; their tables must exist."""
    pairs = [
        (peer, enter(peer, SMALL_ROWS, ""), enter(peer, pace.rows, "_large")) for peer in peers
    ]
    growths = [Growth(peer=peer, large_rows=pace.rows) for peer, _, _ in pairs]
    overwrite = next(operation for operation in OPERATIONS if operation.name == "set existing")
    for round_number in range(-1, pace.rounds):  # round -1 warms up and is not recorded
        for growth, (_peer, small, large) in zip(growths, pairs, strict=True):
            small_us = time_calls(small, overwrite, pace)
            large_us = time_calls(large, overwrite, pace)
            if round_number >= 0:
                growth.small_us.append(small_us)
                growth.large_us.append(large_us)
    for _peer, small, large in pairs:
        small.cache.clear()
        large.cache.clear()
    return growths


def enter(peer: Peer, rows: int, size: str) -> Contestant:
    assert size in SIZES
    workload = Workload(kind=KIND, rows=rows)
    fill(peer, workload.rows_to_fill(), size=size)
    return Contestant(peer=peer, cache=peer.open(size=size), workload=workload)
