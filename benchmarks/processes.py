"""Several processes or threads at once on one cache: total speed, delays, and lost writes."""

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
from benchmarks.peers import BARE, Peer


@dataclass(frozen=True, kw_only=True)
class Mode:
    """The number of workers: the same in all modes, so that the totals can be compared."""

    name: str
    processes: int
    threads: int  # in each process


THREADS = Mode(name="4 threads of one process", processes=1, threads=4)
PROCESSES = Mode(name="4 processes", processes=4, threads=1)
MODES = (THREADS, PROCESSES)


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long the workers run, and the number of rounds."""

    rounds: int
    seconds: float
    rows: int


PACES = {
    "full": Pace(rounds=2, seconds=3.0, rows=10_000),
    "quick": Pace(rounds=1, seconds=0.7, rows=1_000),
    "smoke": Pace(rounds=1, seconds=0.1, rows=200),
}


@dataclass(kw_only=True)
class Crowd:
    """The results of all workers on one peer; one total for each round."""

    peer: Peer
    mode: Mode
    operations_per_second: list[float] = field(default_factory=list)
    get_us: list[float] = field(default_factory=list)
    set_us: list[float] = field(default_factory=list)
    checked: int = 0
    lost: int = 0
    misses: int = 0
    faults: int = 0

    @property
    def total(self) -> float:
        """Return the operations per second of all workers together."""
        return statistics.median(self.operations_per_second)


def measure_processes(peers: Iterable[Peer], pace: Pace) -> list[Crowd]:
    """Run each mode on each peer in turns; the bare driver is left out."""
    entrants = [peer for peer in peers if peer.name != BARE]
    crowds = [Crowd(peer=peer, mode=mode) for mode in MODES for peer in entrants]
    rows = worker.shared_rows(worker.key_names(pace.rows))
    for _round in range(pace.rounds):
        for crowd in crowds:
            if not crowd.peer.is_local:  # else each worker fills its own memory
                fill(crowd.peer, rows)
            run_crowd(crowd, pace)
    return crowds


def run_crowd(crowd: Crowd, pace: Pace) -> None:
    with ExitStack() as stack:
        workers = [
            stack.enter_context(start_worker(crowd, number, pace))
            for number in range(crowd.mode.processes)
        ]
        stack.callback(end_workers, workers)
        for process in workers:
            read_line(process)  # "ready"
        works = send_to_all(workers, "go")
    crowd.operations_per_second.append(sum(work["operations"] / work["seconds"] for work in works))
    crowd.peer.forget_memory()
    for work in works:
        crowd.get_us += work["get_us"]
        crowd.set_us += work["set_us"]
        crowd.misses += work["misses"]
        crowd.faults += work["faults"]
        crowd.checked += len(work["serials"])
        crowd.lost += work["lost"]
        if not crowd.peer.is_local:
            crowd.lost += worker.count_losses(crowd.peer.open(), work["serials"])


def start_worker(crowd: Crowd, number: int, pace: Pace) -> subprocess.Popen[str]:
    peer, mode = crowd.peer, crowd.mode
    command = [sys.executable, "-m", "benchmarks.worker", peer.name, peer.database]
    command += [f"--number={number}", f"--processes={mode.processes}", f"--threads={mode.threads}"]
    command += [f"--rows={pace.rows}", f"--seconds={pace.seconds}"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def send_to_all(workers: list[subprocess.Popen[str]], command: str) -> list[dict[str, Any]]:
    """Send a line to all, then read each answer: no worker waits while another already works."""
    for process in workers:
        assert process.stdin is not None
        process.stdin.write(command + "\n")
        process.stdin.flush()
    return [work for process in workers for work in json.loads(read_line(process))]


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(
            f"The process {process.args!r} ended with code {process.wait()} before it answered. "
            "Its error is printed above."
        )
    return line


def end_workers(workers: list[subprocess.Popen[str]]) -> None:
    """Terminate the workers that are still running: those that have answered have ended."""
    for process in workers:
        if process.poll() is None:
            process.terminate()
