"""Tell whoever wants to know what recalls do: the counts, a trace, the signals. Used by flow."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from django.conf import settings

from cachelayers.entries import SECONDS, Envelope
from cachelayers.invalidation.dependencies import Capture
from cachelayers.invalidation.log import Dependency, log_of
from cachelayers.lookup.policy import Policy
from cachelayers.signals import entry_computed, entry_invalidated
from cachelayers.utils.counters import cell_of_cache
from cachelayers.utils.tracing import Tag, active_traces, pop_layer, traced_recall, tracing_recall

INFINITE = float("inf")


def note_found(policy: Policy, envelope: Envelope, outcome: str) -> None:
    """An entry is served. ``outcome``: "fresh" or "stale", "joined" or "waited"."""
    cell = cell_of_cache(policy.alias)
    if outcome == "fresh":
        cell.fresh += 1
        cell.saved_seconds += seconds_of(envelope)
    elif outcome == "stale":
        cell.stale += 1
        cell.saved_seconds += seconds_of(envelope)
    elif outcome == "joined":  # nothing is saved: it took as long as computing
        cell.joined += 1
    else:
        cell.waited += 1
    if active_traces:
        trace_found(policy.alias, envelope, outcome)


def trace_found(alias: str, envelope: Envelope, outcome: str) -> None:
    """Follow a recall that is served an entry, if it is followed."""
    if (recall := traced_recall()) is not None:
        recall.outcome, recall.seconds = outcome, seconds_of(envelope)
        recall.layer = pop_layer() or first_layer(alias)
        recall.age_seconds = age_of(envelope)
        recall.tags = tags_in(Dependency(*one) for one in envelope.dependencies)


def note_peeked(alias: str, key: str, stored: Any) -> None:
    """A fresh entry is served, which was found in the shortest way."""
    cell = cell_of_cache(alias)
    seconds = stored[SECONDS]
    cell.fresh += 1
    # Whoever can write to the cache can write nonsense.
    if type(seconds) is float and 0 <= seconds < INFINITE:
        cell.saved_seconds += seconds
    if active_traces:
        with tracing_recall(alias, key):
            trace_found(alias, Envelope(*stored[1:]), "fresh")


def note_missed(envelope: Envelope | None) -> None:
    """There is no entry, or it has expired."""
    if (recall := traced_recall()) is not None and not recall.why_missed:
        recall.why_missed = "absent" if envelope is None else "expired"


def note_invalid(policy: Policy, dependency: Dependency) -> None:
    """What an entry was made from has changed."""
    recall = traced_recall()
    if recall is None and not entry_invalidated.receivers:
        return
    culprit = log_of(dependency.database).find_overtaking(dependency)
    if recall is not None and recall.why_missed != "invalid":
        recall.why_missed, recall.culprit = "invalid", culprit or ""
    entry_invalidated.send_robust(
        type(policy), alias=policy.alias, key=policy.key, database=dependency.database, tag=culprit
    )


def note_computed(policy: Policy, capture: Capture, seconds: float, *, is_storable: bool) -> None:
    """A value was computed; ``is_storable``: others may use it, and so it is stored next."""
    cell = cell_of_cache(policy.alias)
    cell.computed += 1
    cell.computing_seconds += seconds
    recall = traced_recall()
    if recall is None and not entry_computed.receivers:
        return
    tags = tags_in(capture.dependencies())
    if recall is not None:
        recall.outcome, recall.seconds, recall.tags = "computed", seconds, tags
    entry_computed.send_robust(
        type(policy),
        alias=policy.alias,
        key=policy.key,
        seconds=seconds,
        tags=tags,
        is_storable=is_storable,
    )


def seconds_of(envelope: Envelope) -> float:
    """Return what it took to compute an entry: 0 where somebody has written nonsense there."""
    seconds: Any = envelope.seconds
    return seconds if type(seconds) is float and 0 <= seconds < INFINITE else 0.0


def age_of(envelope: Envelope) -> float | None:
    """Return how long ago an entry began to be computed."""
    created: Any = envelope.created
    return time.time() - created if type(created) is float else None


def tags_in(dependencies: Iterable[Dependency]) -> Sequence[Tag]:
    """Return the tags of dependencies, each with its database."""
    return [(one.database, tag) for one in dependencies for tag in one.tags]


def first_layer(alias: str) -> str:
    """Return who has answered where nobody said so: the first layer, whose hits say nothing."""
    options = settings.CACHES.get(alias, {}).get("OPTIONS", {})
    layers = options.get("LAYERS", ()) if isinstance(options, dict) else ()
    return str(layers[0]) if layers else alias
