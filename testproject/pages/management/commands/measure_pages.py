"""`manage.py measure_pages`: measure what the cache saves, page by page."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from statistics import median
from time import perf_counter
from typing import Any
from unittest.mock import patch
from uuid import uuid4

from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.handlers.wsgi import WSGIHandler
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections
from django.test import RequestFactory

from cachelayers import unit_of_work
from cachelayers.backends import MemoryCache
from cachelayers.signals import layer_failed
from testproject.airports.models import Country
from testproject.airports.queries import list_countries
from testproject.pages.models import Page

CACHE_ALIAS = "default"
DATABASE_ALIAS = "default"
WARM_RUNS_PER_COLD_RUN = 5
COLD = "cold"


@dataclass
class Tally:
    """The queries and cache reads of one request."""

    queries: int = 0
    cache_reads: int = 0


@dataclass(frozen=True)
class Run:
    """One request, measured."""

    milliseconds: float
    queries: int
    cache_reads: int


@dataclass
class PageRuns:
    """All the requests for one page."""

    name: str
    cold: list[Run] = field(default_factory=list)
    shared: list[Run] = field(default_factory=list)
    local: list[Run] = field(default_factory=list)


@dataclass(frozen=True)
class Layers:
    """The layers that a warm page comes from, by aliases of CACHES."""

    every: Sequence[str]
    local: str  # the memory of this process
    shared: str  # the first layer below, shared by all processes


class Command(BaseCommand):
    help = (
        "Renders typical pages through the whole middleware stack: with an empty cache, from the "
        "layer that all processes share, and from the memory of this process. Prints median times "
        "and numbers of SQL queries. What the cache holds for the site's readers stays as it is: "
        "the measuring happens under a version of its own."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--runs", type=int, default=5, help="Requests with an empty cache, per page."
        )

    def handle(self, *args: object, runs: int, **options: object) -> None:
        if runs < 1:
            raise CommandError(f"--runs is {runs}, and must be 1 or more.")
        with unit_of_work():  # its own unit, so that no page depends on these reads
            pages = typical_pages()
        site, layers = Site(), layers_of(CACHE_ALIAS)
        with failing_layers() as failed:
            measured = [measure(site, layers, name, path, runs) for name, path in pages]
        rows = [headings(layers), *(table_row(page) for page in measured)]
        for line in [*format_table(rows), *explanation(layers, runs)]:
            self.stdout.write(line)
        if failed:
            self.stderr.write(
                f"Failed meanwhile: {', '.join(sorted(failed))}. The pages came from the layers "
                "below, or were made anew."
            )


# Measuring


def typical_pages() -> list[tuple[str, str]]:
    """Return names and paths. CommandError if the site has no data yet."""
    countries = list_countries()
    page = Page.objects.order_by("menu_position").first()
    if not countries or page is None:
        raise CommandError(
            "There is nothing to measure yet. Run `manage.py load_airports` and "
            "`manage.py load_pages` first."
        )
    large, small = countries[0], countries[len(countries) // 2]
    airport = Country.objects.get(code=large["code"]).airports.order_by("-is_hub", "icao")[0]
    return [
        ("world", "/"),
        (f"country, large ({large['name']})", large["url"]),
        (f"country, small ({small['name']})", small["url"]),
        (f"airport ({airport.icao})", airport.get_absolute_url()),
        (f"CMS page ({page.title})", page.get_absolute_url()),
        ("search (san)", "/search/?q=san"),
    ]


def layers_of(alias: str) -> Layers:
    every: Sequence[str] = settings.CACHES[alias]["OPTIONS"]["LAYERS"]
    local = next(name for name in every if isinstance(caches[name], MemoryCache))
    shared = next(name for name in every if not isinstance(caches[name], MemoryCache))
    return Layers(every, local, shared)


def measure(site: "Site", layers: Layers, name: str, path: str, runs: int) -> PageRuns:
    page = PageRuns(name)
    with empty_cache():
        site.visit(path)  # not counted: it compiles templates and opens the databases
    for _ in range(runs):
        with empty_cache():
            page.cold.append(site.visit(path))
            for _ in range(WARM_RUNS_PER_COLD_RUN):
                caches[layers.local].clear()  # of this process only, like a new process
                page.shared.append(site.visit(path))
            page.local.extend(site.visit(path) for _ in range(WARM_RUNS_PER_COLD_RUN))
    return page


@contextmanager
def empty_cache() -> Iterator[None]:
    """Give the block an empty cache, by a version that nothing else uses.

    Clearing the cache would slow down the site. A key prefix would not do, because a LayeredCache
    reads it once.
    """
    cache = caches[CACHE_ALIAS]
    written: set[str] = set()
    with patch.object(cache, "version", uuid4().hex), ExitStack() as stack:
        for name in ("set", "add", "set_many"):
            stack.enter_context(patch.object(cache, name, noting(getattr(cache, name), written)))
        try:
            yield
        finally:
            cache.delete_many(written)


def noting(write: Callable[..., Any], written: set[str]) -> Callable[..., Any]:
    """Return a write function that records its keys, so that they can be deleted afterwards."""

    def note(given: str | Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        written.update([given] if isinstance(given, str) else given)
        return write(given, *args, **kwargs)

    return note


@contextmanager
def failing_layers() -> Iterator[set[str]]:
    """Collect the layers that fail within the block: the pages did not come from them."""
    failed: set[str] = set()

    def note(alias: str, **kwargs: object) -> None:
        failed.add(alias)

    layer_failed.connect(note)
    try:
        yield failed
    finally:
        layer_failed.disconnect(note)


class Site:
    """Requests the site's pages in this process."""

    def __init__(self) -> None:
        self.handler = WSGIHandler()
        self.factory = RequestFactory(SERVER_NAME="127.0.0.1")

    def visit(self, path: str) -> Run:
        """Render a page. CommandError if the status is not 200."""
        environ = self.factory.get(path).environ
        with tallied() as tally:
            start = perf_counter()
            response = self.handler(environ, start_response)
            try:
                b"".join(response)
            finally:
                response.close()
            seconds = perf_counter() - start
        if response.status_code != HTTPStatus.OK:
            raise CommandError(f"{path} answered {response.status_code} instead of 200.")
        return Run(seconds * 1000, tally.queries, tally.cache_reads)


def start_response(*arguments: object) -> Callable[[bytes], object]:
    """Do nothing: Django's handler returns its response, with status and headers."""
    return bytes


@contextmanager
def tallied() -> Iterator[Tally]:
    """Count the queries of the application's database and the reads of the cache in the block."""
    tally = Tally()
    with ExitStack() as stack:
        stack.enter_context(connections[DATABASE_ALIAS].execute_wrapper(counting_queries(tally)))
        count_cache_reads(caches[CACHE_ALIAS], tally, stack)
        yield tally


def counting_queries(tally: Tally) -> Callable[..., Any]:
    def count(execute: Callable[..., Any], *arguments: Any) -> Any:
        tally.queries += 1
        return execute(*arguments)

    return count


def count_cache_reads(cache: BaseCache, tally: Tally, stack: ExitStack) -> None:
    """Count calls of `get` and `get_many`; all other reads use these."""
    for name in ("get", "get_many"):
        read = getattr(cache, name)

        def count(*args: Any, _read: Callable[..., Any] = read, **kwargs: Any) -> Any:
            tally.cache_reads += 1
            return _read(*args, **kwargs)

        stack.enter_context(patch.object(cache, name, count))


# Output


def headings(layers: Layers) -> tuple[str, ...]:
    phases = (COLD, layers.shared, layers.local)
    timed = [cell for phase in phases for cell in (f"{phase} ms", "SQL")]
    return ("page", *timed, "cache reads", "ratio")


def table_row(page: PageRuns) -> tuple[str, ...]:
    phases = (page.cold, page.shared, page.local)
    timed = [cell for runs in phases for cell in (format_ms(runs), format_queries(runs))]
    reads = median(run.cache_reads for run in page.local)
    return (page.name, *timed, f"{reads:g}", f"{median_ms(page.cold) / median_ms(page.local):.0f}x")


def median_ms(runs: Sequence[Run]) -> float:
    return median(run.milliseconds for run in runs)


def format_ms(runs: Sequence[Run]) -> str:
    return f"{median_ms(runs):.2f}"


def format_queries(runs: Sequence[Run]) -> str:
    return f"{median(run.queries for run in runs):g}"


def explanation(layers: Layers, runs: int) -> list[str]:
    """Return the meaning of the columns: each is another layer that a page comes from."""
    warm_runs = runs * WARM_RUNS_PER_COLD_RUN
    bus = settings.CACHES[CACHE_ALIAS]["OPTIONS"]["BUS"]
    return [
        f"{COLD}: nothing is kept, and the page is made.",
        f"{layers.shared}: from this layer, as where a process shows a page that another has made.",
        f"{layers.local}: from the memory of the process, as when it shows the page again.",
        f"ratio: {COLD} to {layers.local}.",
        "SQL: statements in the site's own database. A warm page asks whether it is still true.",
        f"Medians of {runs} requests with an empty cache, and of {warm_runs} from each layer, in",
        "one process and without the network. Each worker that serves the site has a memory of its",
        "own, and finds a page in it from its second visit on.",
        f"Layers of the cache: {', '.join(layers.every)}. Bus: {bus}.",
    ]


def format_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align the first column to the left, the others to the right; draw a line below the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(align_cells(row, widths)) for row in rows]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def align_cells(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    first, *others = row
    return [
        first.ljust(widths[0]),
        *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)),
    ]
