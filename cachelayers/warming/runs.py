"""The records of runs: the last run of each source and the current one, so that none runs twice.

`run` writes them; the admin and ``warm_cache`` read them. A warmer that is started in its own
process is claimed here first.
"""

from __future__ import annotations

import os
import platform
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from hashlib import blake2b
from pathlib import Path
from threading import Thread
from typing import IO, Any
from uuid import uuid4

from django.conf import settings
from django.core.management import call_command
from django.db import connections

from cachelayers.models import WarmerRun
from cachelayers.utils.text import without_secrets
from cachelayers.warming.items import Outcome, State
from cachelayers.warming.registry import Warmer, registered_warmers

# cron starts a command slightly later each time; without it every second run would be skipped.
EARLY_SHARE = 0.05
MOST_EARLY_SECONDS = 30.0


class Kind(Enum):
    """What kind of source it is."""

    WARMER = "warmer"
    SITEMAP = "sitemap"
    URLS = "urls"
    STATIC = "static"


class RunState(Enum):
    """The state of a run."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    LOST = "lost"  # it was running, and its last heartbeat is too old


@dataclass(frozen=True, kw_only=True)
class Source:
    """A warmer, a sitemap, a list of URLs or the static files; ``shard`` is i/n, or empty."""

    kind: Kind
    name: str
    shard: str = ""

    @property
    def key(self) -> str:
        """Return the key of its row.

        A digest, because some databases compare text without case, and index only its beginning.
        """
        text = f"{self.kind.value}\0{self.name}\0{self.shard}"
        return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()

    def __str__(self) -> str:
        if self.kind is Kind.STATIC:
            return "static files"
        name = repr(self.name) if self.kind is Kind.WARMER else self.name
        return f"{self.kind.value} {name}"


@dataclass(frozen=True, kw_only=True)
class LastRun:
    """One row, for display. Times are aware, in UTC."""

    source: Source
    state: RunState
    host: str
    process: int
    queued_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    seconds: float | None  # duration of the last finished run
    total: int
    warmed: int
    already_warm: int
    failed: int
    failures: tuple[Outcome, ...]  # the first ones

    @property
    def done(self) -> int:
        """Return the number of finished items."""
        return self.warmed + self.already_warm + self.failed

    @property
    def percent(self) -> int:
        """Return the progress; 0 until the total is known."""
        return min(100, 100 * self.done // self.total) if self.total else 0

    @property
    def is_running(self) -> bool:
        """Tell whether a process is running it."""
        return self.state is RunState.RUNNING


@dataclass(frozen=True, kw_only=True)
class WarmerStatus:
    """A registered warmer with its last run, or None."""

    warmer: Warmer
    last_run: LastRun | None

    @property
    def due_at(self) -> datetime | None:
        """Return the time of the next run; None without ``every``."""
        every = self.warmer.every_seconds
        if every is None:
            return None
        if (run := self.last_run) is None or run.state in {RunState.INTERRUPTED, RunState.LOST}:
            return datetime.fromtimestamp(0, UTC)
        # A queued warmer is not enqueued again, unless the queue has lost it.
        begun = max(filter(None, (run.started_at, run.queued_at)), default=None)
        early = min(every * EARLY_SHARE, MOST_EARLY_SECONDS)
        return datetime.fromtimestamp((begun.timestamp() if begun else 0) + every - early, UTC)

    def is_due(self) -> bool:
        """Tell whether ``warm_cache --due`` would run it now."""
        due_at = self.due_at
        is_running = self.last_run is not None and self.last_run.is_running
        return due_at is not None and due_at <= datetime.now(UTC) and not is_running


def last_runs() -> list[LastRun]:
    """Return the last runs of all sources, the latest first."""
    rows = WarmerRun.objects.defer("done")
    return [describe(row) for row in sorted(rows, key=lambda row: -(row.started or 0))]


def last_run_of(source: Source) -> LastRun | None:
    row = WarmerRun.objects.defer("done").filter(source=source.key).first()
    return describe(row) if row is not None else None


def warmers_with_runs(shard: str = "") -> list[WarmerStatus]:
    """Return every registered warmer with its last run, in the order of INSTALLED_APPS."""
    return statuses_of(registered_warmers().values(), shard)


def statuses_of(warmers: Iterable[Warmer], shard: str = "") -> list[WarmerStatus]:
    sources = {each.name: warmer_source(each.name, shard) for each in warmers}
    rows = WarmerRun.objects.defer("done").filter(source__in=[one.key for one in sources.values()])
    found = {row.source: describe(row) for row in rows}
    return [
        WarmerStatus(warmer=each, last_run=found.get(sources[each.name].key)) for each in warmers
    ]


def warmer_source(name: str, shard: str = "") -> Source:
    return Source(kind=Kind.WARMER, name=name, shard=shard)


def describe(row: WarmerRun) -> LastRun:
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
        failures=tuple(Outcome(state=State.FAILED, **each) for each in row.failures),
    )


def is_dead(row: WarmerRun) -> bool:
    """Tell whether the process named in a running row is known to be gone."""
    if row.alive_until <= milliseconds():
        return True
    is_here = (row.host, row.process_space) == (host_name(), process_space())
    if not is_here or os.name != "posix":  # on Windows, signal 0 is a real signal
        return False
    try:
        os.kill(row.process, 0)
    except OSError as error:  # any other: the process belongs to another user
        return isinstance(error, ProcessLookupError)
    return False


def milliseconds() -> int:
    """Return the current time in the unit of the tables."""
    return int(time.time() * 1000)


def moment(at: int | None) -> datetime | None:
    """Return a time from the tables."""
    return None if at is None else datetime.fromtimestamp(at / 1000, UTC)


def host_name() -> str:
    return platform.node()[:255]


def process_space() -> str:
    """Return an id of the process namespace: containers may share a host name."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())[:64]
    except OSError:  # not on Linux
        return ""


SAVE_SECONDS = 2.0
# The more items are done, the less often a row with their list (8 bytes each) is written.
MOST_SHARE_OF_SAVING = 0.05  # of the time
GRACE_SECONDS = 60.0  # for clock differences between machines, and a slow database
SILENCE_WITHOUT_LIMIT_SECONDS = 3600.0
MOST_FAILURES = 20
LONGEST_TEXT = 500


class AlreadyRunning(Exception):
    """Another process runs it. The message says which, since when, and its progress."""

    def __init__(self, run: LastRun) -> None:
        self.run = run
        since = f"{run.started_at:%Y-%m-%d %H:%M:%S} UTC" if run.started_at else "now"
        super().__init__(
            f"is being run since {since} by process {run.process} on {run.host}"
            f" ({run.done:,} of {run.total:,} done)"
        )


class Record:
    """The row of one source, claimed by this run."""

    def __init__(self, row: WarmerRun, silence_seconds: float, done: Iterable[int] = ()) -> None:
        """``done``: the finished items of the interrupted run."""
        self.source_key = row.source
        self.token = row.token
        self.done = set(done)
        self._silence_seconds = silence_seconds
        self._counts: Counter[State] = Counter()
        self._failures: list[dict[str, str]] = []
        self._total = 0
        self._began: float | None = None
        self._planning_seconds = 0.0
        self._save_at = time.monotonic() + SAVE_SECONDS

    def planned(self, total: int, *, seconds: float) -> None:
        """Record the number of items, and how long planning took."""
        self._total, self._planning_seconds = total, seconds
        self._save()

    def count(self, outcome: Outcome, identity: str | None = None) -> None:
        """Count an outcome. It is written within SAVE_SECONDS, or with the next one."""
        self._began = self._began or time.monotonic()
        self._counts[outcome.state] += 1
        if outcome.state is not State.FAILED:
            if identity is not None:
                self.done.add(number_of(identity))
        elif len(self._failures) < MOST_FAILURES:
            self._failures.append(
                {"label": storable(outcome.label), "reason": storable(outcome.reason)}
            )
        self.stay_alive()

    @property
    def is_complete(self) -> bool:
        """Tell whether every item has ended."""
        return sum(self._counts.values()) >= self._total

    def end(self, state: RunState) -> None:
        """Record the end. Finished items are stored only if there is something to resume."""
        working = 0.0 if self._began is None else time.monotonic() - self._began
        self._write(
            state=state.value,
            ended=milliseconds(),
            seconds=self._planning_seconds + working,
            alive_until=0,
            done=None if state is RunState.FINISHED else pack(self.done),
        )

    def stay_alive(self) -> None:
        """Write a heartbeat, also while other sources of the run are warmed."""
        if time.monotonic() >= self._save_at:
            self._save()

    def _save(self) -> None:
        began = time.monotonic()
        alive_until = milliseconds() + int(1000 * self._silence_seconds)
        self._write(alive_until=alive_until, done=pack(self.done) or None)
        now = time.monotonic()
        self._save_at = now + max(SAVE_SECONDS, (now - began) / MOST_SHARE_OF_SAVING)

    def _write(self, **values: Any) -> None:
        # By the token: if this run was considered dead, another run has taken the row.
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
    """Claim a source's row for this run. AlreadyRunning if another process has it.

    ``token``: of a claim that the starting process has made for this one.
    """
    silence = (time_limit or SILENCE_WITHOUT_LIMIT_SECONDS) + GRACE_SECONDS
    row = row_of(source)
    done = bytes(row.done or b"") if resume else b""
    is_adopted = bool(token) and row.token == token
    if row.state == RunState.RUNNING.value and not is_adopted and not is_dead(row):
        raise AlreadyRunning(describe(row))
    mine = token if is_adopted else uuid4().hex
    # Only if the row is unchanged: of two simultaneous claims, one fails.
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
    return Record(row, silence, unpack(done))


def record_queued(source: Source) -> None:
    """Record that a source waits in a task queue."""
    row_of(source)
    # Not while it runs: the result of that run matters more.
    WarmerRun.objects.filter(source=source.key).exclude(state=RunState.RUNNING.value).update(
        state=RunState.QUEUED.value, queued=milliseconds()
    )


def forget_queued(source: Source) -> None:
    """Record that a source is not queued, because the queue refused it."""
    WarmerRun.objects.filter(source=source.key, state=RunState.QUEUED.value).update(
        state=RunState.FINISHED.value, queued=None
    )


def row_of(source: Source) -> WarmerRun:
    """Return a source's row, created if needed."""
    values = {
        "kind": source.kind.value,
        "name": source.name,
        "shard": source.shard,
        "state": RunState.FINISHED.value,
    }
    row, _ = WarmerRun.objects.get_or_create(source=source.key, defaults=values)
    return row


def storable(text: str) -> str:
    """Return the text without characters that some database refuses."""
    whole = text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
    return whole[:LONGEST_TEXT]


def number_of(identity: str) -> int:
    """Return 64 bits that identify an item, the same in every process."""
    return int.from_bytes(blake2b(identity.encode("utf-8", "replace"), digest_size=8).digest())


def pack(done: set[int]) -> bytes:
    """Return numbers as bytes, the same on every machine."""
    return struct.pack(f">{len(done)}Q", *done)


def unpack(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f">{len(data) // 8}Q", data)


# How long a claim is valid before the started process renews it.
START_SECONDS = 60.0
LONGEST_COMPLAINT = 2000


def run_warmer(name: str, arguments: Sequence[str] = ()) -> None:
    """Run one warmer in this process, as ``warm_cache`` does."""
    call_command("warm_cache", *arguments, "--", name, verbosity=0)


def start_process(name: str, arguments: Sequence[str] = ()) -> None:
    """Run one warmer in its own process, which outlives the request and the server.

    Raises AlreadyRunning, and OSError if no process can be started.
    """
    source = warmer_source(name)
    record = claim(source, time_limit=START_SECONDS)
    command = ["warm_cache", "--verbosity=0", f"--claimed={record.token}"]
    errors = tempfile.TemporaryFile()  # noqa: SIM115 - the thread below closes it
    try:
        process = subprocess.Popen(
            [*python(), *command, *arguments, "--", name],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,  # it must not get the server's signals
        )
    except OSError:
        errors.close()
        record.end(RunState.INTERRUPTED)
        raise
    WarmerRun.objects.filter(source=source.key, token=record.token).update(process=process.pid)
    Thread(
        target=wait_for_process,
        args=(process, source, record.token, errors),
        name=f"warm_cache-{process.pid}",
        daemon=True,
    ).start()


def wait_for_process(
    process: subprocess.Popen[bytes], source: Source, token: str, errors: IO[bytes]
) -> None:
    """Wait for a process. If it died before it recorded an error, record that."""
    try:
        if process.wait() != 0:
            errors.seek(0)
            said = errors.read()[-LONGEST_COMPLAINT:].decode(errors="replace")
            record_death(source, token, process.returncode, said)
    finally:
        errors.close()
        connections.close_all()


def record_death(source: Source, token: str, code: int, said: str) -> None:
    """Mark a record that is still open as failed."""
    rows = WarmerRun.objects.filter(source=source.key, token=token, state=RunState.RUNNING.value)
    if not rows.exists():
        return  # the process has recorded its end itself
    last_line = without_secrets((said.strip().splitlines() or ["it said nothing"])[-1])
    record = claim(source, time_limit=START_SECONDS, token=token)
    record.planned(1, seconds=0.0)
    reason = f"its process ended with {code}: {last_line}"
    record.count(Outcome(label=str(source), state=State.FAILED, reason=reason))
    record.end(RunState.INTERRUPTED)


def python() -> list[str]:
    """Return the beginning of the command line.

    In uWSGI and other servers that embed Python, sys.executable is the server.
    """
    here = Path(sys.executable)
    if not here.name.startswith("python"):
        here = Path(sys.exec_prefix) / "bin" / "python"
    return [str(here), "-m", "django"]


def environment() -> dict[str, str]:
    """Return the environment with which the process finds the same project."""
    path = os.pathsep.join(each or str(Path.cwd()) for each in sys.path)
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": settings.SETTINGS_MODULE,
        "PYTHONPATH": path,
    }
