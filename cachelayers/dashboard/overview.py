"""How each cache and each of its layers is, and what they have answered within some time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from django.conf import settings
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from cachelayers.dashboard.history import databases_with_log
from cachelayers.dashboard.plots import Plot, plot
from cachelayers.masking import shown_location, without_secrets
from cachelayers.statistics import (
    Figures,
    LayerState,
    LogState,
    layer_states,
    series,
    totals,
)
from cachelayers.statistics.states import log_state


class Span(NamedTuple):
    """How far back to look, in which steps."""

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
    """One cache as a whole (``layer`` is empty) or one of its layers."""

    cache: str
    layer: str
    figures: Figures
    state: LayerState | None  # None: it is asked by its layers
    error: str
    location: str

    @property
    def percent(self) -> int | None:
        """Return which part of the look-ups found something; None: there were none."""
        ratio = self.figures.hit_ratio
        return None if ratio is None else round(100 * ratio)


@dataclass(frozen=True)
class Seen:
    """All that the overview shows."""

    lines: list[Line]
    plots: list[Plot]
    logs: list[LogState]


def look(span: Span) -> Seen:
    """Ask every layer how it is, and read what all processes have counted."""
    figures = {(total.cache, total.layer): total.figures for total in totals(span.seconds)}
    states = {(state.cache, state.layer): state for state in layer_states()}
    layered = {cache for cache, layer in states if layer}
    names = sorted(
        {*states, *((cache, "") for cache in layered), *(name for name in figures)},
        key=lambda name: order_of(*name),
    )
    found = series(span.seconds, span.step_seconds)
    return Seen(
        [line(*name, figures.get(name, Figures()), states.get(name)) for name in names],
        [
            plot(one, span.step_seconds)
            for one in sorted(found, key=lambda one: order_of(one.cache, one.layer))
            if one.points
            and any(point.figures.hits or point.figures.misses for point in one.points)
        ],
        [state for database in databases_with_log() if (state := log_state(database))],
    )


def line(cache: str, layer: str, figures: Figures, state: LayerState | None) -> Line:
    """Return what is said of a cache or a layer."""
    alias = layer or cache
    return Line(
        cache,
        layer,
        figures,
        state,
        without_secrets(state.error) if state and state.error else "",
        shown_location(alias) if alias in settings.CACHES else "",
    )


def order_of(cache: str, layer: str) -> tuple[int, str, int, str]:
    """Return where a cache or layer is listed: as in CACHES, layers from the fastest on."""
    aliases = list(settings.CACHES)
    options = settings.CACHES.get(cache, {}).get("OPTIONS") or {}
    layers = ["", *options.get("LAYERS", ())]
    return (
        aliases.index(cache) if cache in aliases else len(aliases),
        cache,
        layers.index(layer) if layer in layers else len(layers),
        layer,
    )
