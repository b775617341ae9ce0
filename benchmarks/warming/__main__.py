"""Warm 1,000 pages in several ways, in turns: `python -m benchmarks.warming`, also by `make bench`.

Every way has a process of its own, or two, and begins with an empty cache. Starting Python and
loading the site is not counted: it is the same for all.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.report import print_table

PAGES = 1_000
ROUNDS = 3
CLIENT = "test client"
AIRPORTS, WAITING = "airport pages", "pages that wait 5 ms"
SECONDS_OF_A_STEP = 600

Way = Callable[["Site", Path], float]
Seconds = dict[str, dict[str, list[float]]]


class Site:
    """The demo site in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        """Make its databases."""
        self.folder = folder
        self._environment = {
            **os.environ,
            "TESTPROJECT_DATA": str(folder),
            "DJANGO_SETTINGS_MODULE": "benchmarks.warming.settings",
        }
        for command in (
            ("migrate", "--verbosity=0"),
            ("migrate", "--verbosity=0", "--database=cache"),
            ("collectstatic", "--verbosity=0", "--no-input"),
        ):
            self.run("django", *command)

    def load_airports(self) -> None:
        """Fill it with the real airports."""
        self.run("django", "load_airports")

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a Python module."""
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", *arguments],
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> str:
        """Run a Python module and return its output."""
        return finish(self.begin(*arguments))


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a process and return its output."""
    printed, _ = process.communicate(timeout=SECONDS_OF_A_STEP)
    if process.returncode:
        raise SystemExit(f"{process.args!r} ended with {process.returncode}")
    return printed


def loop_of_the_client(site: Site, urls: Path) -> float:
    """Return the seconds of the plain loop."""
    return float(site.run("benchmarks.warming.client", str(urls)))


def warm_cache(threads: int, shards: int = 1) -> Way:
    """Return a way that runs the command with ``threads`` threads and ``shards`` processes."""

    def warm(site: Site, urls: Path) -> float:
        command = ("django", "warm_cache", f"--urls={urls}", f"--concurrency={threads}", "--json")
        processes = [
            site.begin(*command, f"--shard={number}/{shards}") for number in range(1, shards + 1)
        ]
        found = [json.loads(finish(process)) for process in processes]
        pages = len(urls.read_text(encoding="utf-8").splitlines())
        if sum(one["warmed"] for one in found) != pages:
            raise SystemExit(f"not every page was warmed: {found}")
        return max(float(one["seconds"]) for one in found)

    return warm


WAYS: dict[str, Way] = {
    CLIENT: loop_of_the_client,
    "1 worker": warm_cache(1),
    "2 workers": warm_cache(2),
    "4 workers": warm_cache(4),
    "2 processes": warm_cache(1, shards=2),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.warming", description=__doc__)
    parser.add_argument("--pages", type=int, default=PAGES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path, default=Path("var/bench-warming.json"))
    for name, choices in (("kind", (AIRPORTS, WAITING)), ("way", tuple(WAYS))):
        parser.add_argument(
            f"--{name}", action="append", choices=choices, help=f"only this {name}; repeatable"
        )
    options = parser.parse_args(arguments)
    ways = {name: WAYS[name] for name in options.way or WAYS}
    kinds = options.kind or [AIRPORTS, WAITING]
    with TemporaryDirectory(prefix="cachelayers-bench-") as folder:
        seconds = measure(Path(folder), kinds, ways, options.pages, options.rounds)
    show(seconds, options.pages)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"pages": options.pages, "seconds": seconds}, indent=2))


def measure(
    folder: Path, kinds: Sequence[str], ways: dict[str, Way], pages: int, rounds: int
) -> Seconds:
    """Return the seconds of each round, by kind of page and way."""
    site = Site(folder / "site")
    files = {kind: url_file(site, kind, folder, pages) for kind in kinds}
    seconds: Seconds = {kind: {way: [] for way in ways} for kind in kinds}
    for _ in range(rounds):
        for kind, urls in files.items():
            for name, way in ways.items():
                site.run("django", "clear_cache", "--all", "--no-input", "--verbosity=0")
                seconds[kind][name].append(way(site, urls))
    return seconds


def url_file(site: Site, kind: str, folder: Path, pages: int) -> Path:
    """Write the URLs of a kind of page, and return the file."""
    if kind == AIRPORTS:
        site.load_airports()
        urls = site.run("benchmarks.warming.pages", str(pages)).splitlines()
    else:
        urls = [f"/waiting/{number}/" for number in range(pages)]
    if len(urls) != pages:
        raise SystemExit(f"there are {len(urls)} {kind}, not {pages}")
    file = folder / f"{kind}.txt"
    file.write_text("\n".join(urls), encoding="utf-8")
    return file


def show(seconds: Seconds, pages: int) -> None:
    """Print pages per second, and the speed in multiples of the plain loop's."""
    rows = []
    for kind, by_way in seconds.items():
        client = by_way.get(CLIENT)
        rows.append([kind, *(describe(rounds, client, pages) for rounds in by_way.values())])
    title = f"{pages:,} pages warmed: pages a second (so many times as quick as the {CLIENT})"
    print_table(title, ["", *next(iter(seconds.values()))], rows)


def describe(rounds: Sequence[float], client: Sequence[float] | None, pages: int) -> str:
    """Return a figure such as ``155 (1.05x)``."""
    speed = f"{pages / statistics.median(rounds):,.0f}"
    if client is None or rounds is client:
        return speed
    ratios = [theirs / ours for theirs, ours in zip(client, rounds, strict=True)]
    return f"{speed} ({statistics.median(ratios):.2f}x)"


if __name__ == "__main__":
    main()
