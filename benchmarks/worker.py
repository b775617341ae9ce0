"""One of several processes that use the same cache at once. Started by processes.py.

It speaks in lines: says "ready", waits for "go", reports what it did, waits for "check", and
reports which of its writes are not there. The environment tells it where the servers are.
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
    faults: int = 0


@dataclass(kw_only=True)
class Losses:
    """What became of the last value that one process set under each of its keys."""

    checked: int
    lost: int


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
    work, written = perform(cache, plan, options.seconds)
    say(json.dumps(asdict(work)))
    sys.stdin.readline()
    say(json.dumps(asdict(count_losses(cache, written))))


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


def perform(
    cache: Any, plan: list[tuple[str, bool]], seconds: float
) -> tuple[Work, dict[str, int]]:
    """Get and set for a time; return what was done and the serial last written under each key."""
    work = Work()
    written: dict[str, int] = {}
    values = build_values(KIND)
    clock = time.perf_counter
    start = now = clock()
    for serial, (key, is_set) in enumerate(itertools.cycle(plan)):
        value = {**values[serial % len(values)], "serial": serial} if is_set else None
        begin = clock()
        try:
            if is_set:
                cache.set(key, value, TIMEOUT_SECONDS)
                written[key] = serial
            else:
                cache.get(key)
        except FAULTS:
            work.faults += 1
        now = clock()
        (work.set_us if is_set else work.get_us).append((now - begin) * 1e6)
        if now - start >= seconds:
            break
    work.operations = len(work.get_us) + len(work.set_us)
    work.seconds = now - start
    return work, written


def count_losses(cache: Any, written: dict[str, int]) -> Losses:
    """Compare what is read with what was set without an error: nobody else writes these keys."""
    lost = 0
    for key, serial in written.items():
        value = cache.get(key)
        lost += value is None or value.get("serial") != serial
    return Losses(checked=len(written), lost=lost)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
