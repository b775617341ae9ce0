"""Start the processes of one run, disturb their servers, and add up their findings."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import environment
from tests.coherence.stacks import Stack
from tests.forks import Forked, fork

PROCESSES = 4
BYTES_PER_KEY = 8
KEYS = 12


@dataclass
class Findings:
    """The sums over all processes."""

    hits: int = 0
    reads: int = 0
    writes: int = 0
    late: int = 0  # hits
    worst: float = 0.0  # largest delay of a value in seconds
    slowest: float = 0.0  # seconds of a page's reads, or of a write
    errors: list[str] = field(default_factory=list)

    def add(self, one: dict[str, Any]) -> None:
        for name in ("hits", "reads", "writes", "late", "errors"):
            setattr(self, name, getattr(self, name) + one[name])
        self.worst = max(self.worst, one["worst"])
        self.slowest = max(self.slowest, one["slowest"])


def run_crowd(stack: Stack, seconds: float, disturb: Callable[[], None] = lambda: None) -> Findings:
    """Run the processes for some seconds, and disturb their servers meanwhile."""
    folder = environment.make_private_folder("coherence")
    path = folder / "finished"
    path.write_bytes(bytes(PROCESSES * KEYS * BYTES_PER_KEY))
    running = [start(stack, number, path, seconds) for number in range(PROCESSES)]
    try:
        for process in running:
            read_line(process)
        for process in running:
            tell(process)
        disturb()
        findings = Findings()
        for process in running:
            findings.add(json.loads(read_line(process)))
        return findings
    finally:
        for process in running:
            process.end()


def start(stack: Stack, number: int, path: Path, seconds: float) -> Forked:
    arguments = [number, PROCESSES, path, seconds, random.randrange(10**9)]
    return fork(
        "tests.coherence.program",
        *arguments,
        settings="tests.coherence.settings",
        CACHELAYERS_COHERENCE_CACHES=json.dumps(stack.caches),
    )


def read_line(process: Forked) -> str:
    line = process.stdout.readline()
    if not line:
        raise AssertionError(process.communicate()[1])
    return line


def tell(process: Forked) -> None:
    process.stdin.write("go\n")
    process.stdin.flush()
