"""Measure fragments beside their peers: `python -m benchmarks.fragments`, also by `make bench`.

Hits: a page of many fragments, and one of a single fragment; the contenders take turns. Changes: a
cached list of 100 cached rows, after one of them was edited.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.fragments.contenders import (
    CONTENDERS,
    DJANGO,
    FRAGMENT,
    FRAGMENTS,
    NOTHING,
    Contender,
    list_airports,
    names,
    present_contenders,
    take_renders,
)
from benchmarks.fragments.world import REDIS, ROWS, STORES, made_world
from benchmarks.options import parse_options
from benchmarks.report import print_outcomes, print_table
from benchmarks.targets import Outcome, at_most

MOST_TIMES_A_HIT = 1.5  # a fragment against Django's `{% cache %}`, in the same cache
LEAST_TIMES_AS_QUICK = 5.0  # a list of fragments, against single fragments of Django's, on Redis
CHANGED_STORES = ("layered", REDIS)
OURS = (FRAGMENT.name, FRAGMENTS.name)
SIZES = (ROWS, 1)  # fragments of a page

Render = Callable[[], str]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """The number of rounds for each figure, and their length."""

    rounds: int
    seconds: float  # of rendering hits, for each contender
    edits: int


PACES = {
    "full": Pace(rounds=15, seconds=0.06, edits=30),
    "smoke": Pace(rounds=1, seconds=0.001, edits=2),
}


@dataclass(kw_only=True)
class Found:
    """Seconds of a page by round, and the number of rendered fragments."""

    # By store, number of fragments and contender.
    hits: dict[tuple[str, int, str], list[float]] = field(default_factory=dict)
    # By store and contender.
    edits: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    renders: dict[tuple[str, str], set[tuple[int, int]]] = field(default_factory=dict)
    renders_again: dict[tuple[str, str], set[tuple[int, int]]] = field(default_factory=dict)

    def ratio(self, store: str, size: int, contender: str) -> float | None:
        """Return the time of a hit in multiples of Django's; None: it was not measured."""
        own, peer = (self.hits.get((store, size, name)) for name in (contender, DJANGO.name))
        return None if own is None or peer is None else median_ratio(own, peer)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write JSON."""
    options = parse_options("fragments", __doc__, arguments)
    pace = PACES[options.pace]
    contenders, absent = present_contenders()
    found = Found()
    with made_world() as missing:
        for store in STORES:
            if store not in missing:
                measure_hits(found, store, contenders, pace)
        for store in CHANGED_STORES:
            if store not in missing:
                measure_edits(found, store, contenders, pace)
    outcomes = judge(found)
    show_hits(found)
    show_edits(found)
    print_outcomes(outcomes, pace=options.pace)
    for name, reason in {**missing, **absent}.items():
        print(f"MISSING: {name}: {reason}")
    write_json(found, outcomes, options.json)


# Hits


def measure_hits(found: Found, store: str, contenders: Sequence[Contender], pace: Pace) -> None:
    """Render pages whose fragments are all hits; the contenders take turns."""
    airports = list(list_airports())
    pages = {
        (size, contender.name): hit_page(contender, store, airports[:size])
        for size in SIZES
        for contender in contenders
    }
    for _ in range(pace.rounds):
        for (size, name), render in pages.items():
            seconds = seconds_of_a_hit(render, pace.seconds, is_stored=name != NOTHING.name)
            found.hits.setdefault((store, size, name), []).append(seconds)


def hit_page(contender: Contender, store: str, airports: Sequence[Any]) -> Render:
    """Return a function that renders a page in a unit of work; its rows were read before."""
    from django.template import Context

    template = contender.rows(store)
    plain = NOTHING.rows(store).render(Context(names(airports)))

    def render() -> str:
        with contender.unit():
            return template.render(Context(names(airports)))

    # entries from before the process's first read of the log are computed once more
    for _ in range(2):
        checked(contender, render(), plain)
    return render


def seconds_of_a_hit(render: Render, seconds: float, *, is_stored: bool) -> float:
    """Return the seconds of a rendering; end the run if a page does not come from the cache."""
    render()
    take_renders()
    count, began = 0, time.perf_counter()
    while True:
        render()
        count += 1
        taken = time.perf_counter() - began
        if taken >= seconds:
            break
    if is_stored and take_renders() != (0, 0):
        raise AssertionError("A hit was none: something was rendered.")
    return taken / count


# A list with one changed row


def measure_edits(found: Found, store: str, contenders: Sequence[Contender], pace: Pace) -> None:
    """Change a row, and render the list with it; the contenders take turns."""
    from testproject.airports.models import Airport

    pages = {contender.name: (contender, nested_page(contender, store)) for contender in contenders}
    for _, render in pages.values():
        render(0), render(0)
    keys = list(Airport.objects.order_by("icao").values_list("pk", flat=True))
    for version in range(1, pace.edits + 1):
        name = f"Aérodrome de Villefranche {store} {version}"
        Airport.objects.filter(pk=keys[version * 37 % ROWS]).update(name=name)
        plain = nested_page(NOTHING, store)(version)
        for contender, render in pages.values():
            take_renders()
            began = time.perf_counter()
            text = render(version)
            seconds = time.perf_counter() - began
            renders = take_renders()
            checked(contender, text, plain)
            found.edits.setdefault((store, contender.name), []).append(seconds)
            found.renders.setdefault((store, contender.name), set()).add(renders)
            checked(contender, render(version), plain)
            found.renders_again.setdefault((store, contender.name), set()).add(take_renders())


def nested_page(contender: Contender, store: str) -> Callable[[int], str]:
    """Return a function that renders the list in a unit of work, in which the rows are read."""
    from django.template import Context

    template = contender.nested(store)

    def render(version: int) -> str:
        with contender.unit():
            return template.render(Context(names(list_airports(), version)))

    return render


def checked(contender: Contender, text: str, plain: str) -> None:
    """End the run if a rendering differs from the plain one."""
    if text != plain:
        raise AssertionError(f"{contender.name} shows {text!r:.300} instead of {plain!r:.300}")


# Results


def judge(found: Found) -> list[Outcome]:
    """Yield the outcomes: the cost of hits and lists, and the fragments rendered after an edit."""
    outcomes = [
        at_most(
            f"{name}: a hit, {ROWS} a page, against {DJANGO.name}",
            MOST_TIMES_A_HIT,
            "x",
            found.ratio(store, ROWS, FRAGMENT.name),
        )
        for store, name in STORES.items()
    ]
    outcomes.append(judge_list(found.ratio(REDIS, ROWS, FRAGMENTS.name)))
    outcomes += [
        Outcome(
            promise=f"{STORES[store]}, {contender}: rows rendered after a change",
            wanted="1",
            found=max(rows for rows, _ in renders),
            is_reached=renders == {(1, 1)},
        )
        for (store, contender), renders in found.renders.items()
        if contender in OURS
    ]
    outcomes += [
        Outcome(
            promise=f"{STORES[store]}, {contender}: rendered for the next request",
            wanted="none",
            found=max(rows + lists for rows, lists in renders),
            is_reached=renders == {(0, 0)},
        )
        for (store, contender), renders in found.renders_again.items()
        if contender in OURS
    ]
    return [outcome for outcome in outcomes if outcome.found is not None]


def judge_list(ratio: float | None) -> Outcome:
    """Return the outcome for a list read at once: its speed in multiples of Django's."""
    quicker = None if ratio is None else 1 / ratio
    is_reached = quicker is not None and quicker >= LEAST_TIMES_AS_QUICK
    return Outcome(
        promise=f"{STORES[REDIS]}: a list of {ROWS} {FRAGMENTS.name}, against {DJANGO.name}",
        wanted=f"at least {LEAST_TIMES_AS_QUICK:g}x",
        found=quicker,
        is_reached=is_reached,
        remark=""
        if is_reached or quicker is None
        else f"{quicker / LEAST_TIMES_AS_QUICK:.1%} of it",
    )


def show_hits(found: Found) -> None:
    """Print a table for pages of each size."""
    contenders = [each.name for each in CONTENDERS]
    for size in SIZES:
        rows = [
            [name, *(hit_cell(found, store, size, contender) for contender in contenders)]
            for store, name in STORES.items()
            if (store, size, DJANGO.name) in found.hits
        ]
        print_table(f"Microseconds a fragment, {size} a page", ["", *contenders], rows)


def hit_cell(found: Found, store: str, size: int, contender: str) -> str:
    """Return the microseconds of one fragment, absolute and in multiples of Django's."""
    ratio = found.ratio(store, size, contender)
    if ratio is None:
        return ""
    microseconds = statistics.median(found.hits[store, size, contender]) / size * 1e6
    return f"{microseconds:.1f}" + ("" if contender == DJANGO.name else f" ({ratio:.2f}x)")


def show_edits(found: Found) -> None:
    """Print the cost of a changed row."""
    rows = []
    for (store, contender), taken in found.edits.items():
        renders = describe_renders(found.renders[store, contender])
        again = describe_renders(found.renders_again[store, contender])
        ratio = median_ratio(taken, found.edits[store, NOTHING.name])
        milliseconds = f"{statistics.median(taken) * 1e3:.2f}"
        rows.append([STORES[store], contender, renders, again, milliseconds, f"{ratio:.2f}x"])
    columns = ["", "", "rendered: rows + lists", "and next", "ms", f"against {NOTHING.name}"]
    print_table(f"A list of {ROWS} rows, one of which was changed", columns, rows)


def describe_renders(renders: set[tuple[int, int]]) -> str:
    """Return how many rows and lists were rendered; usually the same each time."""
    return "; ".join(f"{rows} + {lists}" for rows, lists in sorted(renders))


def median_ratio(own: Sequence[float], peer: Sequence[float]) -> float:
    """Return the median over the rounds of the ratio within a round."""
    return statistics.median(one / other for one, other in zip(own, peer, strict=True))


def write_json(found: Found, outcomes: Sequence[Outcome], path: Path) -> None:
    """Write the figure of every round."""
    hits = [
        {"place": store, "fragments": size, "contender": contender, "page_seconds": taken}
        for (store, size, contender), taken in found.hits.items()
    ]
    edits = [
        {"place": store, "contender": contender, "page_seconds": taken}
        | {"renders": sorted(found.renders[store, contender])}
        | {"renders_again": sorted(found.renders_again[store, contender])}
        for (store, contender), taken in found.edits.items()
    ]
    targets = [vars(outcome) for outcome in outcomes]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"hits": hits, "edits": edits, "targets": targets}, indent=1) + "\n")


if __name__ == "__main__":
    main()
