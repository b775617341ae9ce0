"""Exports the counters of caches to Prometheus, through prometheus_client.

The project calls export() once. With PROMETHEUS_MULTIPROC_DIR, each process updates its figures
every STATS_SECONDS; otherwise they are updated at each scrape.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge
from prometheus_client.metrics_core import Metric

from cachelayers.backends import known_breakers, known_stores
from cachelayers.statistics import writer
from cachelayers.utils.counters import Figures, Name

HELP = {
    "hits": "Look-ups in a cache or layer that found an entry",
    "misses": "Look-ups in a cache or layer that found none",
    "sets": "Entries stored",
    "evictions": "Evicted entries",
    "errors": "Operations that failed",
    "fresh": "Recalls that were served a fresh entry",
    "stale": "Recalls that were served a stale entry",
    "computed": "Values computed",
    "joined": "Recalls that waited for another thread's value",
    "waited": "Recalls that waited for another process's value",
    "saved_seconds": "Computing time of the values that were served fresh or stale",
    "computing_seconds": "Time spent on computing values",
}


class Exporter:
    """The counters in one registry, and their update."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Registered before the counters, because the registry collects in this order."""
        registry.register(self)
        self._counters = {
            name: Counter(f"cachelayers_{name}", text, ["cache", "layer"], registry=registry)
            for name, text in HELP.items()
        }
        self._entries = Gauge(
            "cachelayers_memory_entries",
            "Entries in the memory of the processes",
            ["location"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._bytes = Gauge(
            "cachelayers_memory_bytes",
            "What they take",
            ["location"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._skipped = Gauge(
            "cachelayers_layer_skipped",
            "1 where a process skips a layer, because it failed",
            ["layer"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.take({})
        writer.listeners.append(self.take)

    def collectors(self) -> list[Counter | Gauge]:
        """Return all collectors that it has registered, except itself."""
        return [*self._counters.values(), self._entries, self._bytes, self._skipped]

    def describe(self) -> Iterator[Metric]:
        """It has no metrics of its own."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Update the counters, which the registry collects next."""
        writer.notify_listeners()
        return iter(())

    def take(self, news: Mapping[Name, Figures]) -> None:
        """Add the figures counted since the last update."""
        for (cache, layer), figures in news.items():
            for name, amount in figures._asdict().items():
                if amount > 0:
                    self._counters[name].labels(cache, layer).inc(amount)
        for location, store in known_stores().items():
            self._entries.labels(location).set(len(store.records))
            self._bytes.labels(location).set(store.bytes)
        for alias, breaker in known_breakers().items():
            self._skipped.labels(alias).set(breaker.is_open)


exporters: dict[int, Exporter] = {}


def export(registry: CollectorRegistry = REGISTRY) -> None:
    """Export the figures to a registry. Call it once, for example in AppConfig.ready()."""
    if id(registry) not in exporters:
        exporters[id(registry)] = Exporter(registry)
