"""Where the bars of a plot stand: hits, and misses above them, step by step. Draws nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cachelayers.statistics import Figures, Point, Series

WIDTH = 1000  # of the plot in its own units; the page stretches it
HEIGHT = 100
GAP_SHARE = 0.15  # of a step, between two bars
LOWEST = 1.0  # of a bar that is not nothing


@dataclass(frozen=True)
class Bar:
    """One rectangle. Texts, because a page would write numbers as its language does."""

    x: str
    y: str
    width: str
    height: str


@dataclass(frozen=True)
class Step:
    """What a table says of one bar."""

    at: datetime
    figures: Figures


@dataclass(frozen=True)
class Plot:
    """One cache or layer over time. ``most``: look-ups in the busiest step."""

    cache: str
    layer: str
    hits: list[Bar]
    misses: list[Bar]
    most: int
    total: Figures
    begins: datetime
    ends: datetime
    steps: list[Step]  # those in which anything was looked up
    step_minutes: int


def plot(series: Series, step_seconds: int) -> Plot:
    """Return the plot of a series, which has one point at least."""
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
    """Return how often something was looked up within a step."""
    return point.figures.hits + point.figures.misses


def hits_bar(at: int, point: Point, points: list[Point], most: int) -> list[Bar]:
    """Return the bar of a step's hits, from the ground up; none where there were none."""
    return stand(at, len(points), 0.0, height_of(point.figures.hits, most))


def misses_bar(at: int, point: Point, points: list[Point], most: int) -> list[Bar]:
    """Return the bar of a step's misses, on top of its hits."""
    below = height_of(point.figures.hits, most)
    return stand(at, len(points), below, height_of(point.figures.misses, most))


def height_of(count: int, most: int) -> float:
    """Return how high a bar is; one that is not nothing can be seen."""
    return max(count / most * (HEIGHT - LOWEST), LOWEST) if count else 0.0


def stand(at: int, steps: int, below: float, height: float) -> list[Bar]:
    """Put a bar on what is below it."""
    if not height:
        return []
    step = WIDTH / steps
    width = step * (1 - GAP_SHARE)
    top = max(HEIGHT - below - height, 0.0)
    return [Bar(*(f"{number:.2f}" for number in (at * step, top, width, height)))]
