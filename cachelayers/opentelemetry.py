"""Exports the counters of a process's caches as OpenTelemetry metrics.

The project calls export() once. The figures are read when the meter's reader asks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter_provider

from cachelayers.backends import known_breakers, known_stores
from cachelayers.utils.counters import Figures, figures_of_process

COUNTERS = {
    "hits": ("{hit}", "Look-ups in a cache or layer that found an entry"),
    "misses": ("{miss}", "Look-ups in a cache or layer that found none"),
    "sets": ("{entry}", "Entries stored"),
    "evictions": ("{entry}", "Evicted entries"),
    "errors": ("{error}", "Operations that failed"),
    "saved_seconds": ("s", "Computing time of the values that were served fresh or stale"),
    "computing_seconds": ("s", "Time spent on computing values"),
}
OUTCOMES = ("fresh", "stale", "computed", "joined", "waited")

Observe = Callable[[CallbackOptions], Iterable[Observation]]


def export(provider: MeterProvider | None = None) -> None:
    """Create the instruments. ``provider``: None for the process's own. Call it once."""
    meter = (provider or get_meter_provider()).get_meter("cachelayers")
    for name, (unit, text) in COUNTERS.items():
        meter.create_observable_counter(
            f"cachelayers.{name.removesuffix('_seconds')}", [observe(name)], unit, text
        )
    meter.create_observable_counter(
        "cachelayers.recalls", [observe_outcomes], "{recall}", "Recalls, by result"
    )
    meter.create_observable_gauge(
        "cachelayers.memory.entries", [observe_entries], "{entry}", "Entries in the memory"
    )
    meter.create_observable_gauge(
        "cachelayers.memory.size", [observe_bytes], "By", "What they take"
    )
    meter.create_observable_gauge(
        "cachelayers.layer.skipped", [observe_skipped], "1", "1 where a layer is skipped"
    )


def observe(name: str) -> Observe:
    """Return the callback that observes a figure of every cache and layer."""

    def observe_figure(options: CallbackOptions) -> Iterable[Observation]:
        for (cache, layer), figures in figures_of_process().items():
            yield Observation(getattr(figures, name), {"cache": cache, "layer": layer})

    return observe_figure


def observe_outcomes(options: CallbackOptions) -> Iterable[Observation]:
    for (cache, layer), figures in figures_of_process().items():
        if not layer and has_recalls(figures):
            for outcome in OUTCOMES:
                amount = getattr(figures, outcome)
                yield Observation(amount, {"cache": cache, "outcome": outcome})


def has_recalls(figures: Figures) -> bool:
    """Tell whether recall() has used a cache."""
    return any(getattr(figures, outcome) for outcome in OUTCOMES)


def observe_entries(options: CallbackOptions) -> Iterable[Observation]:
    """Observe the number of entries in each memory cache."""
    for location, store in known_stores().items():
        yield Observation(len(store.records), {"location": location})


def observe_bytes(options: CallbackOptions) -> Iterable[Observation]:
    """Observe the size of each memory cache."""
    for location, store in known_stores().items():
        yield Observation(store.bytes, {"location": location})


def observe_skipped(options: CallbackOptions) -> Iterable[Observation]:
    for alias, breaker in known_breakers().items():
        yield Observation(int(breaker.is_open), {"layer": alias})
