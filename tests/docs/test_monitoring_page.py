"""The running examples of the pages on monitoring and cache_stats do what the pages show."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.cache import caches
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from prometheus_client import REGISTRY
from pytest_django import Settings

from cachelayers.conf import PackageSettings
from cachelayers.management.commands import cache_stats
from cachelayers.signals import entry_computed
from cachelayers.statistics import Figures, flush
from cachelayers.statistics.states import log_state
from cachelayers.statistics.writing import writer
from cachelayers.utils import counters, tracing
from tests.environment import PROJECT
from tests.library.models import Author, Book
from tests.settings import database_cache, layered_cache, memory_cache

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TIME = re.compile(r"\d[\d.,]* (?:ms|s|min|h)\b")
CHANGING = re.compile(r"(works +)\d+( +T ago)")  # rows of the log
QUERIES: dict[str, Any] = {"__name__": "library.queries", "Book": Book}
CODE = """
def books_on(shelf):
    return list(Book.objects.filter(shelf=shelf).values_list("title", flat=True))
"""
exec(compile(CODE, str(PROJECT / "library" / "queries.py"), "exec"), QUERIES)


def shelf(request: HttpRequest) -> HttpResponse:
    time.sleep(0.05)
    return HttpResponse([*QUERIES["books_on"](1), *QUERIES["titles_by"]("Ann")])


urlpatterns = [path("shelf/", shelf, name="shelf")]


def blocks(page: str) -> list[tuple[str, str]]:
    text = (PROJECT / "docs" / page).read_text(encoding="utf-8")
    return [(match[1], match[2]) for match in BLOCK.finditer(text)]


def python_block(words: str, page: str = "monitoring.md") -> str:
    [found] = [block for kind, block in blocks(page) if kind == "python" and words in block]
    return found


def without_times(text: str) -> list[list[str]]:
    """Return the words of each line: times, sizes and widths change from run to run."""
    told = CHANGING.sub(r"\1N\2", TIME.sub("T", text))
    return [re.sub(r"\b715\b|\b\d{3,4}\b", "B", line).split() for line in told.splitlines() if line]


def check_console(words: str, page: str = "monitoring.md") -> str:
    """Run a command of a page; check that its output is that of the page, and return it."""
    found = [block for kind, block in blocks(page) if kind == "console"]
    [block] = [block for block in found if f" {words}\n" in block]
    command, _, shown = block.removeprefix("$ python manage.py ").partition("\n")
    out = StringIO()

    call_command(*command.split(), stdout=out, no_color=True)

    if shown:
        assert without_times(out.getvalue()) == without_times(shown)
    return out.getvalue()


@pytest.fixture
def _library(
    transactional_db: None, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """One database, two layers, an author, and no counts."""
    shown: dict[str, Any] = {}
    exec(python_block("ADVISE_SAMPLE"), shown)
    # Everything is timed, because a sample would vary.
    settings.CACHELAYERS = {**shown["CACHELAYERS"], "ADVISE_SAMPLE": 1.0}
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = ["cachelayers.middleware.unit_of_work_middleware"]
    settings.CACHES = {
        "default": layered_cache("memory", "database", bus="log"),
        "memory": memory_cache(),
        "database": database_cache("default"),
    }
    monkeypatch.setattr(cache_stats, "log_states", lambda: [log_state("default")])
    Book.objects.create(title="Harbours", shelf=1, author=Author.objects.create(name="Ann"))
    caches["memory"].clear()
    counters.begin_anew_after_fork()
    tracing.pending_samples.clear()
    writer.reset_after_fork()
    yield
    caches["memory"].clear()


@pytest.mark.usefixtures("_library")
def test_the_examples_of_monitoring_run_as_shown(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    exec(python_block("def titles_by", "cache_stats.md"), QUERIES)
    flush()

    exec(python_block("import flush"), {})
    assert "default memory 4 0.8\n" in capsys.readouterr().out

    caches["default"].clear()
    with tracing.sampling():
        QUERIES["titles_by"]("Ann")
    for one in list(tracing.pending_samples):
        if one.kind != "recall":  # the query ran once: the page lists what ran again
            tracing.pending_samples.remove(one)
    for _ in range(3):
        client.get("/shelf/")
    flush()
    check_console("--advise")


@pytest.mark.usefixtures("_library")
def test_the_example_of_cache_stats_runs_as_shown() -> None:
    page = "cache_stats.md"
    exec(python_block("def titles_by", page), QUERIES)
    flush()

    check_console("cache_stats --since 15m", page)
    told = json.loads(check_console("cache_stats --json", page))

    text = (PROJECT / "docs" / page).read_text(encoding="utf-8")
    assert all(f"| `{key}` |" in text for key in told)
    assert all(f"`{key}`" in text for key in (*keys_of_layer(told), *told["logs"][0]))


def keys_of_layer(told: dict[str, Any]) -> list[str]:
    """Return the keys of a layer that are not figures."""
    return [name for name in told["layers"][0] if name not in Figures._fields]


def test_the_receiver_is_called(transactional_db: None) -> None:
    shown: dict[str, Any] = {}
    exec(python_block("@receiver", "signals.md"), shown)
    try:
        entry_computed.send(
            None, alias="default", key="slow:1", seconds=0.7, tags=[], is_storable=True
        )
    finally:
        entry_computed.disconnect(shown["note_slow_entries"])

    assert shown["slow"] == ["slow:1"]


def test_the_exporters_are_called_as_shown() -> None:
    from cachelayers import prometheus

    listeners = list(writer.listeners)
    try:
        exec(python_block("prometheus.export()"), {})
        exec(python_block("opentelemetry.export()"), {})
        assert REGISTRY.get_sample_value("cachelayers_layer_skipped", {"layer": "none"}) is None
        assert id(REGISTRY) in prometheus.exporters
    finally:
        writer.listeners[:] = listeners
        exporter = prometheus.exporters.pop(id(REGISTRY))
        for collector in (exporter, *exporter.collectors()):
            REGISTRY.unregister(collector)


@pytest.mark.parametrize(
    "name",
    [name for name in PackageSettings.__dataclass_fields__ if name[:5] in {"STATS", "ADVIS"}],
)
def test_every_setting_of_statistics_is_on_the_page(name: str) -> None:
    page = (PROJECT / "docs" / "monitoring.md").read_text(encoding="utf-8")

    assert f"| `{name}` |" in page
