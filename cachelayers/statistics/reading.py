"""Read what all processes have counted: sums, and points over time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from cachelayers.statistics.table import MINUTE_SECONDS, read_steps
from cachelayers.stats import Figures, Name


@dataclass(frozen=True, slots=True)
class Total:
    """What a cache or one of its layers has done within some time."""

    cache: str
    layer: str  # "": the cache as a whole
    figures: Figures


@dataclass(frozen=True, slots=True)
class Point:
    """What it has done within one step of time."""

    at: datetime  # where the step begins
    figures: Figures


@dataclass(frozen=True, slots=True)
class Series:
    """What it has done over time, step by step."""

    cache: str
    layer: str
    points: list[Point]


def totals(since_seconds: float = 3600) -> list[Total]:
    """Return the sums of every cache and layer that did something in the last seconds.

    Whole minutes, from the one in which that time began.
    """
    steps = read_steps(first_minute(since_seconds), MINUTE_SECONDS)
    summed: dict[Name, Figures] = {}
    for by_name in steps.values():
        for name, figures in by_name.items():
            summed[name] = summed.get(name, Figures()).plus(figures)
    return [
        Total(*name, figures) for name, figures in sorted(with_layers_own_figures(summed).items())
    ]


def series(since_seconds: float = 3600, step_seconds: int = 60) -> list[Series]:
    """Return the same as points over time. Steps are whole minutes, and begin at round times."""
    step_seconds = max(step_seconds // MINUTE_SECONDS, 1) * MINUTE_SECONDS
    first = first_minute(since_seconds) // step_seconds * step_seconds
    steps = {
        at: with_layers_own_figures(by_name)
        for at, by_name in read_steps(first, step_seconds).items()
    }
    names = sorted({name for by_name in steps.values() for name in by_name})
    return [Series(*name, list(points_of(name, steps, first, step_seconds))) for name in names]


def points_of(
    name: Name, steps: Mapping[int, Mapping[Name, Figures]], first: int, step_seconds: int
) -> Iterator[Point]:
    """Yield a point for every step until now."""
    for at in range(first, int(time.time()) + 1, step_seconds):
        figures = steps.get(at, {}).get(name, Figures())
        yield Point(datetime.fromtimestamp(at, UTC), figures)


def with_layers_own_figures(found: Mapping[Name, Figures]) -> dict[Name, Figures]:
    """Return the figures, with the errors and evictions of a layer's alias beside its hits.

    They happen to the cache that is the layer, whichever stack it is asked by.
    """
    return {
        (cache, layer): figures._replace(
            errors=figures.errors + found[layer, ""].errors,
            evictions=figures.evictions + found[layer, ""].evictions,
        )
        if layer and (layer, "") in found
        else figures
        for (cache, layer), figures in found.items()
    }


def first_minute(since_seconds: float) -> int:
    """Return where the minute begins in which that time began; seconds since 1970."""
    return int(time.time() - since_seconds) // MINUTE_SECONDS * MINUTE_SECONDS
