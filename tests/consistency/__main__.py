"""`make consistency`: the checker at length, on both databases, with every disturbance."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.consistency.settings"


def main() -> int:
    """Run everything; end with 1 if anything was stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="for each run")
    parser.add_argument("--database", choices=["default", "postgres"], action="append")
    options = parser.parse_args()

    from tests import environment

    environment.decide_once()
    environment.make_run_folder()
    environment.worker_folder().mkdir(exist_ok=True)
    try:
        return check(options.database or ["default", "postgres"], options.seconds)
    finally:
        environment.end_run()


def check(databases: list[str], seconds: float) -> int:
    """Run the checker on each database, alone and disturbed, and then with a naive rule."""
    import django

    django.setup()
    from tests.consistency.checker import Checker, Findings

    wrong = 0
    for database in {"default", *databases}:  # the first has the log of keys and words
        prepare(database)
    for database in databases:
        store = {"default": "sqlite"}.get(database, database)
        runs: dict[str, Findings] = {
            "readers and writers": Checker(database, store, seconds).run()(),
            "pruned meanwhile": Checker(database, store, seconds).run(others=("prune",))(),
            "moved meanwhile": Checker(database, store, seconds).run(others=("move",))(),
            "in several layers": Checker(database, "layers", seconds).run()(),
            "forked": Checker(database, store, seconds).run(readers=0, others=("fork",) * 2)(),
        }
        for name, findings in runs.items():
            wrong += len(findings.stale) + len(findings.unseen)
            report(database, name, findings)
        naive = Checker(database, store, seconds / 4, rule="late", pause=0.05).run(writers=4)()
        report(database, "naive rule", naive)
        wrong += not naive.stale
    return 1 if wrong else 0


def prepare(database: str) -> None:
    """Make the database and its tables."""
    from django.core.management import call_command
    from django.db import connections

    from tests import environment

    if database != "default":
        environment.make_database(database)
    call_command("migrate", database=database, verbosity=0, interactive=False, run_syncdb=True)
    call_command("migrate", "cachelayers", database="sqlite_cache", verbosity=0)
    connections.close_all()


def report(database: str, name: str, findings: object) -> None:
    """Print one line."""
    found = asdict(findings)  # type: ignore[call-overload] # Findings, imported after set-up
    found["stale"], found["unseen"] = len(found["stale"]), len(found["unseen"])
    numbers = ", ".join(f"{count:,} {what}" for what, count in found.items())
    sys.stdout.write(f"{database}, {name}: {numbers}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
