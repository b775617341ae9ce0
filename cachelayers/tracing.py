"""Follow the recalls of one request, for those who look at it: the debug toolbar, samples.

Nothing is followed unless somebody asks; then one look at an empty set is all that it costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

Tag = tuple[str, str]  # alias of DATABASES, and tag


@dataclass(slots=True)
class TracedRecall:
    """What one recall did."""

    alias: str
    key: str
    depth: int  # 0: not within another recall
    # "fresh", "stale", "computed", "joined" or "waited"; "": it raised
    outcome: str = ""
    layer: str = ""  # alias of the cache or layer that had it; "": none
    age_seconds: float | None = None  # of an entry that was found
    # Why nothing was found: "absent", "expired" or "invalid"; "": it was.
    why_missed: str = ""
    culprit: str = ""  # the tag that made it invalid, as far as it is known
    tags: Sequence[Tag] = ()  # what the value was made from
    seconds: float = 0.0  # what it took to compute the value, now or when it was stored


@dataclass(slots=True)
class Trace:
    """All recalls within a block, in the order in which they began."""

    recalls: list[TracedRecall] = field(default_factory=list)
    layer: str = ""  # the last one that answered a look-up


_trace: ContextVar[Trace | None] = ContextVar("cachelayers_trace", default=None)
_recall: ContextVar[TracedRecall | None] = ContextVar("cachelayers_traced_recall", default=None)
# Traces of this process that go on: where there are none, nobody asks for the context.
going_on: set[int] = set()


@contextmanager
def tracing() -> Iterator[Trace]:
    """Follow all recalls within the block. Within another such block: together with its own."""
    outer = _trace.get()
    if outer is not None:
        yield outer
        return
    trace = Trace()
    token = _trace.set(trace)
    going_on.add(id(trace))
    try:
        yield trace
    finally:
        going_on.discard(id(trace))
        _trace.reset(token)


def begin_recall(alias: str, key: str) -> TracedRecall | None:
    """Note that a recall begins, if its context is followed."""
    trace = _trace.get()
    if trace is None:
        return None
    outer = _recall.get()
    recall = TracedRecall(alias, key, 0 if outer is None else outer.depth + 1)
    trace.recalls.append(recall)
    return recall


@contextmanager
def tracing_recall(alias: str, key: str) -> Iterator[None]:
    """Follow one recall, if its context is followed."""
    with within_recall(begin_recall(alias, key)):
        yield


@contextmanager
def within_recall(recall: TracedRecall | None) -> Iterator[None]:
    """Go on with a recall that has begun; what happens within the block is part of it."""
    if recall is None:
        yield
        return
    token = _recall.set(recall)
    try:
        yield
    finally:
        _recall.reset(token)


def traced_recall() -> TracedRecall | None:
    """Return the recall that goes on here, if it is followed."""
    return _recall.get() if going_on else None


def note_layer(alias: str) -> None:
    """Remember which layer has answered."""
    if going_on and (trace := _trace.get()) is not None:
        trace.layer = alias


def take_layer() -> str:
    """Return which layer has answered since the last time; "": a memory, or no layer at all."""
    trace = _trace.get()
    if trace is None:
        return ""
    layer, trace.layer = trace.layer, ""
    return layer
