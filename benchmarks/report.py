"""Print a run's figures as tables and write them as JSON. Measures nothing."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.growth import Growth
from benchmarks.operations import Timing
from benchmarks.peers import STORES, reference_of
from benchmarks.processes import Crowd, Mode
from benchmarks.races import Race
from benchmarks.targets import Outcome, speed_ratio
from benchmarks.values import DESCRIPTIONS


@dataclass(kw_only=True)
class Results:
    """All results of a run. A group that was not measured stays empty."""

    facts: dict[str, str]
    pace: str
    missing: dict[str, str] = field(default_factory=dict)
    timings: list[Timing] = field(default_factory=list)
    growths: list[Growth] = field(default_factory=list)
    crowds: list[Crowd] = field(default_factory=list)
    races: list[Race] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)


def print_report(results: Results) -> None:
    """Print one table per group, the targets, and the missing peers."""
    print_facts(results.facts)
    for database in STORES:
        timings = [timing for timing in results.timings if timing.peer.database == database]
        for kind in dict.fromkeys(timing.kind for timing in timings):
            print_operations(database, kind, [each for each in timings if each.kind == kind])
    print_growths(results.growths)
    print_crowds(results.crowds)
    print_races(results.races)
    print_outcomes(results.outcomes, pace=results.pace)
    for name, reason in results.missing.items():
        print(f"MISSING: {name}: {reason}")


def print_facts(facts: dict[str, str]) -> None:
    print()
    for name, value in facts.items():
        print(f"{name}: {value}")


def print_operations(database: str, kind: str, timings: list[Timing]) -> None:
    """Print calls per second, and for each peer the ratio of the first one's speed to its own."""
    reference = reference_of(database)
    peers = list(dict.fromkeys(timing.peer.name for timing in timings))
    cells = {(timing.operation, timing.peer.name): timing for timing in timings}
    rows = []
    for operation in dict.fromkeys(timing.operation for timing in timings):
        ours = cells.get((operation, reference))
        rows.append([operation, *(describe_timing(cells[operation, peer], ours) for peer in peers)])
    ratio = f"({reference} is so many times as quick)"
    title = f"{database}, {DESCRIPTIONS[kind]}: calls per second {ratio}"
    print_table(title, ["", *peers], rows)


def describe_timing(timing: Timing, ours: Timing | None) -> str:
    speed = f"{1e6 / timing.median_us:,.0f}"
    if ours is None or timing is ours:
        return speed
    return f"{speed} ({speed_ratio(ours.round_us, timing.round_us):.2f}x)"


def print_growths(growths: Sequence[Growth]) -> None:
    if not growths:
        return
    rows = [
        [
            growth.peer.database,
            growth.peer.name,
            f"{statistics.median(growth.small_us):,.1f}",
            f"{statistics.median(growth.large_us):,.1f}",
            f"{growth.ratio:.2f}x",
        ]
        for growth in growths
    ]
    columns = ["", "", "1,000 rows", f"{growths[0].large_rows:,} rows", "growth"]
    print_table("A set of an existing key, 1 KB dict: microseconds a call", columns, rows)


def print_crowds(crowds: Sequence[Crowd]) -> None:
    for mode in dict.fromkeys(crowd.mode for crowd in crowds):
        print_crowd_table(mode, [crowd for crowd in crowds if crowd.mode == mode])


def print_crowd_table(mode: Mode, crowds: Sequence[Crowd]) -> None:
    rows = [
        [
            crowd.peer.database,
            crowd.peer.name,
            f"{crowd.total:,.0f}",
            *(f"{percentile(crowd.get_us, percent):,.0f}" for percent in (50, 99)),
            *(f"{percentile(crowd.set_us, percent):,.0f}" for percent in (50, 99)),
            f"{crowd.lost:,} of {crowd.checked:,}",
            f"{crowd.misses:,}",
            f"{crowd.faults:,}",
        ]
        for crowd in crowds
    ]
    columns = ["", "", "operations/s", "get p50 us", "p99", "set p50 us", "p99"]
    columns += ["lost", "misses", "faults"]
    print_table(f"{mode.name} at once: 90% get, 10% set, keys by Zipf's law", columns, rows)


def print_races(races: Sequence[Race]) -> None:
    rows = [
        [
            race.peer.database,
            race.peer.name,
            f"{race.counted} of {race.expected}",
            f"{race.faults}",
            f"{race.seconds * 1000:,.0f}",
        ]
        for race in races
    ]
    print_table("8 threads of 50 incr", ["", "", "counted", "faults", "ms"], rows)


def print_outcomes(outcomes: Sequence[Outcome], *, pace: str) -> None:
    rows = [
        [
            outcome.promise,
            outcome.wanted,
            describe_found(outcome),
            "reached" if outcome.is_reached else "NOT REACHED",
            outcome.remark,
        ]
        for outcome in outcomes
    ]
    title = "Targets" + ("" if pace == "full" else f", from a {pace} run: a hint, no proof")
    print_table(title, ["", "wanted", "found", "", ""], rows)
    reached = sum(outcome.is_reached for outcome in outcomes)
    print(f"{reached} of {len(outcomes)} targets reached.")


def describe_found(outcome: Outcome) -> str:
    return "none" if outcome.wanted == "none" and not outcome.found else f"{outcome.found:.2f}"


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print text columns to the left, figures to the right."""
    if not rows:
        return
    print(f"\n{title}\n")
    lines = [columns, *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    names = {index for index, column in enumerate(columns) if not column}
    for line in lines:
        cells = (
            cell.ljust(width) if index in names else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join(cells).rstrip())


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the value below which ``percent`` of 100 lie; 0 for no values."""
    if not values:
        return 0.0
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def write_json(results: Results, path: Path) -> None:
    """Write the tables' figures and the figure of every round."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(to_json(results), indent=1) + "\n")


def to_json(results: Results) -> dict[str, Any]:
    return {
        "facts": results.facts,
        "pace": results.pace,
        "missing": results.missing,
        "operations": [timing_to_json(timing) for timing in results.timings],
        "growth": [
            peer_to_json(each)
            | {"ratio": each.ratio, "large_rows": each.large_rows}
            | {"small_us": each.small_us, "large_us": each.large_us}
            for each in results.growths
        ],
        "processes": [crowd_to_json(crowd) for crowd in results.crowds],
        "races": [
            peer_to_json(race)
            | {"counted": race.counted, "expected": race.expected}
            | {"faults": race.faults, "seconds": race.seconds}
            for race in results.races
        ],
        "targets": [asdict(outcome) for outcome in results.outcomes],
    }


def peer_to_json(result: Timing | Growth | Crowd | Race) -> dict[str, Any]:
    return {"peer": result.peer.name, "database": result.peer.database}


def timing_to_json(timing: Timing) -> dict[str, Any]:
    return peer_to_json(timing) | {
        "operation": timing.operation,
        "value": timing.kind,
        "median_us": timing.median_us,
        "round_us": timing.round_us,
    }


def crowd_to_json(crowd: Crowd) -> dict[str, Any]:
    """Return percentiles instead of thousands of single delays."""
    delays = {
        f"{name}_p{percent}_us": percentile(values, percent)
        for name, values in (("get", crowd.get_us), ("set", crowd.set_us))
        for percent in (50, 99)
    }
    return (
        peer_to_json(crowd)
        | {"mode": crowd.mode.name}
        | delays
        | {
            "operations_per_second": crowd.operations_per_second,
            "checked": crowd.checked,
            "lost": crowd.lost,
            "misses": crowd.misses,
            "faults": crowd.faults,
        }
    )
