"""The promised ratios within one run, and whether a run reached them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.growth import Growth
from benchmarks.operations import OPERATIONS, Timing
from benchmarks.peers import DISKCACHE, DJANGO, LOCMEM, MEMORY, MEMORY_TABLE, MYSQLCACHE, OURS
from benchmarks.processes import PROCESSES, Crowd

MOST_GROWTH = 1.5  # a set in the large table against one in the small table


@dataclass(frozen=True, kw_only=True)
class Target:
    """One of ours must be ``ratio`` times as fast as a peer on the same store."""

    database: str
    operation: str
    against: str
    ratio: float
    kind: str | None = None  # of values; None: all
    ours: str = OURS


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A promise in words, the wanted and the found figure; ``found`` is None if not measured."""

    promise: str
    wanted: str
    found: float | None
    is_reached: bool
    remark: str = ""


def at_most(promise: str, most: float, unit: str, found: float | None) -> Outcome:
    """Return the outcome for an upper bound. ``unit``: printed after the figure."""
    is_reached = found is not None and found <= most
    return Outcome(
        promise=promise,
        wanted=f"at most {most:g}{unit}",
        found=found,
        is_reached=is_reached,
        remark="" if is_reached or found is None else f"{found / most:.1%} of it",
    )


TARGETS = (
    Target(database="sqlite", operation="get hit", against=DJANGO, ratio=4),
    Target(database="sqlite", operation="get hit", against=DISKCACHE, ratio=1.2),
    Target(database="sqlite", operation="set new", against=DJANGO, ratio=4),
    Target(database="sqlite", operation="set new", against=DISKCACHE, ratio=2),
    Target(database="sqlite", operation="set existing", against=DJANGO, ratio=4),
    Target(database="sqlite", operation="set existing", against=DISKCACHE, ratio=2),
    Target(database="sqlite", operation="set_many", against=DISKCACHE, ratio=5),
    Target(database="sqlite", operation="get_many", against=DISKCACHE, ratio=1.5),
    Target(database="sqlite", operation="incr", against=DISKCACHE, ratio=1.3),
    Target(database="postgres", operation="get hit", against=DJANGO, ratio=1.3),
    Target(database="postgres", operation="set new", against=DJANGO, ratio=4),
    Target(database="postgres", operation="set existing", against=DJANGO, ratio=4),
    Target(database="postgres", operation="set_many", against=DJANGO, ratio=30),
    Target(database="postgres", operation="incr", against=DJANGO, ratio=4),
    Target(database="mariadb", operation="set_many", against=DJANGO, ratio=30),
    *(
        Target(database="mariadb", operation=operation.name, against=MYSQLCACHE, ratio=1)
        for operation in OPERATIONS
    ),
    Target(database=MEMORY, operation="get hit", against=LOCMEM, ratio=3, kind="html"),
    *(
        Target(database=MEMORY, operation=operation.name, against=LOCMEM, ratio=1)
        for operation in OPERATIONS
    ),
    # The price of several layers: a hit in memory takes at most one and a half times as long.
    Target(database=MEMORY, operation="get hit", ours=MEMORY_TABLE, against=OURS, ratio=1 / 1.5),
)


def judge_operations(timings: Iterable[Timing]) -> list[Outcome]:
    """Compare every target with every measured kind of value."""
    by_name = {
        (timing.peer.database, timing.operation, timing.peer.name, timing.kind): timing
        for timing in timings
    }
    kinds = dict.fromkeys(kind for _, _, _, kind in by_name)
    outcomes = []
    for target in TARGETS:
        for kind in kinds:
            ours = by_name.get((target.database, target.operation, target.ours, kind))
            theirs = by_name.get((target.database, target.operation, target.against, kind))
            if ours and theirs and target.kind in {None, kind}:
                outcomes.append(judge(target, kind, speed_ratio(ours.round_us, theirs.round_us)))
    return outcomes


def judge(target: Target, kind: str, found: float) -> Outcome:
    ours = "" if target.ours == OURS else f"{target.ours} "
    return Outcome(
        promise=f"{target.database}: {target.operation}, {kind}, {ours}against {target.against}",
        wanted=f"at least {target.ratio:.2g}x",
        found=found,
        is_reached=found >= target.ratio,
        remark="" if found >= target.ratio else f"{found / target.ratio:.1%} of it",
    )


def judge_growth(growths: Iterable[Growth]) -> list[Outcome]:
    """Return the outcomes: a set in our large tables costs little more than in our small ones."""
    return [
        at_most(
            f"{growth.peer.database}: set existing, {growth.large_rows:,} rows to 1,000",
            MOST_GROWTH,
            "x",
            growth.ratio,
        )
        for growth in growths
        if growth.peer.name == OURS
    ]


def judge_processes(crowds: Sequence[Crowd]) -> list[Outcome]:
    """Return the outcomes: our processes reach diskcache's total, and lose no write."""
    outcomes = [judge_losses(crowd) for crowd in crowds if crowd.peer.is_ours]
    totals = {
        crowd.peer.name: crowd
        for crowd in crowds
        if (crowd.peer.database, crowd.mode) == ("sqlite", PROCESSES)
    }
    if OURS in totals and DISKCACHE in totals:
        found = totals[OURS].total / totals[DISKCACHE].total
        outcomes.append(
            Outcome(
                promise=f"sqlite: 4 processes at once, against {DISKCACHE}",
                wanted="at least 1x",
                found=found,
                is_reached=found >= 1,
                remark="" if found >= 1 else f"{found:.1%} of it",
            )
        )
    return outcomes


def judge_losses(crowd: Crowd) -> Outcome:
    lost = crowd.lost + crowd.misses + crowd.faults
    ours = "" if crowd.peer.name == OURS else f"{crowd.peer.name} "
    return Outcome(
        promise=f"{crowd.peer.database}: {ours}lost, missed or failed in {crowd.mode.name}",
        wanted="none",
        found=lost,
        is_reached=not lost,
        remark=f"of {crowd.checked:,} keys checked",
    )


def speed_ratio(ours_us: Sequence[float], theirs_us: Sequence[float]) -> float:
    """Return the median over the rounds of our speed in multiples of theirs."""
    return statistics.median(theirs / ours for ours, theirs in zip(ours_us, theirs_us, strict=True))
