"""Write down how far a run is, and see to it that nothing runs twice at once. Used by ``run``."""

from __future__ import annotations

import os
import struct
import time
from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any
from uuid import uuid4

from django.db import IntegrityError

from cachelayers.models import WarmerRun
from cachelayers.warming.outcomes import Outcome, State
from cachelayers.warming.runs import (
    LastRun,
    RunState,
    Source,
    describe,
    host_name,
    is_dead,
    milliseconds,
    process_space,
)

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
