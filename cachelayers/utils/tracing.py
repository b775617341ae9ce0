"""What a request and a process do now: recalls of a request, timed samples, running computes."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from cachelayers.conf import package_settings

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
active_traces: set[int] = set()


@contextmanager
def tracing() -> Iterator[Trace]:
    """Follow all recalls within the block. Within another such block: together with its own."""
    outer = _trace.get()
    if outer is not None:
        yield outer
        return
    trace = Trace()
    token = _trace.set(trace)
    active_traces.add(id(trace))
    try:
        yield trace
    finally:
        active_traces.discard(id(trace))
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
    return _recall.get() if active_traces else None


def note_layer(alias: str) -> None:
    """Remember which layer has answered."""
    if active_traces and (trace := _trace.get()) is not None:
        trace.layer = alias


def pop_layer() -> str:
    """Return which layer has answered since the last time; "": a memory, or no layer at all."""
    trace = _trace.get()
    if trace is None:
        return ""
    layer, trace.layer = trace.layer, ""
    return layer


MOST_WAITING = 10_000  # samples, between two writes; the oldest give way
PARTS = 1_000_000  # in which things are divided to choose some
MOST_FRAMES = 60  # that are looked at for the function that runs a query
LONGEST_NAME = 250
LIST_OF_PARAMETERS = re.compile(r"%s(, %s)+")  # of any length: it is the same query
OWN_TABLES = "cachelayers_"  # no cache would save what they are asked for

Table = tuple[str, str]  # alias of DATABASES, and name
UNTRACKED: Table = ("", "?")  # whether it has changed is not known


class Sample(NamedTuple):
    """One thing that was done."""

    kind: str  # "view", "function", "query", "fragment" or "recall"
    name: str
    place: str  # the function that ran it
    arguments: int  # a hash: what is done with the same ones gives the same result
    seconds: float
    tables: frozenset[Table]
    at: float  # of time.time(), when it began
    # Of recalls only: whether it was found, and so ``seconds`` were saved.
    is_kept: bool = False
    was_invalid: bool = False


class Query(NamedTuple):
    """One query within a unit of work."""

    text: str
    place: str
    arguments: int
    seconds: float
    tables: frozenset[Table]
    at: float


class Work:
    """What was done within one request."""

    def __init__(self, trace: Trace) -> None:
        """Begin."""
        self.queries: list[Query] = []
        self.trace = trace
        self.at, self._began = time.time(), time.perf_counter()

    def seconds(self) -> float:
        """Return for how long it goes on."""
        return time.perf_counter() - self._began

    def tables(self) -> frozenset[Table]:
        """Return what was read, also by whoever computed the entries that were found."""
        read = (query.tables for query in self.queries)
        recalled = (tables_of(recall) for recall in self.trace.recalls if not recall.depth)
        return frozenset[Table]().union(*read, *recalled)


_work: ContextVar[Work | None] = ContextVar("cachelayers_work", default=None)
waiting: deque[Sample] = deque(maxlen=MOST_WAITING)
# What is being watched here, if anything is. The method itself: every query asks.
current_work = _work.get


def is_sampling() -> bool:
    """Tell whether anything is to be watched."""
    return package_settings().ADVISE_SAMPLE > 0


@contextmanager
def sampling() -> Iterator[Work]:
    """Watch what is done within the block."""
    with tracing() as trace:
        token = _work.set(begun := Work(trace))
        try:
            yield begun
        finally:
            _work.reset(token)
            note_queries(begun)
            note_recalls(begun)


def note_query(
    begun: Work, text: str, params: object, tables: Iterable[Table], at: float, seconds: float
) -> None:
    """Remember a query that was run within a watched block, but the package's own."""
    if OWN_TABLES in text:
        return
    name = shortened(LIST_OF_PARAMETERS.sub("%s, ...", text))
    place = function_of_project(sys._getframe(1))
    begun.queries.append(
        Query(name, place, hash((text, repr(params))), seconds, frozenset(tables), at)
    )


def note_view(begun: Work, name: str, arguments: int) -> None:
    """Take a view as a sample, when it has made its response."""
    add_sample(Sample("view", name, "", arguments, begun.seconds(), begun.tables(), begun.at))


def note_queries(begun: Work) -> None:
    """Take the queries of a block as samples, each and together with the others of a function."""
    by_place: defaultdict[str, list[Query]] = defaultdict(list)
    for query in begun.queries:
        add_sample(Sample("query", *query))
        by_place[query.place].append(query)
    for place, queries in by_place.items():
        if place:
            arguments = hash(tuple((query.text, query.arguments) for query in queries))
            seconds = sum(query.seconds for query in queries)
            tables = frozenset[Table]().union(*(query.tables for query in queries))
            add_sample(Sample("function", place, place, arguments, seconds, tables, queries[0].at))


def note_recalls(begun: Work) -> None:
    """Take the recalls of a block as samples."""
    for recall in begun.trace.recalls:
        if recall.outcome:
            kind, name = name_of(recall.key)
            add_sample(
                Sample(
                    kind,
                    name,
                    "",
                    hash(recall.key),
                    0.0 if recall.outcome in {"joined", "waited"} else recall.seconds,
                    tables_of(recall),
                    begun.at,
                    is_kept=recall.outcome != "computed",
                    was_invalid=recall.why_missed == "invalid",
                )
            )


def name_of(key: str) -> tuple[str, str]:
    """Return the kind and the name of what is kept under a key: what comes before its arguments."""
    head, _, rest = key.partition(":")
    if head == "fragment" and rest:
        return "fragment", shortened(rest.rpartition(":")[0] or rest)
    return "recall", shortened(head)


def tables_of(recall: TracedRecall) -> frozenset[Table]:
    """Return the tables that a value was made from."""
    parts = ((database, *tag.split(":", 2)[:2]) for database, tag in recall.tags)
    return frozenset(
        (database, name) for database, kind, name in parts if kind in {"table", "row", "rows"}
    )


def shortened(text: str) -> str:
    """Return a name that fits into its column, and that no other one shares."""
    if len(text) <= LONGEST_NAME:
        return text
    digest = blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()
    return f"{text[: LONGEST_NAME - 17]}~{digest}"


def add_sample(sample: Sample) -> None:
    """Have a sample written, if it is one of those that were chosen."""
    thing = hash((sample.kind, sample.name, sample.arguments))
    if thing % PARTS < package_settings().ADVISE_SAMPLE * PARTS:
        waiting.append(sample)


def function_of_project(frame: FrameType | None) -> str:
    """Return the innermost function of the project itself, as ``module.function``; "": none."""
    for _ in range(MOST_FRAMES):
        if frame is None:
            break
        if is_of_project(frame.f_code.co_filename):
            # What a function has within itself, such as a generator, is part of it.
            function = frame.f_code.co_qualname.partition(".<locals>")[0]
            return shortened(f"{frame.f_globals.get('__name__', '')}.{function}")
        frame = frame.f_back
    return ""


def line_of_project(frame: FrameType | None) -> str:
    """Return the innermost line of the project itself, as ``file:line``; "": none."""
    while frame is not None and not is_of_project(frame.f_code.co_filename):
        frame = frame.f_back
    return "" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


@lru_cache(maxsize=4096)
def is_of_project(filename: str) -> bool:
    """Tell the project's files from those of libraries, of Python and of this package."""
    if filename.startswith("<"):
        return False
    return not filename.startswith(folders_of_others())


@lru_cache(maxsize=1)
def folders_of_others() -> tuple[str, ...]:
    """Return the folders of libraries, of Python, and this package's."""
    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    own = str(Path(__file__).parents[1])
    import django

    return tuple(f"{path}{os.sep}" for path in (*paths, own, str(Path(django.__file__).parent)))


# What the parent has sampled, the parent writes.
os.register_at_fork(after_in_child=waiting.clear)
