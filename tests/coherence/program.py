"""One process of a run: it writes its own keys, reads everybody's, and prints its findings.

Shared memory holds the number of the last finished write of each key. A value read in a unit of
work is late if it is older than the last write that finished before the unit began.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.coherence.settings"
django.setup()

from django.core.cache import cache  # noqa: E402

from cachelayers import unit_of_work  # noqa: E402

KEYS = 12  # of each process
PAUSE_SECONDS = 0.002


class Finished:
    """The number of the last finished write of each key, in memory that all processes share."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("r+b")
        self.map = mmap.mmap(self.file.fileno(), 0)
        self.numbers = memoryview(self.map).cast("Q")

    def close(self) -> None:
        self.numbers.release()
        self.map.close()
        self.file.close()


class Process:
    """The work and the findings of one process."""

    def __init__(self, number: int, processes: int, finished: Finished, seed: int) -> None:
        self.number, self.processes, self.finished = number, processes, finished
        self.chance = random.Random(seed)
        self.hits = self.reads = self.writes = self.late = 0
        self.worst = 0.0  # seconds
        self.slowest = 0.0  # seconds of a call
        self.errors: list[str] = []
        # When this process first read each number of a key.
        self.first_reads: list[list[tuple[int, float]]] = [[] for _ in range(KEYS * processes)]

    def run(self, seconds: float) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while time.monotonic() < end or self.has_done_little(end):
            try:
                if self.chance.random() < 0.25:
                    with unit_of_work():
                        self.write()
                self.read()
            except Exception:  # noqa: BLE001 - any at all is a finding
                self.errors.append(traceback.format_exc())
            time.sleep(PAUSE_SECONDS)
        names = ("hits", "reads", "writes", "late", "worst", "slowest", "errors")
        return {name: getattr(self, name) for name in names}

    def has_done_little(self, end: float) -> bool:
        """Tell whether to go on, on a busy machine."""
        return (self.hits < 80 or self.writes < 8) and time.monotonic() < end + 20

    def write(self) -> None:
        own = [self.number * KEYS + offset for offset in range(KEYS)]
        index = self.chance.choice(own)
        number = self.finished.numbers[index] + 1
        value = (number, "x" * self.chance.randrange(10, 300))
        what = self.chance.random()
        self.writes += 1
        began = time.monotonic()
        if what < 0.7:
            cache.set(key_of(index), value)
            own = [index]
        elif what < 0.85:
            cache.delete(key_of(index))
            own = [index]
        elif what < 0.98:
            cache.set_many({key_of(one): (self.finished.numbers[one] + 1, "many") for one in own})
        else:
            cache.clear()
        self.slowest = max(self.slowest, time.monotonic() - began)
        for one in own:
            self.finished.numbers[one] += 1

    def read(self) -> None:
        began = time.monotonic()
        before = list(self.finished.numbers)
        for index, number in enumerate(before):
            if not self.first_reads[index] or self.first_reads[index][-1][0] != number:
                self.first_reads[index].append((number, began))
        indexes = [self.chance.randrange(len(before)) for _ in range(12)]
        with unit_of_work():
            values = {index: cache.get(key_of(index)) for index in indexes[:8]}
            many = cache.get_many([key_of(index) for index in indexes[8:]])
        self.slowest = max(self.slowest, time.monotonic() - began)
        values |= {index: many.get(key_of(index)) for index in indexes[8:]}
        for index, value in values.items():
            self.reads += 1
            if value is not None:
                self.hits += 1
                self.judge(index, value[0], before[index], began)

    def judge(self, index: int, found: int, finished: int, began: float) -> None:
        if found >= finished:
            return
        self.late += 1
        known_since = next(at for number, at in self.first_reads[index] if number > found)
        self.worst = max(self.worst, began - known_since)


def key_of(index: int) -> str:
    return f"key-{index}"


def main(number: str, processes: str, path: str, seconds: str, seed: str) -> None:
    finished = Finished(Path(path))
    process = Process(int(number), int(processes), finished, int(seed))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    found = process.run(float(seconds))
    sys.stdout.write(json.dumps(found) + "\n")
    finished.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
