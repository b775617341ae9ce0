"""Ask a new site over HTTP, by install in turns: `python -m benchmarks.http`, also by `make bench`.

Each install is a project made by `startproject`, on an SQLite file, served by one process of
gunicorn on loopback; one client asks it again and again over one connection.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from benchmarks.report import print_table

REQUESTS, ROUNDS = 300, 7
# A plain query and a recall both open a connection in each request, as Django does by default.
OPERATIONS = ("nothing", "query", "set", "get", "recall")
LINES, ALIASES, DJANGO = "README's lines", "two aliases", "Django's table"
COMMON = """
ROOT_URLCONF = "benchmarks.http.views"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = [*INSTALLED_APPS, "cachelayers"]
"""
SETTINGS = {
    LINES: """
CACHES = {
    "default": {
        "BACKEND": "cachelayers.backends.LayeredCache",
        "LOCATION": BASE_DIR / "cache.sqlite3",
    }
}
""",
    ALIASES: """
DATABASES["cache"] = {**DATABASES["default"], "NAME": BASE_DIR / "cache.sqlite3"}
DATABASE_ROUTERS = ["cachelayers.routers.CacheRouter"]
CACHES = {
    "default": {
        "BACKEND": "cachelayers.backends.LayeredCache",
        "OPTIONS": {"LAYERS": ["memory", "table"], "BUS": "log"},
    },
    "memory": {"BACKEND": "cachelayers.backends.MemoryCache"},
    "table": {"BACKEND": "cachelayers.backends.DatabaseCache", "LOCATION": "cache"},
}
CACHELAYERS = {"TRACK": ["auth"]}
""",
    # A recall has no layer in memory with it.
    DJANGO: """
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "cached"}
}
""",
}
Times = dict[str, dict[str, list[float]]]  # medians in microseconds, by install and operation


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http", description=__doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS, help="of each kind in a round")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument(
        "--install", action="append", choices=tuple(SETTINGS), help="only this one; repeatable"
    )
    parser.add_argument("--json", type=Path, default=Path("var/bench-http.json"))
    options = parser.parse_args(arguments)
    chosen = {name: SETTINGS[name] for name in options.install or SETTINGS}
    with TemporaryDirectory(prefix="cachelayers-bench-") as folder, ExitStack() as stack:
        clients = {
            install: stack.enter_context(serving(Path(folder) / f"site{number}", settings))
            for number, (install, settings) in enumerate(chosen.items())
        }
        times = measure(clients, options.requests, options.rounds)
    show(times)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"microseconds": times}, indent=2))


def measure(clients: dict[str, HTTPConnection], requests: int, rounds: int) -> Times:
    """Return the median time of a request in each round, by install and operation."""
    times: Times = {install: {one: [] for one in OPERATIONS} for install in clients}
    for round_ in range(rounds + 1):
        for operation in OPERATIONS:
            for install, client in clients.items():
                found = median_time(client, operation, requests)
                if round_:  # the first fills caches
                    times[install][operation].append(found)
    return times


def median_time(client: HTTPConnection, operation: str, requests: int) -> float:
    """Return the median time of a request, in microseconds."""
    found = []
    for _ in range(requests):
        began = perf_counter()
        ask(client, operation)
        found.append(perf_counter() - began)
    return statistics.median(found) * 1e6


def ask(client: HTTPConnection, operation: str) -> None:
    """Make one request. Raises SystemExit if it fails."""
    client.request("GET", f"/{operation}")
    response = client.getresponse()
    response.read()
    if response.status != 200:
        raise SystemExit(f"/{operation} answered {response.status}")


@contextmanager
def serving(folder: Path, settings: str) -> Iterator[HTTPConnection]:
    """Make a new project with settings, serve it, and yield a connection to it."""
    make_project(folder, settings)
    gunicorn = [sys.executable, "-W", "ignore", "-m", "gunicorn", "mysite.wsgi"]
    server = subprocess.Popen(
        [*gunicorn, "--bind=127.0.0.1:0", "--worker-class=gthread", "--threads=1"],
        cwd=folder,
        env=environment(folder),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        client = HTTPConnection("127.0.0.1", port_of(server), timeout=30)
        yield client
        client.close()
    finally:
        server.terminate()
        server.communicate(timeout=30)


def port_of(server: subprocess.Popen[str]) -> int:
    """Return the free port that gunicorn has taken, which it logs."""
    assert server.stderr is not None
    for line in server.stderr:
        if "Listening at: http://" in line:
            return int(line.split("127.0.0.1:")[1].split()[0])
    raise SystemExit("gunicorn did not start")


def make_project(folder: Path, settings: str) -> None:
    folder.mkdir()
    run(folder, "startproject", "mysite", ".")
    with (folder / "mysite" / "settings.py").open("a", encoding="utf-8") as file:
        file.write(COMMON + settings)
    run(folder, "migrate", "--verbosity=0")
    if "CacheRouter" in settings:
        run(folder, "migrate", "cachelayers", "--database=cache", "--verbosity=0")
    if "db.DatabaseCache" in settings:
        run(folder, "createcachetable")


def run(folder: Path, *arguments: str) -> None:
    """Run a management command in a project's folder."""
    command = [sys.executable, "-W", "ignore", "-m", "django", *arguments]
    subprocess.run(command, cwd=folder, env=environment(folder), check=True)


def environment(folder: Path) -> dict[str, str]:
    paths = [str(folder), str(Path(__file__).parents[2])]
    found = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    found.pop("DJANGO_SETTINGS_MODULE", None)
    if (folder / "mysite").exists():
        found["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
    return found


def show(times: Times) -> None:
    """Print microseconds, and how many times as quick the first install is."""
    first, *_ = times
    rows = [
        [one, *(describe(found[one], times[first][one]) for found in times.values())]
        for one in OPERATIONS
    ]
    title = f"A request to a new site: microseconds (so many times as quick: {first})"
    print_table(title, ["", *times], rows)


def describe(rounds: Sequence[float], first: Sequence[float]) -> str:
    """Return a figure such as ``650 (1.05x)``."""
    if rounds is first:
        return f"{statistics.median(rounds):,.0f}"
    ratio = statistics.median(other / one for other, one in zip(rounds, first, strict=True))
    return f"{statistics.median(rounds):,.0f} ({ratio:.2f}x)"


if __name__ == "__main__":
    main()
