"""Several processes at once on one cache: the total they reach, the delays, and lost writes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from benchmarks import worker
from benchmarks.filling import fill
from benchmarks.peers import BARE, Cache, Peer
from benchmarks.values import build_values

PROCESSES = 4


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long the processes run at once, and how often each peer comes round."""

    rounds: int
    seconds: float
    rows: int


PACES = {
    "full": Pace(rounds=2, seconds=5.0, rows=10_000),
    "quick": Pace(rounds=1, seconds=0.7, rows=1_000),
    "smoke": Pace(rounds=1, seconds=0.1, rows=200),
}


@dataclass(kw_only=True)
class Crowd:
    """What all processes together reached on one peer; one total for each round."""

    peer: Peer
    operations_per_second: list[float] = field(default_factory=list)
    get_us: list[float] = field(default_factory=list)
    set_us: list[float] = field(default_factory=list)
    checked: int = 0
    lost: int = 0
    misses: int = 0
    faults: int = 0

    @property
    def total(self) -> float:
        """Return the operations per second of all processes together."""
        return statistics.median(self.operations_per_second)


def measure_processes(peers: Iterable[Peer], pace: Pace) -> list[Crowd]:
    """Run the processes on each peer in turns; the bare driver takes no part."""
    crowds = [Crowd(peer=peer) for peer in peers if peer.name != BARE]
    values = build_values(worker.KIND)
    for _round in range(pace.rounds):
        for crowd in crowds:
            keys = worker.key_names(pace.rows)
            fill(
                crowd.peer,
                ((key, values[number % len(values)]) for number, key in enumerate(keys)),
            )
            run_crowd(crowd, pace)
    return crowds


def run_crowd(crowd: Crowd, pace: Pace) -> None:
    with ExitStack() as stack:
        workers = [
            stack.enter_context(start_worker(crowd.peer, number, pace))
            for number in range(PROCESSES)
        ]
        stack.callback(end_workers, workers)
        for process in workers:
            hear(process)  # "ready"
        works = tell_all(workers, "go")
    crowd.operations_per_second.append(sum(work["operations"] / work["seconds"] for work in works))
    for work in works:
        crowd.get_us += work["get_us"]
        crowd.set_us += work["set_us"]
        crowd.misses += work["misses"]
        crowd.faults += work["faults"]
        crowd.checked += len(work["serials"])
        crowd.lost += count_losses(crowd.peer.open(), work["serials"])


def start_worker(peer: Peer, number: int, pace: Pace) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.worker", peer.name, peer.database]
    command += [f"--number={number}", f"--processes={PROCESSES}"]
    command += [f"--rows={pace.rows}", f"--seconds={pace.seconds}"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def tell_all(workers: list[subprocess.Popen[str]], word: str) -> list[dict[str, Any]]:
    """Tell all at once, then hear each: none is told while another already works alone."""
    for process in workers:
        assert process.stdin is not None
        process.stdin.write(word + "\n")
        process.stdin.flush()
    return [json.loads(hear(process)) for process in workers]


def hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(
            f"The process {process.args!r} ended with code {process.wait()} before it answered. "
            "Its error is printed above."
        )
    return line


def count_losses(cache: Cache, serials: dict[str, int]) -> int:
    """Count the values that are not the last ones set: no other process writes these keys."""
    values = ((cache.get(key), serial) for key, serial in serials.items())
    return sum(value is None or value.get("serial") != serial for value, serial in values)


def end_workers(workers: list[subprocess.Popen[str]]) -> None:
    """Those that have answered have ended by themselves; the others are of no use any more."""
    for process in workers:
        if process.poll() is None:
            process.terminate()
