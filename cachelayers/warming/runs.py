"""The last run of each warmer and the one in progress, so that nothing runs twice."""

from __future__ import annotations

import os
import platform
import struct
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from hashlib import blake2b
from pathlib import Path
from typing import Any
from uuid import uuid4

from django.db import IntegrityError

from cachelayers.models import WarmerRun
from cachelayers.warming.outcomes import Outcome, State
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


SAVE_SECONDS = 2.0
# What was warmed is written less often, the more it is: 8 bytes for each item.
SAVE_DONE_SECONDS = 10.0
MOST_SHARE_OF_SAVING = 0.05  # of the time
GRACE_SECONDS = 60.0  # clocks of different machines, and a database that is slow
SILENCE_WITHOUT_LIMIT_SECONDS = 3600.0
MOST_FAILURES = 20
LONGEST_TEXT = 500


class AlreadyRunning(Exception):
    """Another process is at it; the message says which, since when and how far."""

    def __init__(self, run: LastRun) -> None:
        self.run = run
        since = f"{run.started_at:%Y-%m-%d %H:%M:%S} UTC" if run.started_at else "now"
        super().__init__(
            f"is being run since {since} by process {run.process} on {run.host}"
            f" ({run.done:,} of {run.total:,} done)"
        )


class Record:
    """The row of one source, held by this run."""

    def __init__(self, row: WarmerRun, silence_seconds: float) -> None:
        self.source_key = row.source
        self.done: set[int] = set()
        self.token = row.token
        self._silence_seconds = silence_seconds
        self._counts: Counter[State] = Counter()
        self._failures: list[dict[str, str]] = []
        self._total = 0
        self._began: float | None = None
        self._planning_seconds = 0.0
        now = time.monotonic()
        self._saved_at = self._done_saved_at = now
        self._done_pause = SAVE_DONE_SECONDS

    def remember_done(self, done: Iterable[int]) -> None:
        """Take over what the interrupted run has warmed."""
        self.done.update(done)

    def planned(self, total: int, *, seconds: float) -> None:
        """Note how many items there are, and how long it took to find out."""
        self._total, self._planning_seconds = total, seconds
        self._save()

    def note(self, outcome: Outcome, identity: str | None = None) -> None:
        """Count one; it is written down within SAVE_SECONDS, or with the next one."""
        self._begin()
        self._counts[outcome.state] += 1
        if outcome.state is not State.FAILED:
            if identity is not None:
                self.done.add(number_of(identity))
        elif len(self._failures) < MOST_FAILURES:
            self._failures.append(
                {"label": storable(outcome.label), "reason": storable(outcome.reason)}
            )
        if time.monotonic() - self._saved_at >= SAVE_SECONDS:
            self._save()

    @property
    def is_complete(self) -> bool:
        """Whether every item has ended."""
        return sum(self._counts.values()) >= self._total

    def end(self, state: RunState) -> None:
        """Write the last word. What was warmed is kept only where there is something to resume."""
        is_finished = state is RunState.FINISHED
        working = 0.0 if self._began is None else time.monotonic() - self._began
        self._write(
            state=state.value,
            ended=milliseconds(),
            seconds=self._planning_seconds + working,
            alive_until=0,
            done=None if is_finished else pack(self.done),
        )

    def stay_alive(self) -> None:
        """Tell that the run goes on, while other sources of it are warmed."""
        if time.monotonic() - self._saved_at >= SAVE_SECONDS:
            self._save()

    def _begin(self) -> None:
        if self._began is None:
            self._began = time.monotonic()

    def _save(self) -> None:
        began = time.monotonic()
        more: dict[str, Any] = {}
        if began - self._done_saved_at >= self._done_pause and self.done:
            more["done"] = pack(self.done)
        self._write(alive_until=milliseconds() + int(1000 * self._silence_seconds), **more)
        self._saved_at = time.monotonic()
        if more:
            self._done_saved_at = self._saved_at
            self._done_pause = max(
                SAVE_DONE_SECONDS, (self._saved_at - began) / MOST_SHARE_OF_SAVING
            )

    def _write(self, **values: Any) -> None:
        # By the token: where this run was taken for dead, the row is somebody else's by now.
        WarmerRun.objects.filter(source=self.source_key, token=self.token).update(
            total=self._total,
            warmed=self._counts[State.WARMED],
            already_warm=self._counts[State.ALREADY_WARM],
            failed=self._counts[State.FAILED],
            failures=self._failures,
            **values,
        )


def claim(
    source: Source, *, time_limit: float | None, resume: bool = False, token: str = ""
) -> Record:
    """Take a source's row for this run; raises AlreadyRunning where another process has it.

    ``token``: of a claim that was made for this process by the one that started it.
    """
    silence = (time_limit or SILENCE_WITHOUT_LIMIT_SECONDS) + GRACE_SECONDS
    row = row_of(source)
    done = bytes(row.done or b"") if resume else b""
    is_adopted = bool(token) and row.token == token
    if row.state == RunState.RUNNING.value and not is_adopted and not is_dead(row):
        raise AlreadyRunning(describe(row))
    mine = token if is_adopted else uuid4().hex
    # Only if the row is still as it was read: of two that come at once, one finds it changed.
    taken = WarmerRun.objects.filter(source=source.key, token=row.token, state=row.state).update(
        token=mine,
        state=RunState.RUNNING.value,
        host=host_name(),
        process_space=process_space(),
        process=os.getpid(),
        queued=None,
        started=milliseconds(),
        ended=None,
        alive_until=milliseconds() + int(1000 * silence),
        total=0,
        warmed=0,
        already_warm=0,
        failed=0,
        failures=[],
        done=done or None,
    )
    if not taken:
        raise AlreadyRunning(describe(row_of(source)))
    row.token = mine
    record = Record(row, silence)
    record.remember_done(unpack(done))
    return record


def hand_over(source: Source, *, process: int, token: str) -> None:
    """Write down that a claim of this process is carried out by another one."""
    WarmerRun.objects.filter(source=source.key, token=token).update(process=process)


def holds(source: Source, token: str) -> bool:
    """Tell whether a source's row is still that of the run with this token."""
    return WarmerRun.objects.filter(source=source.key, token=token).exists()


def note_queued(source: Source) -> None:
    """Write down that a source waits in a task queue."""
    row_of(source)
    # Not over a run that goes on: that one's end is worth more than the wait of the next.
    WarmerRun.objects.filter(source=source.key).exclude(state=RunState.RUNNING.value).update(
        state=RunState.QUEUED.value, queued=milliseconds()
    )


def forget_queued(source: Source) -> None:
    """Write down that a source does not wait any more: the queue did not take it."""
    WarmerRun.objects.filter(source=source.key, state=RunState.QUEUED.value).update(
        state=RunState.FINISHED.value, queued=None
    )


def row_of(source: Source) -> WarmerRun:
    """Return a source's row, made where there is none."""
    values = {
        "kind": source.kind.value,
        "name": source.name,
        "shard": source.shard,
        "state": RunState.FINISHED.value,
    }
    try:
        row, _ = WarmerRun.objects.get_or_create(source=source.key, defaults=values)
    except IntegrityError:
        row = WarmerRun.objects.get(source=source.key)
    return row


def storable(text: str) -> str:
    """Return a text that every database takes, whatever an error's message holds."""
    whole = text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
    return whole[:LONGEST_TEXT]


def number_of(identity: str) -> int:
    """Return 64 bits that stand for an item, the same in every process."""
    return int.from_bytes(blake2b(identity.encode("utf-8", "replace"), digest_size=8).digest())


def pack(done: set[int]) -> bytes:
    """Return numbers as bytes, the same on every machine."""
    return struct.pack(f">{len(done)}Q", *done)


def unpack(data: bytes) -> tuple[int, ...]:
    """Return the numbers that were packed."""
    return struct.unpack(f">{len(data) // 8}Q", data)
