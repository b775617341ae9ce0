"""Print the figures as tables, and judge them. Counts nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypedDict

from benchmarks.hit_rate.names import ORACLE, OURS
from benchmarks.report import print_table
from benchmarks.targets import Outcome, at_most

MOST_POINTS = 2.0  # that ours may be behind the oracle


class Figures(TypedDict):
    """Of one kind of query, or of all."""

    reads: int
    hits: int
    wrong: int


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of a contestant's reads in one run. ``failure``: why there are none."""

    workload: str
    database: str
    writes: int  # of 100 requests
    contestant: str
    kinds: dict[str, Figures]
    failure: str = ""

    @property
    def total(self) -> Figures:
        found = Figures(reads=0, hits=0, wrong=0)
        for figures in self.kinds.values():
            found["reads"] += figures["reads"]
            found["hits"] += figures["hits"]
            found["wrong"] += figures["wrong"]
        return found


Runs = dict[tuple[str, str, int], dict[str, Result]]  # by workload, database, writes; by contestant


def runs_of(results: Iterable[Result]) -> Runs:
    found: Runs = {}
    for one in results:
        run = found.setdefault((one.workload, one.database, one.writes), {})
        if not one.failure:
            run[one.contestant] = one
    return found


def show(results: Sequence[Result]) -> None:
    """Print a table for each run, by kind of query, and at the end the totals."""
    contestants = list(dict.fromkeys(one.contestant for one in results))
    runs = {key: run for key, run in runs_of(results).items() if run}
    for (workload, database, writes), run in runs.items():
        title = f"{workload}, {database}, {writes}% writes"
        show_kinds(title, kinds_of(workload, results), run, contestants)
    rows = [
        [
            f"{workload}, {database}, {writes}% writes",
            *(cell(run[name].total if name in run else None) for name in contestants),
        ]
        for (workload, database, writes), run in runs.items()
    ]
    print_table("All reads: hits (wrong answers)", ["", *contestants], rows)


def kinds_of(workload: str, results: Iterable[Result]) -> list[str]:
    """Return the kinds of queries of a workload, in the same order for each of its runs."""
    own = (one for one in results if one.workload == workload)
    return list(dict.fromkeys(kind for one in own for kind in one.kinds))


def show_kinds(
    title: str, kinds: Sequence[str], run: dict[str, Result], contestants: Sequence[str]
) -> None:
    """Print a row for each kind of query, with the points that ours loses by it in total."""
    rows = []
    for kind in kinds:
        cells = [cell(run[name].kinds.get(kind) if name in run else None) for name in contestants]
        reads = max(one.kinds[kind]["reads"] if kind in one.kinds else 0 for one in run.values())
        rows.append([kind, f"{reads:,}", *cells, points_lost(run, kind)])
    print_table(
        f"{title}: hits (wrong answers) by kind of query",
        ["", "reads", *contestants, "points lost"],
        rows,
    )


def cell(figures: Figures | None) -> str:
    """Return a figure such as ``72.0% (43)``; the wrong answers only if there are some."""
    if figures is None:
        return "-"
    wrong = f" ({figures['wrong']:,})" if figures["wrong"] else ""
    return f"{rate(figures):.1%}{wrong}"


def rate(figures: Figures) -> float:
    return figures["hits"] / figures["reads"] if figures["reads"] else 0.0


def points_lost(run: dict[str, Result], kind: str) -> str:
    """Return how many of 100 reads of all kinds the oracle hits and ours misses, in this one."""
    if OURS not in run or ORACLE not in run or kind not in run[OURS].kinds:
        return ""
    missed = run[ORACLE].kinds[kind]["hits"] - run[OURS].kinds[kind]["hits"]
    return f"{missed / run[OURS].total['reads'] * 100:.1f}"


def judge(results: Sequence[Result]) -> list[Outcome]:
    """Return the outcomes: ours is near the oracle, and never wrong."""
    outcomes = []
    for (workload, database, writes), run in runs_of(results).items():
        if OURS not in run:
            continue
        title = f"{workload}, {database}, {writes}% writes"
        ours = run[OURS].total
        if ORACLE in run:
            points = (rate(run[ORACLE].total) - rate(ours)) * 100
            outcomes.append(at_most(f"{title}: behind the oracle", MOST_POINTS, " points", points))
        outcomes.append(
            Outcome(
                promise=f"{title}: wrong answers",
                wanted="none",
                found=ours["wrong"],
                is_reached=not ours["wrong"],
                remark=f"of {ours['reads']:,} compared",
            )
        )
    return outcomes
