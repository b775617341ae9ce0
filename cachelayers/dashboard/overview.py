"""The state of each cache and layer, and its hits and misses over time.

The admin's overview screen shows it, with plots.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.conf import settings
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from cachelayers.conf import layer_name, layers_of
from cachelayers.dashboard.history import databases_with_log
from cachelayers.statistics import (
    Figures,
    LayerState,
    LogState,
    Point,
    Series,
    layer_states,
    log_state,
    series,
    totals,
)
from cachelayers.utils.text import shown_location, without_secrets

WIDTH = 1000  # of the plot in its own units; the page scales it
HEIGHT = 100
GAP_SHARE = 0.15  # the gap between two bars, as a share of a step
LOWEST = 1.0  # height of the lowest bar


@dataclass(frozen=True)
class Bar:
    """One rectangle. The numbers are texts, because a page would localize numbers."""

    x: str
    y: str
    width: str
    height: str


@dataclass(frozen=True)
class Step:
    """The table row of one bar."""

    at: datetime
    figures: Figures


@dataclass(frozen=True)
class Plot:
    """The plot of one cache or layer. ``most``: lookups in the busiest step."""

    cache: str
    layer: str
    hits: list[Bar]
    misses: list[Bar]
    most: int
    total: Figures
    begins: datetime
    ends: datetime
    steps: list[Step]  # those with any lookup
    step_minutes: int


def plot(series: Series, step_seconds: int) -> Plot:
    """Return the plot of a series, which has at least one point."""
    points = series.points
    most = max(looked_up(point) for point in points)
    total = Figures()
    for point in points:
        total = total.plus(point.figures)
    return Plot(
        series.cache,
        series.layer,
        [bar for at, point in enumerate(points) for bar in hits_bar(at, point, points, most)],
        [bar for at, point in enumerate(points) for bar in misses_bar(at, point, points, most)],
        most,
        total,
        points[0].at,
        points[-1].at,
        [Step(point.at, point.figures) for point in points if looked_up(point)],
        step_seconds // 60,
    )


def looked_up(point: Point) -> int:
    """Return the number of lookups in a step."""
    return point.figures.hits + point.figures.misses


def hits_bar(at: int, point: Point, points: list[Point], most: int) -> list[Bar]:
    """Return the bar of a step's hits, from zero; none without hits."""
    return bar_on(at, len(points), 0.0, height_of(point.figures.hits, most))


def misses_bar(at: int, point: Point, points: list[Point], most: int) -> list[Bar]:
    """Return the bar of a step's misses, on top of its hits."""
    below = height_of(point.figures.hits, most)
    return bar_on(at, len(points), below, height_of(point.figures.misses, most))


def height_of(count: int, most: int) -> float:
    """Return the height of a bar, which is visible even for one lookup."""
    return max(count / most * (HEIGHT - LOWEST), LOWEST) if count else 0.0


def bar_on(at: int, steps: int, below: float, height: float) -> list[Bar]:
    """Return a bar that begins at ``below``."""
    if not height:
        return []
    step = WIDTH / steps
    width = step * (1 - GAP_SHARE)
    top = max(HEIGHT - below - height, 0.0)
    return [Bar(*(f"{number:.2f}" for number in (at * step, top, width, height)))]


class Span(NamedTuple):
    """The time to look back, and the steps."""

    name: str | Promise
    seconds: int
    step_seconds: int


SPANS = {
    "hour": Span(_("last hour"), 3_600, 60),
    "day": Span(_("last day"), 86_400, 1_800),
    "week": Span(_("last week"), 7 * 86_400, 3 * 3_600),
}


@dataclass(frozen=True)
class Line:
    """One cache as a whole (``layer`` is empty), or one of its layers."""

    cache: str
    layer: str
    figures: Figures
    state: LayerState | None  # None: its layers have states
    error: str
    location: str

    @property
    def percent(self) -> int | None:
        """Return the hit ratio in percent; None without lookups."""
        ratio = self.figures.hit_ratio
        return None if ratio is None else round(100 * ratio)


@dataclass(frozen=True)
class Overview:
    """The data of the overview."""

    lines: list[Line]
    plots: list[Plot]
    logs: list[LogState]


def read_overview(span: Span) -> Overview:
    """Get the state of every layer, and read the figures of all processes."""
    figures = {(total.cache, total.layer): total.figures for total in totals(span.seconds)}
    states = {(state.cache, state.layer): state for state in layer_states()}
    layered = {cache for cache, layer in states if layer}
    names = sorted(
        {*states, *((cache, "") for cache in layered), *(name for name in figures)},
        key=lambda name: sort_key(*name),
    )
    found = series(span.seconds, span.step_seconds)
    return Overview(
        [line(*name, figures.get(name, Figures()), states.get(name)) for name in names],
        [
            plot(one, span.step_seconds)
            for one in sorted(found, key=lambda one: sort_key(one.cache, one.layer))
            if one.points
            and any(point.figures.hits or point.figures.misses for point in one.points)
        ],
        [state for database in databases_with_log() if (state := log_state(database))],
    )


def line(cache: str, layer: str, figures: Figures, state: LayerState | None) -> Line:
    alias = layer or cache
    return Line(
        cache,
        layer,
        figures,
        state,
        without_secrets(state.error) if state and state.error else "",
        shown_location(alias) if alias in settings.CACHES else "",
    )


def sort_key(cache: str, layer: str) -> tuple[int, str, int, str]:
    """Return the sort key of a cache or layer: in the order of CACHES, the fastest layer first."""
    aliases = list(settings.CACHES)
    layers = ["", *map(layer_name, layers_of(cache))]
    return (
        aliases.index(cache) if cache in aliases else len(aliases),
        cache,
        layers.index(layer) if layer in layers else len(layers),
        layer,
    )
