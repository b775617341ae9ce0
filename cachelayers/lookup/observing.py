"""Count and trace what recalls do, and send the signals.

The flow calls it at each outcome.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from cachelayers.conf import layer_name, layers_of
from cachelayers.entries import SECONDS, Envelope
from cachelayers.invalidation import Capture, Dependency, log_of
from cachelayers.lookup.policy import Policy
from cachelayers.signals import entry_computed, entry_invalidated
from cachelayers.utils.counters import cell_of_cache
from cachelayers.utils.endings import endings
from cachelayers.utils.tracing import Tag, active_traces, pop_layer, traced_recall, tracing_recall

INFINITE = float("inf")


def note_found(policy: Policy, envelope: Envelope, outcome: str) -> None:
    """Record that an entry is served. ``outcome``: "fresh", "stale", "joined" or "waited"."""
    cell = cell_of_cache(policy.alias)
    if outcome == "fresh":
        cell.fresh += 1
        cell.saved_seconds += seconds_of(envelope)
    elif outcome == "stale":
        cell.stale += 1
        cell.saved_seconds += seconds_of(envelope)
    elif outcome == "joined":  # waiting took as long as computing
        cell.joined += 1
    else:
        cell.waited += 1
    if active_traces:
        trace_found(policy.alias, envelope, outcome)


def trace_found(alias: str, envelope: Envelope, outcome: str) -> None:
    """Trace a recall that is served an entry."""
    if (recall := traced_recall()) is not None:
        recall.outcome, recall.seconds = outcome, seconds_of(envelope)
        recall.layer = pop_layer() or first_layer(alias)
        recall.age_seconds = age_of(envelope)
        recall.tags = tags_in(Dependency(*one) for one in envelope.dependencies)


def note_peeked(alias: str, key: str, stored: Any) -> None:
    """Record a fresh entry that peek() has found."""
    cell = cell_of_cache(alias)
    seconds = stored[SECONDS]
    cell.fresh += 1
    # Other programs may write anything to the cache.
    if type(seconds) is float and 0 <= seconds < INFINITE:
        cell.saved_seconds += seconds
    if active_traces:
        with tracing_recall(alias, key):
            trace_found(alias, Envelope(*stored[1:]), "fresh")


def note_missed(envelope: Envelope | None) -> None:
    """Record that there is no entry, or that it has expired."""
    if (recall := traced_recall()) is not None and not recall.why_missed:
        recall.why_missed = "absent" if envelope is None else "expired"


def note_disabled() -> None:
    """Record that the cache was not asked."""
    if (recall := traced_recall()) is not None:
        recall.why_missed = "disabled"


def note_invalid(policy: Policy, dependency: Dependency) -> None:
    """Record that a dependency of an entry has changed."""
    culprit = log_of(dependency.database).find_changed_tag(dependency)
    policy.note_ended(dependency.database, culprit)
    endings.want(dependency.database, culprit)
    recall = traced_recall()
    if recall is None and not entry_invalidated.receivers:
        return
    if recall is not None and recall.why_missed != "invalid":
        recall.why_missed, recall.culprit = "invalid", culprit or ""
    entry_invalidated.send_robust(
        type(policy), alias=policy.alias, key=policy.key, database=dependency.database, tag=culprit
    )


def note_computed(
    policy: Policy, value: Any, capture: Capture, seconds: float, *, is_storable: bool
) -> None:
    """Record that a value was computed. ``is_storable``: it is stored next."""
    cell = cell_of_cache(policy.alias)
    cell.computed += 1
    cell.computing_seconds += seconds
    if (ended := policy.what_ended()) is not None:
        note_ended(*ended, capture, seconds)
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
        is_marker=policy.is_marker is not None and policy.is_marker(value),
    )


def note_ended(database: str, tag: str | None, capture: Capture, seconds: float) -> None:
    """Count an entry that a change has ended, when it is computed again."""
    endings.add(database, tag, seconds)
    is_wanted = tag is not None and (database, tag) in endings.wanted
    if tag is not None and is_wanted and capture.reads_many_rows(database, tag):
        endings.note_reason(database, tag, "many")


def seconds_of(envelope: Envelope) -> float:
    """Return how long an entry took to compute, or 0 if its data is malformed."""
    seconds: Any = envelope.seconds
    return seconds if type(seconds) is float and 0 <= seconds < INFINITE else 0.0


def age_of(envelope: Envelope) -> float | None:
    """Return the seconds since an entry's computation began."""
    created: Any = envelope.created
    return time.time() - created if type(created) is float else None


def tags_in(dependencies: Iterable[Dependency]) -> Sequence[Tag]:
    """Return the tags of dependencies, each with its database."""
    return [(one.database, tag) for one in dependencies for tag in one.tags]


def first_layer(alias: str) -> str:
    """Return the first layer, whose hits are not traced, or the alias itself."""
    layers = layers_of(alias)
    return layer_name(layers[0]) if layers else alias
