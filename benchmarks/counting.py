"""The cost of statistics for a call: `python -m benchmarks.counting`.

Runs the same operation with and without the lines that count, in turns: the second version is the
method without these lines of its source. The last table shows the cost outside of calls.
"""

from __future__ import annotations

import inspect
import json
import re
import statistics
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.options import parse_options
from benchmarks.outage import layered, table
from benchmarks.report import print_outcomes, print_table
from benchmarks.targets import Outcome, at_most

MOST_US = 1.0  # that counting may add to a call
COUNTS_ONE = re.compile(r"^\s*self\._cell\.\w+ [-+]= (1|len\(found\))$\n", re.MULTILINE)
COUNTS_RESULT = re.compile(r"self\._cell\.\w+ \+= (?=self\.)")
ROWS = 40  # of caches and layers, written together


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long each figure is measured."""

    rounds: int
    calls: int  # of a quick operation, in a round


PACES = {"full": Pace(rounds=60, calls=20_000), "smoke": Pace(rounds=3, calls=50)}


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The microseconds of a call: medians of the rounds."""

    operation: str
    without_us: float
    with_us: float
    added_us: float  # median of the differences


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write JSON."""
    options = parse_options("counting", __doc__, arguments)
    with TemporaryDirectory(prefix="cachelayers-bench-") as folder:
        configure(Path(folder))
        costs = list(measure_costs(PACES[options.pace]))
        apart = dict(measure_apart(PACES[options.pace]))
    outcomes = judge(costs)
    show(costs, apart)
    print_outcomes(outcomes, pace=options.pace)
    write_json(costs, apart, outcomes, options.json)


def measure_costs(pace: Pace) -> Iterator[Cost]:
    """Yield the cost that counting adds to each operation."""
    from django.core.cache import caches

    from cachelayers import recall, unit_of_work
    from cachelayers.lookup import peeking

    memory, stack, rows = caches["memory"], caches["stack"], caches["table"]
    for cache in (memory, stack, rows):
        cache.set("key", "value" * 20, None)
    with unit_of_work():
        stack.get("key")
        recall("name:1", int, using="stack", timeout=None)
        for operation, owner, method, call, share in (
            ("MemoryCache: get, a hit", memory, "get", lambda: memory.get("key"), 1),
            ("MemoryCache: get, a miss", memory, "get", lambda: memory.get("absent"), 1),
            ("MemoryCache: set", memory, "set", lambda: memory.set("other", "value"), 4),
            ("LayeredCache: get, a hit in memory", stack, "get", lambda: stack.get("key"), 1),
            ("DatabaseCache: get, a hit", rows, "get", lambda: rows.get("key"), 20),
        ):
            twin = without_counting(type(owner), method)
            without = partial(replaced, type(owner), method, twin)
            yield compare(operation, call, without, pace, share)
        yield compare(
            "recall: a hit in memory",
            lambda: recall("name:1", int, using="stack", timeout=None),
            partial(replaced, peeking, "note_peeked", ignore),
            pace,
            10,
        )


def ignore(*arguments: object) -> None:
    """Replace a call that counts."""


def without_counting(owner: type, method: str) -> Callable[..., Any]:
    """Return a method without the lines that count."""
    function: Any = getattr(owner, method)
    source = textwrap.dedent(inspect.getsource(function))
    plain = COUNTS_RESULT.sub("", COUNTS_ONE.sub("", source))
    if plain == source or "_cell" in plain:
        raise RuntimeError(f"{owner.__name__}.{method} counts in a way that is not known here.")
    namespace: dict[str, Any] = {}
    exec(compile(plain, f"<{method} without counting>", "exec"), function.__globals__, namespace)
    twin: Callable[..., Any] = namespace[method]
    return twin


@contextmanager
def replaced(owner: Any, name: str, other: Any) -> Iterator[None]:
    """Replace an attribute within the block."""
    own = getattr(owner, name)
    setattr(owner, name, other)
    try:
        yield
    finally:
        setattr(owner, name, own)


def compare(
    operation: str,
    call: Callable[[], Any],
    without: Callable[[], AbstractContextManager[None]],
    pace: Pace,
    share: int,
) -> Cost:
    """Time a call with and without counting, in turns; fewer calls for a slow one."""
    calls = max(pace.calls // share, 10)
    plain, counted = [], []
    for _ in range(pace.rounds):
        with without():
            plain.append(time_calls(call, calls))
        counted.append(time_calls(call, calls))
    differences = [after - before for before, after in zip(plain, counted, strict=True)]
    return Cost(
        operation=operation,
        without_us=statistics.median(plain),
        with_us=statistics.median(counted),
        added_us=statistics.median(differences),
    )


def time_calls(call: Callable[[], Any], calls: int) -> float:
    """Return the microseconds of a call."""
    begin = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - begin) / calls * 1e6


def measure_apart(pace: Pace) -> Iterator[tuple[str, float]]:
    """Yield the microseconds of periodic work."""
    from django.db import connection

    from cachelayers import unit_of_work
    from cachelayers.statistics import flush, totals
    from cachelayers.utils.counters import cell_of
    from cachelayers.utils.tracing import sampling

    def write() -> None:
        for number in range(ROWS):
            cell_of("bench", f"layer-{number}").hits += 1
        if not flush():
            raise RuntimeError("The statistics could not be written: no figure of a write.")

    def query() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT name FROM django_migrations WHERE id = %s", [1])

    rounds = max(pace.rounds, 3)
    yield f"a write of {ROWS} rows, every 10 s", median_us(write, rounds)
    yield "reading the sums of an hour", median_us(totals, rounds)
    with unit_of_work():
        plain = median_us(query, rounds * 5)
        with sampling():
            yield "a query that is timed, beyond the query", median_us(query, rounds * 5) - plain


def median_us(call: Callable[[], Any], rounds: int) -> float:
    """Return the microseconds of a call."""
    return statistics.median(time_calls(call, 1) for _ in range(rounds))


def judge(costs: Sequence[Cost]) -> list[Outcome]:
    """Return the outcome of each operation."""
    return [at_most(f"counting: {cost.operation}", MOST_US, " us", cost.added_us) for cost in costs]


def show(costs: Sequence[Cost], apart: dict[str, float]) -> None:
    """Print both tables."""
    rows = [
        [cost.operation, *(f"{us:.3f}" for us in (cost.without_us, cost.with_us, cost.added_us))]
        for cost in costs
    ]
    print_table("What counting adds to a call", ["", "without us", "with us", "added us"], rows)
    print_table(
        "Apart from any call", ["", "us"], [[what, f"{us:,.1f}"] for what, us in apart.items()]
    )


def write_json(
    costs: Sequence[Cost], apart: dict[str, float], outcomes: Sequence[Outcome], path: Path
) -> None:
    """Write the tables' figures."""
    written = {
        "costs": [asdict(cost) for cost in costs],
        "apart_us": apart,
        "targets": [asdict(outcome) for outcome in outcomes],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(written, indent=1) + "\n")


def configure(folder: Path) -> None:
    """Set Django up with a memory, a table, and a stack of both."""
    from django.conf import settings

    memory = {"BACKEND": "cachelayers.backends.MemoryCache"}
    settings.configure(
        CACHES={
            "default": memory,
            "memory": memory,
            "table": table("table"),
            "stack": layered("stack_memory", "stack_table"),
            "stack_memory": memory,
            "stack_table": table("table"),
        },
        INSTALLED_APPS=["cachelayers"],
        DATABASES={
            name: {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": folder / f"{name}.sqlite3",
                "OPTIONS": {"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"},
            }
            for name in ("default", "table")
        },
        DATABASE_ROUTERS=["cachelayers.routers.CacheRouter"],
        USE_TZ=True,
    )
    import django
    from django.core.management import call_command

    django.setup()
    for name in ("default", "table"):
        call_command("migrate", database=name, verbosity=0)


if __name__ == "__main__":
    main()
