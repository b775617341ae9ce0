"""One process that uses a cache together with others; in one mode it has several threads.

Started by ``processes``. It prints "ready", waits for "go", works, and prints the result of each
thread. The environment names the servers.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sqlite3
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import django
from django.db import Error as DjangoDatabaseError

from benchmarks.environment import TIMEOUT_SECONDS
from benchmarks.values import build_values

if TYPE_CHECKING:
    from benchmarks.peers import Cache, Peer

KIND = "dict"
SET_SHARE = 0.1
PLANNED = 20_000  # choices made before the clock starts, then taken in turn
FAULTS = (DjangoDatabaseError, sqlite3.Error)  # any other error ends the run
Plan = list[tuple[str, bool]]


@dataclass(kw_only=True)
class Work:
    """The result of one thread."""

    operations: int = 0
    seconds: float = 0.0
    get_us: list[float] = field(default_factory=list)
    set_us: list[float] = field(default_factory=list)
    misses: int = 0  # every key exists: there must be no misses
    faults: int = 0
    lost: int = 0  # counted here if no other process can read the values
    serials: dict[str, int] = field(default_factory=dict)  # of the last set of each key


class Worker(threading.Thread):
    """A thread with a cache object and a plan of its own."""

    def __init__(
        self, peer: Peer, keys: list[str], plan: Plan, start: threading.Barrier, seconds: float
    ) -> None:
        """``start``: the barrier at which ready workers wait."""
        # the process ends after an error, without waiting for other threads
        super().__init__(daemon=True)
        self.peer, self.keys, self.plan = peer, keys, plan
        self.start_line, self.seconds = start, seconds
        self.work: Work | None = None

    def run(self) -> None:
        from benchmarks.machines import close_connections

        try:
            cache = self.peer.open()
            if self.peer.is_local:
                cache.set_many(dict(shared_rows(self.keys)), TIMEOUT_SECONDS)
            cache.get(self.keys[0])  # connects
            self.start_line.wait()  # for the last one to be ready
            self.start_line.wait()  # for "go"
            work = perform(cache, self.plan, self.seconds)
            self.start_line.wait()  # for the last one to end
            if self.peer.is_local:
                work.lost = count_losses(cache, work.serials)
            self.work = work
        except BaseException:
            self.start_line.abort()
            raise
        finally:
            close_connections()


def main() -> None:
    """Run the workers on the peer that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker")
    parser.add_argument("peer")
    parser.add_argument("database")
    parser.add_argument("--number", type=int, required=True, help="which of the processes this is")
    parser.add_argument("--processes", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True, help="in each process")
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    django.setup()
    peer = find_peer(options.peer, options.database)
    keys = key_names(options.rows)
    start = threading.Barrier(options.threads + 1)
    crowd = options.processes * options.threads
    first = options.number * options.threads
    workers = [
        Worker(peer, keys, build_plan(keys, number, crowd), start, options.seconds)
        for number in range(first, first + options.threads)
    ]
    for worker in workers:
        worker.start()

    start.wait()
    say("ready")
    sys.stdin.readline()
    start.wait()
    start.wait()
    for worker in workers:
        worker.join()
    works = [worker.work for worker in workers if worker.work is not None]
    works[0].faults += peer.count_failures()
    say(json.dumps([asdict(work) for work in works]))


def find_peer(name: str, database: str) -> Peer:
    from benchmarks.peers import PEERS

    return next(peer for peer in PEERS if (peer.name, peer.database) == (name, database))


def key_names(rows: int) -> list[str]:
    return [f"shared:{number}" for number in range(rows)]


def shared_rows(keys: list[str]) -> list[tuple[str, Any]]:
    """Return the value of every key before the work begins."""
    return list(zip(keys, itertools.cycle(build_values(KIND)), strict=False))


def build_plan(keys: list[str], number: int, crowd: int) -> Plan:
    """Choose keys by Zipf's law; set only those in the worker's own range."""
    source = random.Random(number)
    own = keys[number::crowd]
    gets = source.choices(keys, weights=zipf_weights(len(keys)), k=PLANNED)
    sets = source.choices(own, weights=zipf_weights(len(own)), k=PLANNED)
    plan = []
    for key_to_get, key_to_set in zip(gets, sets, strict=True):
        is_set = source.random() < SET_SHARE
        plan.append((key_to_set if is_set else key_to_get, is_set))
    return plan


def zipf_weights(count: int) -> list[float]:
    return [1 / rank for rank in range(1, count + 1)]


def perform(cache: Any, plan: Plan, seconds: float) -> Work:
    """Get and set for a time; a set without an error counts as written."""
    work = Work()
    values = build_values(KIND)
    clock = time.perf_counter
    start = now = clock()
    for serial, (key, is_set) in enumerate(itertools.cycle(plan)):
        value = {**values[serial % len(values)], "serial": serial} if is_set else None
        begin = clock()
        try:
            if is_set:
                cache.set(key, value, TIMEOUT_SECONDS)
                work.serials[key] = serial
            elif cache.get(key) is None:
                work.misses += 1
        except FAULTS:
            work.faults += 1
        now = clock()
        (work.set_us if is_set else work.get_us).append((now - begin) * 1e6)
        if now - start >= seconds:
            break
    work.operations = len(work.get_us) + len(work.set_us)
    work.seconds = now - start
    return work


def count_losses(cache: Cache, serials: Mapping[str, int]) -> int:
    """Count the values that are not the last ones set: no other worker writes these keys."""
    values = ((cache.get(key), serial) for key, serial in serials.items())
    return sum(value is None or value.get("serial") != serial for value, serial in values)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
