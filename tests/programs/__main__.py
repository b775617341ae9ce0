"""`make consistency`, third part: programs made at random, by the ten thousand."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.programs.running import Figures

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.consistency.settings"

# Of all comparisons. In MariaDB the writes are made older by a statement of the tester's.
SHARES = {"default": 0.5, "postgres": 0.46, "mariadb": 0.04}
STORES = ("memory", "memory", "memory", "sqlite")
MOST_FINDINGS = 3  # then the rest would tell nothing new


def main() -> int:
    """Run everything; exit with 1 if an answer was stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comparisons", type=int, default=220_000)
    parser.add_argument("--database", choices=list(SHARES), action="append")
    parser.add_argument("--seed", type=int, help="the first program's number")
    options = parser.parse_args()

    from tests import environment

    environment.decide_once()
    environment.make_run_folder()
    environment.worker_folder().mkdir(exist_ok=True)
    databases = options.database or [
        "default",
        *(name for name in ("postgres", "mariadb") if environment.server_port(name)),
    ]
    seed = random.randrange(2**31) if options.seed is None else options.seed
    sys.stdout.write(f"The first program is number {seed}.\n")
    try:
        return check(databases, options.comparisons, seed)
    finally:
        environment.end_run()


def check(databases: Sequence[str], comparisons: int, seed: int) -> int:
    """Run programs on each database, side by side, and print what was compared."""
    import django

    django.setup()
    from tests.consistency.__main__ import prepare
    from tests.programs.running import Figures

    for database in {"default", *databases}:  # the first has the log of keys and tags
        prepare(database)
    began, total = time.monotonic(), Figures()
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as processes:
        counts = [int(comparisons * SHARES[database]) for database in databases]
        for database, figures in zip(
            databases,
            processes.map(run_database, databases, counts, [seed] * len(databases)),
            strict=True,
        ):
            *_, shares, counts_of_programs = figures.lines()
            sys.stdout.write(f"{database}: {shares}\n{database}: {counts_of_programs}\n")
            sys.stdout.flush()
            total.include(figures)
    sys.stdout.write("".join(f"{line}\n" for line in total.lines()))
    seconds = time.monotonic() - began
    sys.stdout.write(f"{total.total:,} comparisons in {seconds:.0f} s\n")
    return 1 if total.stale else 0


def run_database(database: str, comparisons: int, seed: int) -> Figures:
    """Run programs until enough was compared."""
    from tests.programs.running import Figures, find_stale

    figures = Figures()
    while figures.total < comparisons and len(figures.stale) < MOST_FINDINGS:
        store = STORES[seed % len(STORES)]
        if found := find_stale(seed, database, store, figures):
            figures.stale.append(found)
            sys.stdout.write(f"{database}: {found}\n")
            sys.stdout.flush()
        seed += 1
    return figures


if __name__ == "__main__":
    sys.exit(main())
