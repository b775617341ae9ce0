"""Count hits and wrong answers on sites that are written to: `python -m benchmarks.hit_rate`.

Every contestant gets the same requests. Each of its answers is compared with the database's, so a
hit rate stands beside the wrong answers it was reached with. Also by `make bench`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, replace
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.hit_rate.names import (
    CHOICES,
    CONTESTANTS,
    NEEDS,
    VARIABLE,
    WORKLOADS,
    Task,
)
from benchmarks.hit_rate.results import Figures, Result, judge, show
from benchmarks.report import print_outcomes
from tests.servers import (
    DatabaseServer,
    MariaDB,
    Postgres,
    Redis,
    find_missing,
)

DATABASES = ("sqlite", "postgres", "mariadb")
SERVERS: dict[str, type[DatabaseServer]] = {"postgres": Postgres, "mariadb": MariaDB}
REQUESTS, QUICK_REQUESTS = 2_000, 300
PROCESSES = os.cpu_count() or 1  # at once: nothing is timed


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the workloads, print tables, write JSON."""
    options = parse(arguments)
    missing = missing_of(options.peers, options.database)
    peers = [name for name in options.peers if name not in missing]
    databases = [name for name in options.database if name not in missing]
    with TemporaryDirectory(prefix="cachelayers-bench-") as folder, ExitStack() as stack:
        servers = {
            name: stack.enter_context(SERVERS[name]()) for name in databases if name in SERVERS
        }
        tasks = list(tasks_of(options, databases, peers, Path(folder), servers))
        with ThreadPoolExecutor(PROCESSES) as pool:
            results = [one for found in pool.map(run, tasks) for one in found]
    show(results)
    outcomes = judge(results)
    if outcomes:
        print_outcomes(outcomes, pace="quick" if options.quick else "full")
    for one in results:
        if one.failure:
            missing[f"{one.contestant} on {one.database}, {one.workload}"] = one.failure
    for name, reason in missing.items():
        print(f"MISSING: {name}: {reason}")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    written = {
        "requests": options.requests,
        "missing": missing,
        "results": [asdict(one) for one in results],
        "targets": [asdict(one) for one in outcomes],
    }
    options.json.write_text(json.dumps(written, indent=1) + "\n")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hit_rate", description=__doc__)
    parser.add_argument("--workload", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument(
        "--database",
        nargs="+",
        choices=DATABASES,
        default=["sqlite", "postgres"],
        help="default: sqlite postgres",
    )
    parser.add_argument(
        "--writes", nargs="+", type=int, default=[1, 5, 20], help="of 100 requests; default: 1 5 20"
    )
    parser.add_argument("--requests", type=int, help=f"of each run; default: {REQUESTS:,}")
    parser.add_argument("--peers", nargs="+", choices=CHOICES, default=list(CONTESTANTS))
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_REQUESTS} requests: the figures are a hint"
    )
    parser.add_argument("--json", type=Path, default=Path("var/bench-hit_rate.json"))
    options = parser.parse_args(arguments)
    options.requests = options.requests or (QUICK_REQUESTS if options.quick else REQUESTS)
    return options


def missing_of(peers: Iterable[str], databases: Iterable[str]) -> dict[str, str]:
    """Return the reasons why contestants and databases cannot be had, by name."""
    servers = find_missing()
    missing = {name: servers[name] for name in databases if name in servers}
    for name in peers:
        if name in NEEDS and not find_spec(NEEDS[name]):
            missing[name] = f"not installed: {NEEDS[name]}"
        elif name in NEEDS and "redis" in servers:
            missing[name] = servers["redis"]
    return missing


def tasks_of(
    options: argparse.Namespace,
    databases: Iterable[str],
    peers: Sequence[str],
    folder: Path,
    servers: dict[str, DatabaseServer],
) -> Iterator[Task]:
    """Yield a task for each process, and make its database."""
    groups = [
        [name for name in peers if name not in NEEDS],
        *([name] for name in peers if name in NEEDS),
    ]
    runs = product(options.workload, databases, options.writes, filter(None, groups))
    for number, (workload, database, writes, group) in enumerate(runs):
        own = folder / str(number)
        own.mkdir()
        yield Task(
            contestants=group,
            workload=workload,
            database=database,
            writes=writes,
            requests=options.requests,
            settings=settings_of(servers.get(database), own, f"run{number}"),
            folder=str(own),
        )


def settings_of(server: DatabaseServer | None, folder: Path, name: str) -> dict[str, Any]:
    """Return what DATABASES has of a new database."""
    if server is not None:
        server.create_database(name)
        return server.database_settings(name)
    pragmas = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(folder / "site.sqlite3"),
        "OPTIONS": {"init_command": pragmas},
    }


def run(task: Task) -> list[Result]:
    """Run a task in a process, with a Redis if a contestant needs one; return what it found."""
    with ExitStack() as stack:
        if not set(task.contestants).isdisjoint(NEEDS):
            task = replace(task, redis=f"{stack.enter_context(Redis()).url}/0")
        process = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.hit_rate.worker"],
            env={**os.environ, VARIABLE: task.dumped()},
            check=False,
            capture_output=True,
            text=True,
        )
    if process.returncode and set(task.contestants).isdisjoint(NEEDS):
        raise SystemExit(process.stderr)
    found: dict[str, dict[str, Figures]] = {}
    failure = ""
    if process.returncode:
        failure = (process.stderr.strip().splitlines() or ["it has ended"])[-1]
    else:
        found = json.loads(process.stdout)
    print(
        f"{task.workload}, {task.database}, {task.writes}%: {', '.join(task.contestants)}",
        file=sys.stderr,
    )
    return [
        Result(
            workload=task.workload,
            database=task.database,
            writes=task.writes,
            contestant=name,
            kinds=found.get(name, {}),
            failure=failure,
        )
        for name in task.contestants
    ]


if __name__ == "__main__":
    main()
