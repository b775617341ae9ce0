"""The counts in OpenTelemetry."""

from __future__ import annotations

from typing import Any

from django.core.cache import caches
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from cachelayers import opentelemetry, recall


def observed(reader: InMemoryMetricReader) -> dict[str, dict[tuple[str, ...], Any]]:
    data: Any = reader.get_metrics_data()
    assert data is not None
    return {
        metric.name: {
            tuple(map(str, (point.attributes or {}).values())): point.value
            for point in metric.data.data_points
        }
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def test_a_reader_sees_the_figures_of_the_moment(stack: str) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    opentelemetry.export(provider)
    try:
        caches[stack].set("key", 1)
        for _ in range(3):
            recall("observed:1", lambda: 1, using=stack)

        found = observed(reader)
    finally:
        provider.shutdown()

    assert found["cachelayers.hits"][stack, "counted-memory"] == 2
    assert found["cachelayers.sets"][stack, ""] == 2
    assert found["cachelayers.recalls"][stack, "computed"] == 1
    assert found["cachelayers.recalls"][stack, "fresh"] == 2
    assert found["cachelayers.saved"][stack, ""] > 0
    assert found["cachelayers.memory.entries"]["counted-memory",] == 2
    assert found["cachelayers.memory.size"]["counted-memory",] > 600
