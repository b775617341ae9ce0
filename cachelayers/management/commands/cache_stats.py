"""The command ``cache_stats``: the state of caches and layers, their figures, and advice."""

from __future__ import annotations

import json
import math
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import DatabaseError, connections
from django.utils import translation

from cachelayers.conf import package_settings, statistics_database
from cachelayers.durations import Duration, seconds_of_option
from cachelayers.invalidation import FILLED_LOG_HINT, filled_log, tracked_databases
from cachelayers.statistics import (
    Advice,
    Ended,
    Figures,
    LayerState,
    LogState,
    UntrackedReads,
    advice,
    ended,
    hot_tags,
    layer_states,
    log_states,
    totals,
    untracked_reads,
)
from cachelayers.utils.switch import is_disabled


def in_columns(headings: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int) -> str:
    """Return a table. The first columns are texts, the others numbers, aligned to the right.

    Empty columns are left out.
    """
    kept = [number for number in range(len(headings)) if any(row[number] for row in rows)]
    lines = [[row[number] for number in kept] for row in (headings, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if number < texts else cell.rjust(width)
            for number, cell, width in zip(kept, line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def in_words(seconds: float) -> str:
    """Return a time with a suitable unit: ``850 ms``, ``12.3 s``, ``4.5 min``, ``3.1 h``."""
    for unit, length, most in (("ms", 0.001, 1.0), ("s", 1.0, 120.0), ("min", 60.0, 7200.0)):
        if seconds < most:
            return f"{seconds / length:.{0 if unit == 'ms' and seconds >= 0.01 else 1}f} {unit}"
    return f"{seconds / 3600:,.1f} h"


def ago(moment: datetime | None) -> str:
    """Return how long ago something was."""
    if moment is None:
        return "never"
    return f"{in_words(max((datetime.now(UTC) - moment).total_seconds(), 0.0))} ago"


PERIODS: dict[float, str] = {60: "minute", 3600: "hour", 86_400: "day"}
WATCH_SECONDS = 2.0
MOST_ADVICE = 20
LONGEST_NAME = 72
DETAILS_INDENT = 4

Names = dict[tuple[str, str], Figures]

LAYER_HEADINGS = (
    "cache", "layer", "backend", "state", "entries", "bytes", "hits", "misses", "found",
    "sets", "evictions", "errors",
)  # fmt: skip
RECALL_HEADINGS = (
    "recalls", "fresh", "stale", "joined", "waited", "computed", "saved", "computing"
)  # fmt: skip
LOG_HEADINGS = ("log of", "state", "rows", "oldest", "newest", "lag")
UNTRACKED_HEADINGS = ("untracked table", "database", "reads")
ENDED_HEADINGS = ("entries", "spent")
ADVICE_HEADINGS = ("saving", "spent", "calls", "repeats", "changed", "bytes")


class Command(BaseCommand):
    """Shows the state of caches, layers and logs, and the statistics."""

    help = (
        "Ask every cache, and each layer of a layered one, whether it works and what it holds, and "
        "show what all processes have counted. The memory of a process is only known to that "
        "process: the size shown is that of this command's own."
    )

    # Some checks connect to every database; the command must run while one is down.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--since",
            default=None,
            metavar="TIME",
            help="count what was done in the last TIME, as in 90s, 15m, 1h (the default) or 2d",
        )
        parser.add_argument(
            "--advise",
            action="store_true",
            help="list what the site spends its time on, what caches save of it, and what they "
            "would save (of the last day; needs CACHELAYERS['ADVISE_SAMPLE']), and what ends "
            "entries",
        )
        parser.add_argument("--json", action="store_true", help="print JSON, one object each time")
        parser.add_argument("--watch", action="store_true", help="repeat until interrupted")

    def handle(self, **options: Any) -> None:
        """Show it once, or repeatedly."""
        usual = "1d" if options["advise"] else "1h"
        since = since_seconds(usual if options["since"] is None else options["since"])
        try:
            while True:
                show = self._show_advice if options["advise"] else self._show_figures
                self.stdout.write(show(since, as_json=options["json"]))
                if not options["watch"]:
                    return
                time.sleep(WATCH_SECONDS)
        except KeyboardInterrupt:
            if not options["watch"]:
                raise

    def _show_figures(self, since: float, *, as_json: bool) -> str:
        figures, untracked, error = self._read_totals(since)
        states, logs = layer_states(), log_states()
        if as_json:
            return as_text(
                {
                    "since_seconds": since,
                    "statistics_error": error,
                    "layers": [asdict(state) | figures_of(state, figures) for state in states],
                    "caches": [
                        {"cache": alias, **figures.get((alias, ""), Figures())._asdict()}
                        for alias in settings.CACHES
                    ],
                    "logs": [asdict(log) for log in logs],
                    "hot_tags": [
                        asdict(hot_tags(log.database, since)) for log in logs if not log.error
                    ],
                    "untracked": [asdict(one) for one in untracked],
                }
            )
        if error:
            self.stderr.write(f"No statistics: {error}")
        tables = [
            "" if error else summary(figures, since),
            layer_table(states, figures),
            recall_table(figures),
            log_table(logs),
            untracked_table(untracked),
        ]
        return "\n\n".join(table for table in tables if table)

    def _read_totals(self, since: float) -> tuple[Names, list[UntrackedReads], str | None]:
        """Return the figures, the reads of untracked tables, and why they cannot be read."""
        if package_settings().STATS_SECONDS is None:
            return {}, [], "CACHELAYERS['STATS_SECONDS'] is None, so nothing is written."
        try:
            figures = {(one.cache, one.layer): one.figures for one in totals(since)}
            return figures, untracked_reads(since), None
        except DatabaseError as error:
            return {}, [], f"DATABASES[{statistics_database()!r}]: {type(error).__name__}: {error}"

    def _show_advice(self, since: float, *, as_json: bool) -> str:
        try:
            found, endings = advice(since, MOST_ADVICE), ended(since, MOST_ADVICE)
        except DatabaseError as error:
            raise CommandError(f"DATABASES[{statistics_database()!r}]: {error}") from error
        if as_json:
            return as_text(
                [
                    *(asdict(one) for one in found),
                    *({"kind": "ended", **asdict(one)} for one in endings),
                ]
            )
        if not found and not endings and not package_settings().ADVISE_SAMPLE:
            raise CommandError(
                "Nothing was timed: CACHELAYERS['ADVISE_SAMPLE'] is 0. Set it to the part of"
                " queries and pages to be timed, such as 0.1, and let the site work for a while."
            )
        is_timed = found or package_settings().ADVISE_SAMPLE
        parts = [advice_text(found) if is_timed else "", endings_text(endings), *log_advice()]
        return "\n\n".join(part for part in parts if part)


def since_seconds(given: Duration) -> float:
    """Return the seconds of ``--since``; raise CommandError if it is no time."""
    seconds = seconds_of_option(given)
    if not 0 < seconds < math.inf:
        raise CommandError(f"--since is {given!r}. Give a time, such as 90s, 15m, 1h30m or 2d.")
    return seconds


def as_text(found: Any) -> str:
    return json.dumps(found, cls=DjangoJSONEncoder)


def figures_of(state: LayerState, figures: Names) -> dict[str, Any]:
    found = figures.get((state.cache, state.layer), Figures())
    return {
        name: getattr(found, name) for name in ("hits", "misses", "sets", "evictions", "errors")
    }


def summary(figures: Names, since: float) -> str:
    """Return what the caches have saved, in two sentences."""
    if is_disabled():
        return "Caching is disabled: CACHELAYERS['ENABLED'] is False."
    recalls = Figures()
    for (_, layer), one in figures.items():
        recalls = recalls if layer else recalls.plus(one)
    found = recalls.fresh + recalls.stale + recalls.joined + recalls.waited
    total = found + recalls.computed
    period = PERIODS.get(since) or in_words(since)
    if not total:
        return (
            f"In the last {period}, no process has counted a recall(), @cached or fragment.\n"
            "Counts are written a second after a request or task, or a few seconds later. See"
            " docs/not_cached.md."
        )
    return (
        f"In the last {period}, {found:,} of {total:,} cached values came from the cache"
        f" ({found / total:.0%}), and {recalls.computed:,}"
        f" {'was' if recalls.computed == 1 else 'were'} computed.\n"
        f"This saved {in_words(recalls.saved_seconds)}. Computing took"
        f" {in_words(recalls.computing_seconds)}."
    )


def layer_table(states: list[LayerState], figures: Names) -> str:
    """Return a line for each cache, followed by one for each of its layers."""
    rows: list[list[str]] = []
    for state in states:
        if state.layer and not any(row[0] == state.cache and not row[1] for row in rows):
            backend = settings.CACHES[state.cache]["BACKEND"].rpartition(".")[2]
            rows.append([state.cache, "", backend, "", "", "", *numbers(figures, state.cache, "")])
        status = state.error or ("skipped" if state.is_skipped else "works")
        sizes = ["" if size is None else f"{size:,}" for size in (state.entries, state.bytes)]
        counted = numbers(figures, state.cache, state.layer)
        rows.append([state.cache, state.layer, state.backend, status, *sizes, *counted])
    return in_columns(LAYER_HEADINGS, rows, texts=4)


def numbers(figures: Names, cache: str, layer: str) -> list[str]:
    """Return the cells of the figures; empty without figures."""
    found = figures.get((cache, layer))
    if found is None:
        return [""] * 6
    ratio = "" if found.hit_ratio is None else f"{found.hit_ratio:.1%}"
    counted = (found.sets, found.evictions, found.errors)
    return [f"{found.hits:,}", f"{found.misses:,}", ratio, *(f"{number:,}" for number in counted)]


def recall_table(figures: Names) -> str:
    """Return a line for each cache used by recall(); "" if there is none."""
    rows = [
        [
            cache,
            *(f"{n:,}" for n in (one.fresh, one.stale, one.joined, one.waited, one.computed)),
            in_words(one.saved_seconds),
            in_words(one.computing_seconds),
        ]
        for (cache, layer), one in figures.items()
        if not layer and any((one.fresh, one.stale, one.joined, one.waited, one.computed))
    ]
    return in_columns(RECALL_HEADINGS, rows, texts=1) if rows else ""


def log_table(logs: list[LogState]) -> str:
    rows = [
        [
            log.database,
            log.error or "works",
            f"{log.rows:,}",
            ago(log.oldest_at) if log.rows else "",
            ago(log.newest_at) if log.rows else "",
            in_words(log.lag_seconds),
        ]
        for log in logs
    ]
    return in_columns(LOG_HEADINGS, rows, texts=2) if rows else ""


def untracked_table(untracked: list[UntrackedReads]) -> str:
    """Return a line for each table whose changes do not invalidate; "" if there is none."""
    if not untracked:
        return ""
    rows = [[one.table, one.database, f"{one.reads:,}"] for one in untracked]
    return (
        f"{in_columns(UNTRACKED_HEADINGS, rows, texts=2)}\n"
        "Cached values were made from these tables, and their changes do not invalidate: see"
        " docs/dependencies.md."
    )


def log_advice() -> list[str]:
    """Return the advice for logs that bulk writes have filled."""
    details = []
    for database in tracked_databases():
        with suppress(DatabaseError):  # it is down, or has no log
            if filled := filled_log(connections[database]):
                details.append(f"{filled} {FILLED_LOG_HINT}")
    return details


def advice_text(found: list[Advice]) -> str:
    """Return what a cache would save, and what caches save already."""
    parts = []
    for title, is_kept in (
        ("A cache would save (a view contains its functions, and those their queries):", False),
        ("Caches save:", True),
    ):
        some = [one for one in found if one.is_kept is is_kept]
        if some:
            table = in_columns(ADVICE_HEADINGS, [advice_row(one) for one in some], texts=0)
            head, *lines = table.splitlines()
            details = [
                f"{line}  {one.kind} {shortened(one.name)}\n{details_of(one)}"
                for line, one in zip(lines, some, strict=True)
            ]
            parts.append("\n".join([title, f"{head}  what", *details]))
    return "\n\n".join(parts) or "Nothing was timed within that time."


def endings_text(found: list[Ended]) -> str:
    """Return what has ended entries; "" if nothing has."""
    if not found:
        return ""
    rows = [[f"{one.entries:,}", in_words(one.seconds)] for one in found]
    head, *lines = in_columns(ENDED_HEADINGS, rows, texts=0).splitlines()
    with translation.override(None):  # the rest is in English, too
        details = [
            "\n".join([f"{line}  {shown_ending(one)}", *reasons_of(one)])
            for line, one in zip(lines, found, strict=True)
        ]
    title = "Entries were ended, and computed again, by:"
    return "\n".join([title, f"{head}  what", *details])


def shown_ending(one: Ended) -> str:
    """Return a dependency, with its database unless that is the usual one."""
    where = "" if one.database == "default" else f" (DATABASES[{one.database!r}])"
    return f"{one.what}{where}, since {ago(one.since)}"


def reasons_of(one: Ended) -> list[str]:
    """Return the lines that say why a query depends on a whole table."""
    if not one.why:
        return []
    where = f"in {one.place}: " if one.place else ""
    return [f"{' ' * DETAILS_INDENT}{where}{one.why}"]


def advice_row(one: Advice) -> list[str]:
    counted = (one.calls, one.repeats, one.changed)
    return [
        in_words(one.saving_seconds),
        in_words(one.seconds),
        *(f"{number:,}" for number in counted),
        f"{one.stored_bytes:,}" if one.stored_bytes else "",
    ]


def details_of(one: Advice) -> str:
    """Return the function that runs it, and the tables that it reads with their last change."""
    changes = {change.table: change.last_at for change in one.changes}
    reads = [
        f"{table} (changed {ago(changes[table])})" if changes.get(table) else table
        for table in one.tables
    ]
    reads += ["what is not tracked"] if one.is_untracked else []
    details = [f"in {one.place}"] if one.place else []
    details += [f"reads {', '.join(reads)}"] if reads else []
    return f"{' ' * DETAILS_INDENT}{'; '.join(details) or 'reads nothing'}"


def shortened(name: str) -> str:
    """Return a name that fits into a line."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}..."
