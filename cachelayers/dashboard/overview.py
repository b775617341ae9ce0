"""The state of each cache and layer, and its hits and misses over time.

The admin's overview screen shows it, with plots.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.conf import settings
from django.utils.formats import number_format
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from cachelayers.conf import layer_name, layers_of
from cachelayers.dashboard.history import databases_with_log
from cachelayers.dashboard.hot import HotList, read_hot
from cachelayers.statistics import (
    KEPT_KINDS,
    Ended,
    Figures,
    LayerState,
    LogState,
    Point,
    Series,
    advice,
    ended,
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

    @property
    def percent(self) -> int | None:
        """Return the hit ratio in percent; None without lookups."""
        return percent_of(self.figures)


@dataclass(frozen=True)
class Plot:
    """The plot of one cache or layer. ``most``: lookups in the busiest step.

    ``ratio``: the points of the hit ratio's lines; steps without lookups interrupt them.
    """

    cache: str
    layer: str
    hits: list[Bar]
    misses: list[Bar]
    ratio: list[str]
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
        ratio_lines(points),
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


def ratio_lines(points: list[Point]) -> list[str]:
    """Return the hit ratio over time, as the points of lines: level within a step."""
    step = WIDTH / len(points)
    lines: list[list[str]] = [[]]
    for at, point in enumerate(points):
        ratio = point.figures.hit_ratio
        if ratio is None:
            lines.append([])
        else:
            top = LOWEST + (1 - ratio) * (HEIGHT - 2 * LOWEST)
            lines[-1] += [f"{x:.2f},{top:.2f}" for x in (at * step, (at + 1) * step)]
    return [" ".join(line) for line in lines if line]


def percent_of(figures: Figures) -> int | None:
    """Return a hit ratio in percent; None without lookups."""
    ratio = figures.hit_ratio
    return None if ratio is None else round(100 * ratio)


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
    "hour": Span(gettext_lazy("last hour"), 3_600, 60),
    "day": Span(gettext_lazy("last day"), 86_400, 1_800),
    "week": Span(gettext_lazy("last week"), 7 * 86_400, 3 * 3_600),
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
    # The steps of the time span in which it failed: the beginnings of the first and the last.
    failed_first: datetime | None = None
    failed_last: datetime | None = None

    @property
    def percent(self) -> int | None:
        """Return the hit ratio in percent; None without lookups."""
        return percent_of(self.figures)

    @property
    def size(self) -> str:
        """Return the bytes, and their bound if there is one; "" if they are unknown."""
        if self.state is None or self.state.bytes is None:
            return ""
        return size_of(self.state.bytes, self.state.max_bytes)


@dataclass(frozen=True)
class Usage:
    """The sampled use of one function or fragment, scaled up to all calls."""

    kind: str
    name: str
    figures: Figures  # hits, misses, and the times
    stored_bytes: int = 0  # of all values that were stored; 0: unknown

    @property
    def percent(self) -> int | None:
        """Return the hit ratio in percent; None without lookups."""
        return percent_of(self.figures)

    @property
    def size(self) -> str:
        """Return the bytes that were stored; "" if they are unknown."""
        return with_unit(self.stored_bytes) if self.stored_bytes else ""


DAY_SECONDS = 86_400
MOST_USAGES = 50
MOST_ENDINGS = 20


def read_usages() -> list[Usage]:
    """Return what was cached by function and fragment in the last day, the most saved first."""
    return [
        Usage(
            one.kind,
            one.name,
            Figures(
                hits=one.repeats,
                misses=max(one.calls - one.repeats, 0),
                saved_seconds=one.saving_seconds,
                computing_seconds=one.seconds,
            ),
            one.stored_bytes,
        )
        for one in advice(DAY_SECONDS, MOST_USAGES, KEPT_KINDS)
    ]


@dataclass(frozen=True)
class Overview:
    """The data of the overview."""

    lines: list[Line]
    usages: list[Usage]
    endings: list[Ended]
    plots: list[Plot]
    logs: list[LogState]
    hot: list[HotList]


SMALL_PART = 100
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def size_of(count: int, bound: int | None) -> str:
    """Return a size such as "174 of 256 MiB"; a small part of its bound has its own unit."""
    if bound is None:
        return with_unit(count)
    power = power_of(bound)
    small = count and count < bound / SMALL_PART
    shown = with_unit(count) if small else amount(count, power)
    return _("%(size)s of %(bound)s") % {"size": shown, "bound": with_unit(bound)}


def power_of(count: int) -> int:
    """Return the index of the unit in which a number of bytes is shown."""
    return min((max(count, 1).bit_length() - 1) // 10, len(UNITS) - 1)


def with_unit(count: int) -> str:
    """Return a number of bytes with its unit."""
    power = power_of(count)
    return f"{amount(count, power)} {UNITS[power]}"


def amount(count: int, power: int) -> str:
    """Return a number of bytes in a unit: whole if it is large, else with one digit."""
    number = count / 1024**power
    is_whole = number >= 10 or number == int(number)
    return number_format(round(number) if is_whole else number, None if is_whole else 1)


def read_overview(span: Span, *, with_tags: bool = False) -> Overview:
    """Get the state of every layer, and read the figures of all processes.

    ``with_tags``: also read which tags were invalidated most. They contain primary keys.
    """
    figures = {(total.cache, total.layer): total.figures for total in totals(span.seconds)}
    states = {(state.cache, state.layer): state for state in layer_states()}
    layered = {cache for cache, layer in states if layer}
    names = sorted(
        {*states, *((cache, "") for cache in layered), *(name for name in figures)},
        key=lambda name: sort_key(*name),
    )
    logs = [state for database in databases_with_log() if (state := log_state(database))]
    readable = [log.database for log in logs if with_tags and not log.error]
    found = series(span.seconds, span.step_seconds)
    failed = {(one.cache, one.layer): failed_steps(one) for one in found}
    return Overview(
        [
            line(
                name,
                figures.get(name, Figures()),
                states.get(name),
                # A layer's errors are counted by its own alias.
                failed.get((name[1] or name[0], ""), []),
            )
            for name in names
        ],
        read_usages(),
        ended(DAY_SECONDS, MOST_ENDINGS),
        [
            plot(one, span.step_seconds)
            for one in sorted(found, key=lambda one: sort_key(one.cache, one.layer))
            if one.points
            and any(point.figures.hits or point.figures.misses for point in one.points)
        ],
        logs,
        list(read_hot(readable, span.seconds)),
    )


def failed_steps(series: Series) -> list[datetime]:
    """Return the beginnings of the steps in which there were errors."""
    return [point.at for point in series.points if point.figures.errors]


def line(
    name: tuple[str, str], figures: Figures, state: LayerState | None, failed: list[datetime]
) -> Line:
    """Return the row of a cache or layer. ``failed``: the times at which it failed."""
    cache, layer = name
    alias = layer or cache
    return Line(
        cache,
        layer,
        figures,
        state,
        without_secrets(state.error) if state and state.error else "",
        shown_location(alias) if alias in settings.CACHES else "",
        failed[0] if failed else None,
        failed[-1] if failed else None,
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
