"""One of several processes that use the same cache at once. Started by processes.py.

It speaks in lines: says "ready", waits for "go", works, and reports what it did. The environment
tells it where the servers are.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sqlite3
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import django
from django.db import Error as DjangoDatabaseError

from benchmarks.environment import TIMEOUT_SECONDS
from benchmarks.values import build_values

KIND = "dict"
SET_SHARE = 0.1
PLANNED = 20_000  # choices made before the clock starts, then taken in turn
FAULTS = (DjangoDatabaseError, sqlite3.Error)  # anything else ends the run


@dataclass(kw_only=True)
class Work:
    """What one process did."""

    operations: int = 0
    seconds: float = 0.0
    get_us: list[float] = field(default_factory=list)
    set_us: list[float] = field(default_factory=list)
    misses: int = 0  # every key is there: none must be missed
    faults: int = 0
    serials: dict[str, int] = field(default_factory=dict)  # of the last set of each key


def main() -> None:
    """Work as the parent says, on the peer that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker")
    parser.add_argument("peer")
    parser.add_argument("database")
    parser.add_argument("--number", type=int, required=True, help="which of the processes this is")
    parser.add_argument("--processes", type=int, required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    django.setup()
    cache = open_peer(options.peer, options.database)
    keys = key_names(options.rows)
    plan = build_plan(keys, options.number, options.processes)
    cache.get(keys[0])  # connects

    say("ready")
    sys.stdin.readline()
    say(json.dumps(asdict(perform(cache, plan, options.seconds))))


def open_peer(name: str, database: str) -> Any:
    from benchmarks.peers import PEERS

    return next(p for p in PEERS if (p.name, p.database) == (name, database)).open()


def key_names(rows: int) -> list[str]:
    return [f"shared:{number}" for number in range(rows)]


def build_plan(keys: list[str], number: int, processes: int) -> list[tuple[str, bool]]:
    """Choose keys by Zipf's law and say which are set: those of the process's own range only."""
    source = random.Random(number)
    own = keys[number::processes]
    gets = source.choices(keys, weights=zipf_weights(len(keys)), k=PLANNED)
    sets = source.choices(own, weights=zipf_weights(len(own)), k=PLANNED)
    plan = []
    for key_to_get, key_to_set in zip(gets, sets, strict=True):
        is_set = source.random() < SET_SHARE
        plan.append((key_to_set if is_set else key_to_get, is_set))
    return plan


def zipf_weights(count: int) -> list[float]:
    return [1 / rank for rank in range(1, count + 1)]


def perform(cache: Any, plan: list[tuple[str, bool]], seconds: float) -> Work:
    """Get and set for a time; a set that raises nothing counts as written."""
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


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
