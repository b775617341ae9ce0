"""One contender's process: answers each line, which names a kind of work, with seconds per call."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import count
from typing import Any

os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.freshness.settings"

import django

django.setup()

from django.conf import settings  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402

from testproject.airports.models import Airport, Country  # noqa: E402

CONTENDER = os.environ["CACHELAYERS_FRESHNESS_CONTENDER"]
OURS = CONTENDER.startswith("recall")
ROWS = 1_000
serial = count()


def rows(number: int) -> list[str]:
    """Read ``number`` rows, each by its key, as a page does."""
    return [Airport.objects.get(pk=key).name for key in range(1, number + 1)]


def prepare() -> None:
    """Make the tables and the rows."""
    for database in settings.DATABASES:
        call_command("migrate", database=database, verbosity=0)
    Country.objects.create(code="ZZ", name="Measured")
    Airport.objects.bulk_create(
        Airport(
            pk=number,
            icao=f"{number:04}",
            name=f"Airport {number}",
            country_id="ZZ",
            elevation_feet=1,
            latitude=0,
            longitude=0,
            square=0,
            time_zone="UTC",
        )
        for number in range(1, ROWS + 1)
    )
    if CONTENDER == "recall, no triggers":
        from cachelayers.invalidation.sql.analysis import forget_databases
        from cachelayers.invalidation.triggers import remove_triggers

        remove_triggers(connection)
        forget_databases()


def unit() -> AbstractContextManager[Any]:
    """Return a request's unit of work, if the contender has one."""
    if OURS:
        from cachelayers import unit_of_work

        return unit_of_work()
    return nullcontext()


def page(number: int, name: str = "page") -> Callable[[], list[str]]:
    """Return a cached page of ``number`` rows, made as the contender's users would."""
    if OURS:
        from cachelayers import recall

        return lambda: recall(f"{name}:{number}", lambda: rows(number))
    if CONTENDER == "cacheops":
        from cacheops import cached_as

        sources = [Airport.objects.filter(pk=key) for key in range(1, number + 1)]
        made: Callable[[], list[str]] = cached_as(*sources, extra=(name, number))(
            lambda: rows(number)
        )
        return made
    return lambda: rows(number)  # cachalot caches the queries themselves


def hit(number: int) -> Iterator[Callable[[], Any]]:
    """A hit, within one unit of work."""
    view = page(number)
    with unit():
        view()
        yield view


def request(number: int) -> Iterator[Callable[[], Any]]:
    """A hit in a new unit of work each time: ours reads the log first."""
    view = page(number)

    def serve() -> None:
        with unit():
            view()

    serve()
    yield serve


def miss(number: int) -> Iterator[Callable[[], Any]]:
    """A miss: query, compute, store."""

    def serve() -> None:
        key = next(serial)
        with unit():
            if OURS:
                page(number, f"miss-{key}")()
            else:
                # Another limit is another query with the same rows.
                list(Airport.objects.filter(pk=1)[: 10 + key])

    serve()
    yield serve


def query(number: int) -> Iterator[Callable[[], Any]]:
    """A query within a recall, with its dependencies noted; nothing is stored."""
    if OURS:
        from cachelayers.invalidation.dependencies import Capture, capturing
        from cachelayers.invalidation.units import Unit

        with unit(), capturing(Capture(Unit())):
            yield lambda: rows(1)
    elif CONTENDER == "django":
        yield lambda: rows(1)


def save(number: int) -> Iterator[Callable[[], Any]]:
    """Save a row that is not cached."""
    airport = Airport.objects.filter(pk=500)[0]

    def change() -> None:
        airport.elevation_feet = next(serial) % 10_000
        airport.save()

    change()
    yield change


WORKS = {"hit": hit, "request": request, "miss": miss, "query": query, "save": save}


def main() -> None:
    """Prepare, then measure the work that each line names."""
    prepare()
    answer({"ready": True})
    for line in sys.stdin:
        name, number, seconds = json.loads(line)
        answer(measure(name, number, seconds))


def measure(name: str, number: int, seconds: float) -> dict[str, float]:
    """Return the median seconds per call, of batches, and the SQL statements of one call."""
    for call in WORKS[name](number):
        call()
        statements = count_statements(call)
        times = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            began = time.perf_counter()
            for _ in range(10):
                call()
            times.append((time.perf_counter() - began) / 10)
        return {"seconds": sorted(times)[len(times) // 2], "statements": statements}
    return {}


def count_statements(call: Callable[[], Any]) -> int:
    """Return how many statements one call runs on the site's database."""
    found = []

    def note(execute: Any, *arguments: Any) -> Any:
        found.append(arguments[0])
        return execute(*arguments)

    with connection.execute_wrapper(note):
        call()
    return len(found)


def answer(found: dict[str, Any]) -> None:
    """Print the answer as a line."""
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
