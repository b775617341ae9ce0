"""Run the contenders side by side: `python -m benchmarks.freshness`, also by `make bench`."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.report import print_table
from tests.servers import Postgres, Redis, find_missing, postgres_settings

CONTENDERS = (
    "django",
    "recall, redis",
    "recall, table",
    "recall, no triggers",
    "cachalot",
    "cacheops",
)
WORKS = [
    *(("hit", number) for number in (1, 5, 20)),
    *(("request", number) for number in (1, 20)),
    ("miss", 1),
    ("query", 1),
    ("save", 1),
]
ROUNDS = 5
Figures = dict[tuple[str, int], dict[str, list[dict[str, float]]]]


class Contender:
    """A contender's process, with databases of its own."""

    def __init__(self, name: str, databases: dict[str, Any], redis: str) -> None:
        """Start the process, which makes its tables."""
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.freshness.worker"],
            env={
                **os.environ,
                "CACHELAYERS_FRESHNESS_CONTENDER": name,
                "CACHELAYERS_FRESHNESS_REDIS": redis,
                "CACHELAYERS_FRESHNESS_DATABASES": json.dumps(databases),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def read_answer(self) -> dict[str, Any]:
        """Return the process's next line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} has ended; what it said is above.")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def measure(self, work: str, number: int, seconds: float) -> dict[str, float]:
        """Measure one kind of work in the process."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([work, number, seconds]) + "\n")
        self.process.stdin.flush()
        return self.read_answer()

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)


def main() -> None:
    """Measure on SQLite and PostgreSQL, print tables, write JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.freshness", description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.4, help="for each figure of a round")
    parser.add_argument("--json", type=Path, default=Path("var/bench-freshness.json"))
    options = parser.parse_args()
    missing = find_missing()
    if "redis" in missing:
        sys.exit(f"Redis is missing: {missing['redis']}")
    found: dict[str, Any] = {}
    for database in ("sqlite", "postgres"):
        if database in missing:
            sys.stdout.write(f"MISSING: {database}: {missing[database]}\n")
            continue
        figures = measure_on(database, options.seconds)
        show(database, figures)
        found[database] = {f"{work} {number}": named for (work, number), named in figures.items()}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(found, indent=1) + "\n")


def measure_on(database: str, seconds: float) -> Figures:
    """Run all contenders in turn, round after round."""
    figures: Figures = {work: {} for work in WORKS}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="cachelayers-bench-")))
        contenders = []
        for number, name in enumerate(CONTENDERS):
            redis = stack.enter_context(Redis())
            databases = databases_for(database, folder, number, stack)
            contenders.append(Contender(name, databases, f"{redis.url}/0"))
            stack.callback(contenders[-1].end)
        for contender in contenders:
            contender.read_answer()
        for _ in range(ROUNDS):
            for work in WORKS:
                for contender in contenders:
                    if answer := contender.measure(*work, seconds):
                        figures[work].setdefault(contender.name, []).append(answer)
    return figures


def databases_for(
    database: str, folder: Path, number: int, stack: ExitStack
) -> dict[str, dict[str, Any]]:
    """Return a contender's databases: on SQLite the cache has a file of its own."""
    if database == "postgres":
        server = stack.enter_context(Postgres(durable=True))
        server.create_database("bench")
        return {"default": postgres_settings(server.port, "bench")}
    return {
        name: {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(folder / f"{name}{number}.sqlite3"),
            "OPTIONS": {
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
            },
        }
        for name in ("default", "cache")
    }


def show(database: str, figures: Figures) -> None:
    """Print microseconds and statements per call, and the ratio to ours on Redis."""
    lines = []
    for (work, number), named in figures.items():
        ours = median(named.get("recall, redis", []))
        cells = [cell(named.get(name, []), ours) for name in CONTENDERS]
        lines.append([f"{work}, {number}", *cells])
    print_table(
        f"{database}: microseconds a call / SQL statements (times ours on Redis)",
        ["", *CONTENDERS],
        lines,
    )
    sys.stdout.flush()


def median(answers: list[dict[str, float]]) -> float:
    """Return the median of the rounds, in microseconds; 0 for none."""
    return statistics.median(one["seconds"] for one in answers) * 1e6 if answers else 0.0


def cell(answers: list[dict[str, float]], ours: float) -> str:
    """Return one figure of the table."""
    if not answers:
        return "-"
    microseconds = median(answers)
    ratio = f" ({microseconds / ours:.2f}x)" if ours else ""
    return f"{microseconds:,.0f} / {answers[-1]['statements']:g}{ratio}"


if __name__ == "__main__":
    main()
