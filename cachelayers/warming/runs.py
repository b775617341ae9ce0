"""What became of the last run of each warmer, or how far it is. Read by operators' doors.

``last_runs()`` and ``warmers_with_runs()`` are for the admin and for commands; who writes is
``records``.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from hashlib import blake2b
from pathlib import Path

from cachelayers.models import WarmerRun
from cachelayers.warming.registry import Warmer, registered_warmers

# cron starts a command a moment later each time; without it every second run would be left out.
EARLY_SHARE = 0.05
MOST_EARLY_SECONDS = 30.0


class Kind(Enum):
    """What names the things to warm."""

    WARMER = "warmer"
    SITEMAP = "sitemap"
    URLS = "urls"
    STATIC = "static"


class RunState(Enum):
    """How far a run is."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    LOST = "lost"  # it was running, and has not been heard of for too long


@dataclass(frozen=True, kw_only=True)
class Source:
    """A warmer, a sitemap, a list of URLs or the static files; ``shard`` is i/n, or empty."""

    kind: Kind
    name: str
    shard: str = ""

    @property
    def key(self) -> str:
        """The row that belongs to it.

        A digest: some databases compare text without case, and index only its beginning.
        """
        text = f"{self.kind.value}\0{self.name}\0{self.shard}"
        return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()

    def __str__(self) -> str:
        if self.kind is Kind.STATIC:
            return "static files"
        name = repr(self.name) if self.kind is Kind.WARMER else self.name
        return f"{self.kind.value} {name}"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An item that could not be warmed, and why."""

    label: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class LastRun:
    """One row, as people want to know it. Times are aware, in UTC."""

    source: Source
    state: RunState
    host: str
    process: int
    queued_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    seconds: float | None  # that the last run took which has ended
    total: int
    warmed: int
    already_warm: int
    failed: int
    failures: tuple[Failure, ...]  # the first ones

    @property
    def done(self) -> int:
        """How many items have ended."""
        return self.warmed + self.already_warm + self.failed

    @property
    def percent(self) -> int:
        """How far it is; 0 as long as it is not known how much there is."""
        return min(100, 100 * self.done // self.total) if self.total else 0

    @property
    def is_running(self) -> bool:
        """Whether a process is at it."""
        return self.state is RunState.RUNNING


@dataclass(frozen=True, kw_only=True)
class WarmerStatus:
    """A registered warmer with its last run, if it ever ran."""

    warmer: Warmer
    last_run: LastRun | None

    @property
    def due_at(self) -> datetime | None:
        """When it is to run next; None where it has no ``every``."""
        every = self.warmer.every_seconds
        if every is None:
            return None
        if (run := self.last_run) is None or run.state in {RunState.INTERRUPTED, RunState.LOST}:
            return datetime.fromtimestamp(0, UTC)
        # What waits in a queue is not put there again, unless the queue has lost it.
        begun = max(filter(None, (run.started_at, run.queued_at)), default=None)
        early = min(every * EARLY_SHARE, MOST_EARLY_SECONDS)
        return datetime.fromtimestamp((begun.timestamp() if begun else 0) + every - early, UTC)

    def is_due(self) -> bool:
        """Whether ``warm_cache --due`` would run it now."""
        due_at = self.due_at
        is_running = self.last_run is not None and self.last_run.is_running
        return due_at is not None and due_at <= datetime.now(UTC) and not is_running


def last_runs() -> list[LastRun]:
    """Return the last run of everything that was ever warmed, the latest first."""
    rows = WarmerRun.objects.defer("done")
    return [describe(row) for row in sorted(rows, key=lambda row: -(row.started or 0))]


def last_run_of(source: Source) -> LastRun | None:
    """Return the last run of one source."""
    row = WarmerRun.objects.defer("done").filter(source=source.key).first()
    return describe(row) if row is not None else None


def warmers_with_runs(shard: str = "") -> list[WarmerStatus]:
    """Return every registered warmer with its last run, in the order of INSTALLED_APPS."""
    return statuses_of(registered_warmers().values(), shard)


def statuses_of(warmers: Iterable[Warmer], shard: str = "") -> list[WarmerStatus]:
    """Return warmers with their last runs."""
    sources = {each.name: warmer_source(each.name, shard) for each in warmers}
    rows = WarmerRun.objects.defer("done").filter(source__in=[one.key for one in sources.values()])
    found = {row.source: describe(row) for row in rows}
    return [
        WarmerStatus(warmer=each, last_run=found.get(sources[each.name].key)) for each in warmers
    ]


def warmer_source(name: str, shard: str = "") -> Source:
    """Return the source that a warmer is."""
    return Source(kind=Kind.WARMER, name=name, shard=shard)


def describe(row: WarmerRun) -> LastRun:
    """Return what a row says."""
    state = RunState(row.state)
    return LastRun(
        source=Source(kind=Kind(row.kind), name=row.name, shard=row.shard),
        state=RunState.LOST if state is RunState.RUNNING and is_dead(row) else state,
        host=row.host,
        process=row.process,
        queued_at=moment(row.queued),
        started_at=moment(row.started),
        ended_at=moment(row.ended),
        seconds=row.seconds,
        total=row.total,
        warmed=row.warmed,
        already_warm=row.already_warm,
        failed=row.failed,
        failures=tuple(Failure(**each) for each in row.failures),
    )


def is_dead(row: WarmerRun) -> bool:
    """Tell whether the process that a running row names is gone, as far as can be known."""
    if row.alive_until <= milliseconds():
        return True
    is_here = (row.host, row.process_space) == (host_name(), process_space())
    if not is_here or os.name != "posix":  # elsewhere than there, a signal of 0 is one
        return False
    try:
        os.kill(row.process, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it is somebody else's
        return False
    return False


def milliseconds() -> int:
    """Return the time, as the tables hold it."""
    return int(time.time() * 1000)


def moment(at: int | None) -> datetime | None:
    """Return what the tables hold as a time."""
    return None if at is None else datetime.fromtimestamp(at / 1000, UTC)


def host_name() -> str:
    """Return the name of this machine."""
    return platform.node()[:255]


def process_space() -> str:
    """Return what tells apart the process ids of containers that share a machine's name."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())[:64]
    except OSError:  # not on Linux
        return ""
