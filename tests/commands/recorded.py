"""Warmers for tests of the records, and a function that makes records older."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from typing import Any

from cachelayers import warmer
from cachelayers.models import WarmerRun
from cachelayers.warming.runs import LastRun, last_run_of, warmer_source


def register(name: str, *things: Any, every: float | None = None) -> None:
    @warmer(name, every=every)
    def some() -> Iterable[Any]:
        yield from things

    some.__qualname__ = name


def run_of(name: str, shard: str = "") -> LastRun:
    run = last_run_of(warmer_source(name, shard))
    assert run is not None
    return run


def fail() -> None:
    raise ValueError("no such country")


class Stop:
    """Interrupts the run at its first call."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        if self.calls == 1:
            raise KeyboardInterrupt


def wind_back(name: str, seconds: float) -> None:
    """Make the last run older."""
    source = warmer_source(name).key
    for row in WarmerRun.objects.filter(source=source):
        for field in ("started", "queued", "ended", "alive_until"):
            if (at := getattr(row, field)) is not None:
                setattr(row, field, at - int(seconds * 1000))
        row.save()


def dead_process() -> int:
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as process:
        process.wait()
        return process.pid
