"""`make consistency`: the checker at length, on both databases, with every disturbance."""

from __future__ import annotations

import argparse
import os
import random
import sys
from dataclasses import asdict

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.consistency.settings"


PAUSES = {"mariadb": 1.5}  # databases on which recent writes are not cached
STORES = {"default": "sqlite"}
KILL_SECONDS = 10.0
LEAST_RECALLS_PER_SECOND = 4.0  # in a run that can find a fault; an idle machine makes a hundred


def main() -> int:
    """Run everything; exit with 1 if a value was stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=28, help="for each run")
    parser.add_argument("--database", choices=["default", "postgres", "mariadb"], action="append")
    parser.add_argument("--only", action="append", metavar="KIND", help="leave out all others")
    options = parser.parse_args()

    from tests import environment

    environment.decide_once()
    environment.make_run_folder()
    environment.worker_folder().mkdir(exist_ok=True)
    databases = options.database or [
        "default",
        *(name for name in ("postgres", "mariadb") if environment.server_port(name)),
    ]
    try:
        return check(databases, options.seconds, options.only)
    finally:
        environment.end_run()


def check(databases: list[str], seconds: float, only: list[str] | None = None) -> int:
    """Run the checker on each database, by kind, and then with naive rules."""
    import django

    django.setup()
    from tests.consistency.checker import Checker, Findings
    from tests.consistency.kinds import KINDS

    wrong, total = 0, Findings()
    for database in {"default", *databases}:  # the first has the log of keys and tags
        prepare(database)
    for database in databases:
        for name, kind in KINDS.items():
            if database not in kind.databases or (only and name not in only):
                continue
            store = kind.store or STORES.get(database, database)
            pause = PAUSES.get(database, 0.3)
            checker = Checker(database, store, seconds, pause=pause)
            finish = checker.run_kind(kind)
            checker.kill_until_the_end(KILL_SECONDS, random.Random())
            findings = finish()
            wrong += len(findings.wrong)
            total.include(findings)
            report(database, name, findings)
            if findings.recalls < LEAST_RECALLS_PER_SECOND * seconds:
                sys.stdout.write("So few recalls tell nothing: what do the readers wait for?\n")
                wrong += 1
            if database == "mariadb":  # its slow pace seldom shows a rule that is too late
                continue
            for part in (4, 2, 1):  # a write at the right moment is a matter of chance
                naive = Checker(database, store, seconds / part, rule=kind.rule, pause=0.05)
                found = naive.run_kind(kind, writers=4)()
                report(database, f"{name}, with a naive rule ({kind.rule})", found)
                if found.wrong:
                    break
            else:
                wrong += 1
    report("all", "with our rules", total)
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
    for what in ("stale", "unseen", "leaked"):
        found[what] = len(found[what])
    numbers = ", ".join(f"{count:,} {what}" for what, count in found.items())
    sys.stdout.write(f"{database}, {name}: {numbers}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
