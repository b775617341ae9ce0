"""A panel for django-debug-toolbar: the recalls and fragments of a request, and why they missed.

It shows the traces of `utils.tracing`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from debug_toolbar.panels import Panel
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext, gettext_lazy, ngettext

from cachelayers.invalidation import untracked_tables_in
from cachelayers.statistics import parsed_reason, words_of
from cachelayers.utils.endings import endings
from cachelayers.utils.tracing import Tag, Trace, TracedRecall, name_of, tracing

OUTCOMES = {
    "fresh": gettext_lazy("fresh"),
    "stale": gettext_lazy("stale, refreshed by one caller"),
    "computed": gettext_lazy("computed"),
    "joined": gettext_lazy("waited for another thread"),
    "waited": gettext_lazy("waited for another process"),
    "": gettext_lazy("raised an exception"),
}
REASONS = {
    "absent": gettext_lazy("nothing was stored"),
    "expired": gettext_lazy("it had expired"),
    "disabled": gettext_lazy("caching is disabled"),
}


# By the names that `lookup` gives them. All other reasons are those of the log, in English.
UNKEPT = {
    "unstorable": gettext_lazy("it was made from what must not be shared"),
    "timeout": gettext_lazy("its timeout is 0"),
    "written": gettext_lazy("the transaction has written"),
    "clock": gettext_lazy("it depends on the time or on chance, and has no timeout"),
    "changed": gettext_lazy("what it was made from changed while it was computed"),
}


class RecallsPanel(Panel):
    """For DEBUG_TOOLBAR_PANELS: ``"cachelayers.panels.RecallsPanel"``."""

    title = gettext_lazy("Recalls")
    nav_title = gettext_lazy("Recalls")
    template = "cachelayers/recalls_panel.html"
    is_async = True

    _tracing: AbstractContextManager[Trace] | None = None
    _trace: Trace | None = None

    @property
    def nav_subtitle(self) -> str:
        """Return the number of recalls and hits, for the toolbar's menu."""
        stats = self.get_stats()  # type: ignore[no-untyped-call]
        count, found = stats.get("count", 0), stats.get("found", 0)
        text = ngettext(
            "%(count)d recall, %(found)d found", "%(count)d recalls, %(found)d found", count
        )
        return text % {"count": count, "found": found}

    def enable_instrumentation(self) -> None:
        if self._tracing is None:
            self._tracing = tracing()
            self._trace = self._tracing.__enter__()

    def disable_instrumentation(self) -> None:
        if self._tracing is not None:
            self._tracing.__exit__(None, None, None)
            self._tracing = None

    def generate_stats(self, request: HttpRequest, response: HttpResponseBase) -> None:
        """Store strings and numbers only: the toolbar may save them as JSON."""
        recalls = self._trace.recalls if self._trace is not None else []
        outcomes = Counter(recall.outcome for recall in recalls)
        self.record_stats(  # type: ignore[no-untyped-call]
            {
                "count": len(recalls),
                "found": len(recalls) - outcomes["computed"] - outcomes[""],
                "computing_ms": milliseconds_of(recalls, {"computed"}),
                "saved_ms": milliseconds_of(recalls, {"fresh", "stale"}),
                "recalls": [line_of(recall) for recall in recalls],
                "unkept": unkept_of(self._trace) if self._trace is not None else [],
            }
        )


def unkept_of(trace: Trace) -> list[dict[str, str]]:
    """Return what was not stored, each with its reasons; the general one only if it is alone."""
    named = {name for name, reason in trace.unkept if reason not in UNKEPT}
    return [
        {"name": name, "reason": str(UNKEPT.get(reason, reason))}
        for name, reason in trace.unkept
        if reason != "unstorable" or name not in named
    ]


def milliseconds_of(recalls: Sequence[TracedRecall], outcomes: set[str]) -> float:
    """Return the time spent computing values. Nested recalls count once, with the outer one."""
    some = [one for one in recalls if one.outcome in outcomes and not one.depth]
    return round(sum(one.seconds for one in some) * 1000, 2)


def line_of(recall: TracedRecall) -> dict[str, Any]:
    """Return the panel's row for a recall."""
    kind, name = name_of(recall.key)
    return {
        "nesting": "\u21b3 " * recall.depth,
        "kind": kind,
        "name": name,
        "key": recall.key,
        "cache": recall.alias,
        "layer": recall.layer,
        "outcome": str(OUTCOMES[recall.outcome]),
        "age_seconds": None if recall.age_seconds is None else round(recall.age_seconds, 1),
        "why": reason_of(recall),
        "ms": round(recall.seconds * 1000, 2),
        "tags": sorted({shown(tag) for tag in recall.tags}),
        "untracked": untracked_in(recall),
    }


def reason_of(recall: TracedRecall) -> str:
    """Return why the first lookup missed; "" for a hit."""
    if recall.why_missed != "invalid":
        return str(REASONS.get(recall.why_missed, ""))
    if recall.culprit:
        changed = gettext("%(tag)s had changed") % {"tag": recall.culprit}
        why = why_whole(recall)
        return f"{changed}. {why}" if why else changed
    return gettext("something it was made from had changed")


def why_whole(recall: TracedRecall) -> str:
    """Return why a recall depends on the whole table that had changed; "": it is not known."""
    for database, tag in recall.tags:
        if tag == recall.culprit and (read := endings.read_of(database, tag)) is not None:
            place = f" ({read.place})" if read.place else ""
            return f"{words_of(*parsed_reason(read.explain(tag)))}{place}"
    return ""


def untracked_in(recall: TracedRecall) -> list[str]:
    """Return the tables that a value was made from, and whose changes do not invalidate it."""
    found = []
    for database in sorted({database for database, _ in recall.tags}):
        tags = [tag for place, tag in recall.tags if place == database]
        found += [shown((database, table)) for table in untracked_tables_in(database, tags)]
    return found


def shown(tag: Tag) -> str:
    """Return a tag or table, with its database unless that is the usual one."""
    database, text = tag
    return text if database == "default" else f"{text} ({database})"
