"""Record what a request does: the trace of its recalls, and timed samples for the advisor.

Recalls, the execute wrapper and the middleware write to it. The debug panel and `statistics` read
it.
"""

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

from cachelayers.conf import OWN_TABLES, package_settings

Tag = tuple[str, str]  # alias of DATABASES, and tag


@dataclass(slots=True)
class TracedRecall:
    """What one recall did."""

    alias: str
    key: str
    depth: int  # 0: outermost
    # "fresh", "stale", "computed", "joined" or "waited"; "": it raised
    outcome: str = ""
    layer: str = ""  # alias of the cache or layer that had the entry; "": none
    age_seconds: float | None = None  # of the found entry
    # Why nothing was found: "absent", "expired", "invalid" or "disabled"; "": something was.
    why_missed: str = ""
    culprit: str = ""  # the changed tag, if known
    tags: Sequence[Tag] = ()  # the value's dependencies
    seconds: float = 0.0  # of the value's computation, now or when it was stored
    stored_bytes: int = 0  # of the largest copy that a layer has stored; 0: none, or unknown


@dataclass(slots=True)
class Trace:
    """All recalls within a block, in the order in which they began."""

    recalls: list[TracedRecall] = field(default_factory=list)
    layer: str = ""  # the layer that answered last
    # The name of what was not stored, or is stored until its timeout only, and the reason.
    unkept: dict[tuple[str, str], None] = field(default_factory=dict)


_trace: ContextVar[Trace | None] = ContextVar("cachelayers_trace", default=None)
_recall: ContextVar[TracedRecall | None] = ContextVar("cachelayers_traced_recall", default=None)
# The running traces of this process. If there are none, nobody reads the context.
active_traces: set[int] = set()


@contextmanager
def tracing() -> Iterator[Trace]:
    """Trace all recalls within the block. A nested block shares the outer trace."""
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
    """Add a recall to the context's trace, if there is one."""
    trace = _trace.get()
    if trace is None:
        return None
    outer = _recall.get()
    recall = TracedRecall(alias, key, 0 if outer is None else outer.depth + 1)
    trace.recalls.append(recall)
    return recall


@contextmanager
def tracing_recall(alias: str, key: str) -> Iterator[None]:
    """Trace one recall, if its context is traced."""
    with within_recall(begin_recall(alias, key)):
        yield


@contextmanager
def within_recall(recall: TracedRecall | None) -> Iterator[None]:
    """Run the block as part of a recall that has begun."""
    if recall is None:
        yield
        return
    token = _recall.set(recall)
    try:
        yield
    finally:
        _recall.reset(token)


def traced_recall() -> TracedRecall | None:
    """Return the running recall, if it is traced."""
    return _recall.get() if active_traces else None


def note_unkept(reason: str, name: str = "") -> None:
    """Trace why something is not stored. ``name``: of a fragment; "": of the running recall."""
    if active_traces and (trace := _trace.get()) is not None:
        recall = _recall.get()
        trace.unkept[name or (name_of(recall.key)[1] if recall else ""), reason] = None


def note_layer(alias: str) -> None:
    """Remember which layer has answered."""
    if active_traces and (trace := _trace.get()) is not None:
        trace.layer = alias


def pop_layer() -> str:
    """Return the layer that has answered since the last call; "": process memory, or none."""
    trace = _trace.get()
    if trace is None:
        return ""
    layer, trace.layer = trace.layer, ""
    return layer


MOST_WAITING = 10_000  # samples between two writes; the oldest are dropped
PARTS = 1_000_000  # the resolution of ADVISE_SAMPLE
MOST_FRAMES = 60  # searched for the function that runs a query
LONGEST_NAME = 250
LIST_OF_PARAMETERS = re.compile(r"%s(, %s)+")  # lists of any length count as the same query

Table = tuple[str, str]  # alias of DATABASES, and name
UNTRACKED: Table = ("", "?")  # its changes are unknown


class Sample(NamedTuple):
    """One timed operation."""

    kind: str  # "view", "function", "query", "fragment" or "recall"
    name: str
    place: str  # the function that ran it
    arguments: int  # a hash; equal arguments give equal results
    seconds: float
    tables: frozenset[Table]
    at: float  # by time.time(), when it began
    # Recalls only: whether an entry was found, so that ``seconds`` were saved.
    is_kept: bool = False
    was_invalid: bool = False
    stored_bytes: int = 0


class Query(NamedTuple):
    """One query within a sampled request."""

    text: str
    place: str
    arguments: int
    seconds: float
    tables: frozenset[Table]
    at: float


class Work:
    """The queries and recalls of one sampled request."""

    def __init__(self, trace: Trace) -> None:
        self.queries: list[Query] = []
        self.trace = trace
        self.at, self._began = time.time(), time.perf_counter()

    def seconds(self) -> float:
        """Return the seconds since it began."""
        return time.perf_counter() - self._began

    def tables(self) -> frozenset[Table]:
        """Return the tables that were read, also those that found entries depend on."""
        read = (query.tables for query in self.queries)
        recalled = (tables_of(recall) for recall in self.trace.recalls if not recall.depth)
        return frozenset[Table]().union(*read, *recalled)

    @contextmanager
    def reading(
        self, text: str, params: object, tables: Iterable[Table], *, is_untracked: bool
    ) -> Iterator[None]:
        """Time the query of the block, unless it is on this package's tables."""
        at, began = time.time(), time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - began
            if OWN_TABLES not in text:  # no cache helps them
                name = shortened(LIST_OF_PARAMETERS.sub("%s, ...", text))
                place = function_of_project(sys._getframe(1))
                read = frozenset([*tables, UNTRACKED] if is_untracked else tables)
                arguments = hash((text, repr(params)))
                self.queries.append(Query(name, place, arguments, seconds, read, at))


_work: ContextVar[Work | None] = ContextVar("cachelayers_work", default=None)
pending_samples: deque[Sample] = deque(maxlen=MOST_WAITING)
# What the execute wrapper calls for a read: the sampled request, if there is one. It is the method
# itself, because every query calls it.
read_hook = _work.get


def is_sampling() -> bool:
    """Return whether requests are sampled."""
    return package_settings().ADVISE_SAMPLE > 0


@contextmanager
def sampling() -> Iterator[Work]:
    """Sample the queries and recalls of the block."""
    with tracing() as trace:
        token = _work.set(begun := Work(trace))
        try:
            yield begun
        finally:
            _work.reset(token)
            note_queries(begun)
            note_recalls(begun)


def note_view(begun: Work, name: str, arguments: int) -> None:
    """Add a view as a sample, after it has made its response."""
    add_sample(Sample("view", name, "", arguments, begun.seconds(), begun.tables(), begun.at))


def note_queries(begun: Work) -> None:
    """Add the queries of a block as samples, one by one and together for each function."""
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
    """Add the recalls of a block as samples."""
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
                    stored_bytes=recall.stored_bytes,
                )
            )


def name_of(key: str) -> tuple[str, str]:
    """Return the kind and name of the entry under a key, without its arguments."""
    head, _, rest = key.partition(":")
    if head == "fragment" and rest:
        return "fragment", shortened(rest.rpartition(":")[0] or rest)
    return "recall", shortened(head)


# The kinds of the tags that name a table.
OF_TABLES = frozenset({"table", "row", "rows", "slice", "slices"})


def tables_of(recall: TracedRecall) -> frozenset[Table]:
    """Return the tables that a value depends on."""
    parts = ((database, *tag.split(":", 2)[:2]) for database, tag in recall.tags)
    return frozenset((database, name) for database, kind, name in parts if kind in OF_TABLES)


def shortened(text: str) -> str:
    """Return a unique name that fits into its column."""
    if len(text) <= LONGEST_NAME:
        return text
    digest = blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()
    return f"{text[: LONGEST_NAME - 17]}~{digest}"


def add_sample(sample: Sample) -> None:
    """Have a sample written, if it is among the chosen share."""
    thing = hash((sample.kind, sample.name, sample.arguments))
    if thing % PARTS < package_settings().ADVISE_SAMPLE * PARTS:
        pending_samples.append(sample)


def function_of_project(frame: FrameType | None) -> str:
    """Return the innermost function of the project, as ``module.function``, or ""."""
    for _ in range(MOST_FRAMES):
        if frame is None:
            break
        if is_of_project(frame.f_code.co_filename):
            # A nested function, such as a generator, counts as its outer function.
            function = frame.f_code.co_qualname.partition(".<locals>")[0]
            return shortened(f"{frame.f_globals.get('__name__', '')}.{function}")
        frame = frame.f_back
    return ""


def line_of_project() -> str:
    """Return the innermost line of the project, as ``file:line``, or ""."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not is_of_project(frame.f_code.co_filename):
        frame = frame.f_back
    return "" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


@lru_cache(maxsize=4096)
def is_of_project(filename: str) -> bool:
    """Return whether a file is the project's, not a library's, Python's or this package's."""
    if filename.startswith("<"):
        return False
    return not filename.startswith(folders_of_others())


@lru_cache(maxsize=1)
def folders_of_others() -> tuple[str, ...]:
    """Return the directories of libraries, of Python, and of this package."""
    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    own = str(Path(__file__).parents[1])
    import django

    return tuple(f"{path}{os.sep}" for path in (*paths, own, str(Path(django.__file__).parent)))


# The parent writes its own samples.
os.register_at_fork(after_in_child=pending_samples.clear)
