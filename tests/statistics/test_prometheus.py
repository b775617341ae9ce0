"""The counts in Prometheus, from one process and from several."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.cache import caches
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from cachelayers import prometheus
from cachelayers.statistics.writing import writer
from tests.conftest import RunPython


@pytest.fixture
def registry() -> Iterator[CollectorRegistry]:
    made = CollectorRegistry()
    before = list(writer.listeners)
    yield made
    writer.listeners[:] = before
    prometheus.exporters.pop(id(made), None)


def samples_of(registry: CollectorRegistry) -> dict[tuple[str, str], float]:
    text = generate_latest(registry).decode()
    return {
        (sample.name, sample.labels.get("cache") or sample.labels.get("location", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_scrape_shows_the_figures_of_the_moment(registry: CollectorRegistry) -> None:
    prometheus.export(registry)
    prometheus.export(registry)  # a second call has no effect
    cache = caches["memory"]
    cache.clear()
    cache.set("key", 1)
    cache.get("key")
    cache.get("absent")

    found = samples_of(registry)
    cache.get("key")
    later = samples_of(registry)

    assert found["cachelayers_hits_total", "memory"] == 1
    assert found["cachelayers_misses_total", "memory"] == 1
    assert found["cachelayers_sets_total", "memory"] == 1
    assert found["cachelayers_memory_entries", "memory"] == 1
    assert found["cachelayers_memory_bytes", "memory"] > 300
    assert later["cachelayers_hits_total", "memory"] == 2


WORKER = """
import json, sys, time
import django
from django.conf import settings
settings.CACHELAYERS = {**settings.CACHELAYERS, "STATS_SECONDS": 0.05}
django.setup()
from django.core.cache import caches
from prometheus_client import REGISTRY
from cachelayers import prometheus, unit_of_work
prometheus.export()
caches["memory"].set("key", 1)
with unit_of_work():
    for _ in range(int(sys.argv[1])):
        caches["memory"].get("key")
"""


@pytest.mark.usefixtures("statistics_table")
def test_several_processes_are_added_up(
    run_python: RunPython, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    workers = [run_python(WORKER, hits) for hits in (3, 4)]
    assert [worker.communicate(timeout=60)[1] for worker in workers] == ["", ""]
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]

    found = samples_of(registry)

    assert found["cachelayers_hits_total", "memory"] == 7
    assert json.dumps(found["cachelayers_sets_total", "memory"]) == "2.0"
