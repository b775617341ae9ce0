"""Run the benchmarks: `python -m benchmarks`, or `make bench`. See docs/benchmarks.md."""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import growth, operations, processes
from benchmarks.environment import SIZES
from benchmarks.facts import collect_facts
from benchmarks.growth import measure_growth
from benchmarks.machines import running
from benchmarks.operations import measure_operations
from benchmarks.peers import DATABASES, STORES, Peer, find_peers
from benchmarks.processes import measure_processes
from benchmarks.races import measure_races
from benchmarks.report import Results, print_report, write_json
from benchmarks.targets import judge_growth, judge_operations, judge_processes
from benchmarks.values import KINDS

GROUPS = (*STORES, "processes", "growth")
DEFAULT_PATH = Path("var/bench.json")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the groups of the command line, print the figures and write them."""
    options = parse(arguments)
    groups = options.only or list(GROUPS)
    # Processes are measured in every store and growth on every database, unless --on names some.
    named = [name for name in STORES if name in groups]
    databases = options.on or (named if named == groups else list(STORES))
    with running(databases) as missing:
        results = measure(groups, databases, pace=options.pace, missing=missing)
    print_report(results)
    write_json(results, options.json)
    print(f"\nWritten to {options.json}.")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    pace = parser.add_mutually_exclusive_group()
    pace.set_defaults(pace="full")
    for name, text in (
        ("quick", "a fraction of the time; the figures are a hint only"),
        ("smoke", "a fraction of that; shows that it runs, the figures mean nothing"),
    ):
        pace.add_argument(f"--{name}", dest="pace", action="store_const", const=name, help=text)
    parser.add_argument(
        "--only", action="append", choices=GROUPS, help="measure this group; may be repeated"
    )
    parser.add_argument(
        "--on", action="append", choices=STORES, help="measure in this place; may be repeated"
    )
    parser.add_argument(
        "--json", type=Path, default=DEFAULT_PATH, help="where to write the figures"
    )
    return parser.parse_args(arguments)


def measure(
    groups: Sequence[str], databases: Sequence[str], *, pace: str, missing: dict[str, str]
) -> Results:
    """Measure the groups on the available databases, one database after the other."""
    results = Results(facts=collect_facts(), pace=pace, missing=dict(missing))
    for database in databases:
        if database not in missing:
            peers, absent = find_peers([database])
            results.missing |= absent
            measure_database(groups, peers, results)
    results.outcomes = [
        *judge_operations(results.timings),
        *judge_growth(results.growths),
        *judge_processes(results.crowds),
    ]
    return results


def measure_database(groups: Sequence[str], peers: list[Peer], results: Results) -> None:
    database = peers[0].database
    for peer in peers:
        for size in SIZES if database in DATABASES else ("",):
            peer.create_table(size=size)
    # Loaded objects stay: collecting them again and again would be timed as the caches' work.
    gc.freeze()
    pace = results.pace
    if database in groups:
        for kind in KINDS:
            with announced(f"{database}: operations, {kind}"):
                results.timings += measure_operations(peers, kind, operations.PACES[pace])
    if "growth" in groups and database in DATABASES:
        with announced(f"{database}: growth"):
            results.growths += measure_growth(peers, growth.PACES[pace])
    if "processes" in groups:
        with announced(f"{database}: processes"):
            results.crowds += measure_processes(peers, processes.PACES[pace])
            results.races += measure_races(peers)


@contextmanager
def announced(what: str) -> Iterator[None]:
    """Print what is measured, and then how long it took."""
    print(f"{what} ...", end=" ", file=sys.stderr, flush=True)
    begin = time.perf_counter()
    yield
    print(f"{time.perf_counter() - begin:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
