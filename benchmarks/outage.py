"""The cost of a stopped Redis for a LayeredCache: `python -m benchmarks.outage`.

Two stacks with the same entries take turns: memory+redis+table, whose Redis is stopped and started
again, and memory+table. Each get is timed by itself, as a hit in memory and as a hit below: before
those, memory is emptied, and every key is read once.
"""

from __future__ import annotations

import json
import logging
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.machines import close_connections
from benchmarks.options import parse_options
from benchmarks.peers import is_importable
from benchmarks.report import percentile, print_outcomes, print_table
from benchmarks.targets import Outcome, at_most
from benchmarks.values import build_values
from tests.servers import Redis, find_missing

KIND = "dict"
TIMEOUT_SECONDS = 3_600  # longer than any run
MOST_RATIO = 2.0  # a get while the Redis is down, against one of the stack without it
MOST_SECONDS = 5.0  # until a Redis that is up again is used
GIVE_UP_SECONDS = 30.0
TRY_SECONDS = 0.02  # between two requests of a site while waiting
WITH_REDIS, WITHOUT = "memory+redis+table", "memory+table"
STACKS = {WITH_REDIS: "stack", WITHOUT: "plain"}  # by name: the alias in CACHES
MEMORIES = {WITH_REDIS: "memory", WITHOUT: "plain_memory"}
UP, DOWN = "Redis runs", "Redis is down"
HITS = ("a hit in memory", "a hit below")


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How often the Redis is stopped, and for how long each phase is measured."""

    outages: int
    seconds: float  # shortest outage: the circuit breaker's pause grows meanwhile
    rows: int


PACES = {
    "full": Pace(outages=3, seconds=15.0, rows=2_000),
    "smoke": Pace(outages=1, seconds=0.5, rows=100),
}


@dataclass(kw_only=True)
class Found:
    """The microseconds of single gets, by state of the Redis, stack and kind of hit."""

    get_us: dict[str, dict[str, dict[str, list[float]]]] = field(
        default_factory=lambda: {
            phase: {name: {hit: [] for hit in HITS} for name in STACKS} for phase in (UP, DOWN)
        }
    )
    noticed_seconds: list[float] = field(default_factory=list)
    back_seconds: list[float] = field(default_factory=list)

    def median_us(self, phase: str, name: str, hit: str) -> float:
        """Return the microseconds of a get."""
        return statistics.median(self.get_us[phase][name][hit])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write JSON."""
    options = parse_options("outage", __doc__, arguments)
    if reason := explain_absence():
        print(f"MISSING: redis: {reason}")
        return
    with TemporaryDirectory(prefix="cachelayers-bench-") as folder, Redis(durable=True) as server:
        configure(Path(folder), server.url)
        try:
            found = measure(server, PACES[options.pace])
        finally:
            close_connections()
    outcomes = judge(found)
    show(found)
    print_outcomes(outcomes, pace=options.pace)
    write_json(found, outcomes, options.json)


def explain_absence() -> str | None:
    """Return the reason why nothing can be measured, or None."""
    if not is_importable("django_redis"):
        return "not installed: django_redis"
    return find_missing().get("redis")


def measure(server: Redis, pace: Pace) -> Found:
    """Stop the Redis and start it again, as often as the pace says."""
    found = Found()
    keys = fill(pace.rows)
    for _ in range(pace.outages):
        time_gets(found.get_us[UP], keys)
        server.stop()
        found.noticed_seconds.append(seconds_until(is_noticed))
        deadline = time.monotonic() + pace.seconds
        while time.monotonic() < deadline:
            time_gets(found.get_us[DOWN], keys)
        server.start()
        found.back_seconds.append(seconds_until(is_used_again(server)))
    return found


def fill(rows: int) -> list[str]:
    """Write the same entries to both stacks and return their keys."""
    from django.core.cache import caches

    values = build_values(KIND)
    keys = [f"page:{number}" for number in range(rows)]
    entries = {key: values[number % len(values)] for number, key in enumerate(keys)}
    for alias in STACKS.values():
        caches[alias].set_many(entries, TIMEOUT_SECONDS)
    return keys


def time_gets(get_us: dict[str, dict[str, list[float]]], keys: Sequence[str]) -> None:
    """Get every key below the memory and then in it, on each stack."""
    from django.core.cache import caches

    for name, alias in STACKS.items():
        caches[MEMORIES[name]].clear()
        in_memory, below = HITS
        for hit in (below, in_memory):
            get_us[name][hit] += time_each(caches[alias].get, keys)


def time_each(get: Callable[[str], Any], keys: Sequence[str]) -> list[float]:
    """Return the microseconds of each get; all must be hits."""
    clock = time.perf_counter
    took = []
    for key in keys:
        begin = clock()
        value = get(key)
        took.append((clock() - begin) * 1e6)
        if value is None:
            raise RuntimeError(f"{key!r} is in the table and was not found: no figure of a hit.")
    return took


def is_noticed() -> bool:
    """Make a request; return whether the circuit breaker of the Redis is open."""
    from django.core.cache import caches

    from cachelayers.backends.layered.circuit_breaker import breaker_of

    caches[STACKS[WITH_REDIS]].get("page:0")
    return breaker_of("redis").is_open


def is_used_again(server: Redis) -> Callable[[], bool]:
    """Return a function that writes through the stack and then checks the Redis itself."""
    from django.core.cache import caches

    from cachelayers.backends.layered.circuit_breaker import breaker_of

    client = import_module("redis").Redis.from_url(f"{server.url}/0")

    def is_written() -> bool:
        key = f"back:{time.monotonic_ns()}"
        caches[STACKS[WITH_REDIS]].set(key, "again", TIMEOUT_SECONDS)
        return not breaker_of("redis").is_open and bool(client.keys(f"*{key}"))

    return is_written


def seconds_until(is_so: Callable[[], bool]) -> float:
    """Return the seconds until a condition is true."""
    begin = time.monotonic()
    while not is_so():
        if time.monotonic() - begin > GIVE_UP_SECONDS:
            raise RuntimeError(f"{is_so.__name__} is not so after {GIVE_UP_SECONDS:.0f} s.")
        time.sleep(TRY_SECONDS)
    return time.monotonic() - begin


def judge(found: Found) -> list[Outcome]:
    """Return the outcomes: the cost of an outage, and its end."""
    ratios = {
        hit: found.median_us(DOWN, WITH_REDIS, hit) / found.median_us(DOWN, WITHOUT, hit)
        for hit in HITS
    }
    promised = [
        *((f"{DOWN}: {hit}, against {WITHOUT}", MOST_RATIO, "x", ratios[hit]) for hit in HITS),
        ("Redis is back: seconds until it is used", MOST_SECONDS, " s", max(found.back_seconds)),
    ]
    return [at_most(*each) for each in promised]


def show(found: Found) -> None:
    """Print the delays."""
    rows = [
        [phase, hit, name, *(f"{figure:,.2f}" for figure in delays(get_us))]
        for phase, by_name in found.get_us.items()
        for hit in HITS
        for name, get_us in ((name, by_hit[hit]) for name, by_hit in by_name.items())
    ]
    columns = ["", "", "", "p50 us", "p99", "slowest"]
    print_table("A get of a 1 KB dict, the Redis stopped and started again", columns, rows)
    for what, seconds in (
        ("Stopped, and left alone", found.noticed_seconds),
        ("Started, and used again", found.back_seconds),
    ):
        print(f"{what} after {', '.join(f'{one:.2f}' for one in seconds)} s.")


def delays(get_us: Sequence[float]) -> tuple[float, float, float]:
    """Return the median, the 99th percentile and the maximum."""
    return statistics.median(get_us), percentile(get_us, 99), max(get_us)


def write_json(found: Found, outcomes: Sequence[Outcome], path: Path) -> None:
    """Write the table's figures."""
    gets = [
        {"phase": phase, "stack": name, "hit": hit}
        | dict(zip(("p50_us", "p99_us", "slowest_us"), delays(get_us), strict=True))
        for phase, by_name in found.get_us.items()
        for name, by_hit in by_name.items()
        for hit, get_us in by_hit.items()
    ]
    written = {
        "gets": gets,
        "noticed_seconds": found.noticed_seconds,
        "back_seconds": found.back_seconds,
        "targets": [asdict(outcome) for outcome in outcomes],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(written, indent=1) + "\n")


def configure(folder: Path, url: str) -> None:
    """Set Django up with both stacks, each with a memory and a table of its own."""
    from django.conf import settings

    memory = {"BACKEND": "cachelayers.backends.MemoryCache"}
    settings.configure(
        CACHES={
            "default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"},
            "memory": memory,
            "redis": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": f"{url}/0"},
            "table": table("table"),
            "stack": layered("memory", "redis", "table", bus="redis"),
            "plain_memory": memory,
            "plain_table": table("plain_table"),
            "plain": layered("plain_memory", "plain_table"),
        },
        INSTALLED_APPS=["cachelayers"],
        DATABASES={
            name: {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": folder / f"{name}.sqlite3",
                "OPTIONS": {"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"},
            }
            for name in ("default", "table", "plain_table")
        },
        DATABASE_ROUTERS=["cachelayers.routers.CacheRouter"],
        USE_TZ=True,
    )
    import django
    from django.core.management import call_command

    django.setup()
    logging.getLogger("cachelayers").setLevel(logging.CRITICAL)  # its failures are expected
    for name in ("table", "plain_table"):
        call_command("migrate", database=name, verbosity=0)


def table(database: str) -> dict[str, Any]:
    return {"BACKEND": "cachelayers.backends.DatabaseCache", "LOCATION": database}


def layered(*layers: str, bus: str | None = None) -> dict[str, Any]:
    return {
        "BACKEND": "cachelayers.backends.LayeredCache",
        "OPTIONS": {"LAYERS": list(layers), "BUS": bus},
    }


if __name__ == "__main__":
    main()
