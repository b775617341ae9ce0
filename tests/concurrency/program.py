"""The programs that concurrency tests run in processes of their own, each in one function.

``python -m tests.concurrency.program NAME ALIAS OPTIONS ARGUMENT ...`` sets Django up, prints
"ready", waits for a line on its standard input, runs, and prints its answer as one line of JSON.
"""

from __future__ import annotations

import json
import logging
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import django
from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache

PROGRAM = "tests.concurrency.program"

Answer = Any

FORKS = 6

complaints: list[str] = []


class Complaints(logging.Handler):
    """Collects the cache's log records: a failed operation appears only there."""

    def emit(self, record: logging.LogRecord) -> None:
        complaints.append(record.getMessage())


def main() -> None:
    name, alias, options, *arguments = sys.argv[1:]
    django.setup()
    logging.getLogger("cachelayers").addHandler(Complaints(logging.WARNING))
    cache = open_cache(alias, json.loads(options))
    say("ready")
    sys.stdin.readline()
    say(json.dumps(PROGRAMS[name](cache, *arguments)))


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def open_cache(alias: str, options: dict[str, Any]) -> BaseCache:
    configured = settings.CACHES[alias]
    configured["OPTIONS"] = {**configured.get("OPTIONS", {}), **options}
    return caches[alias]


def count(cache: BaseCache, key: str, times: str) -> Answer:
    for _ in range(int(times)):
        cache.incr(key)
    return complaints


def win(cache: BaseCache, rounds: str) -> Answer:
    """Return the keys that this process was the one to add."""
    return [number for number in range(int(rounds)) if cache.add(f"prize-{number}", os.getpid())]


def live(cache: BaseCache, name: str, steps: str) -> Answer:
    """Set and get own and shared keys; return lost or wrong values."""
    chance = random.Random(name)
    written: dict[str, int] = {}
    wrong: list[str] = []
    for step in range(int(steps)):
        own, shared = f"{name}-{chance.randrange(20)}", f"shared-{chance.randrange(20)}"
        if chance.random() < 0.5:
            cache.set(own, step)
            written[own] = step
            cache.set(shared, {"key": shared, "step": step})
        found = cache.get(own, "missing")
        if own in written and found != written[own]:
            wrong.append(f"{own} is {found!r} instead of {written[own]!r}")
        value = cache.get(shared)
        if value is not None and value["key"] != shared:
            wrong.append(f"{shared} holds {value!r}")
    return wrong + complaints


def write_in_bulk(cache: BaseCache, name: str, rounds: str) -> Answer:
    """Set and delete overlapping keys, in another order each time, together with own ones."""
    chance = random.Random(name)
    shared = [f"shared-{number}" for number in range(150)]
    wrong: list[str] = []
    for number in range(int(rounds)):
        chosen = chance.sample(shared, 100)
        own = {f"{name}-{number}-{index}": number for index in range(10)}
        values = {**dict.fromkeys(chosen, "x" * 200), **own}
        failed = cache.set_many(dict(chance.sample(list(values.items()), len(values))))
        cache.delete_many(chance.sample(shared, 50))
        wrong += [f"{key} failed" for key in failed]
        if cache.get_many(own) != own:
            wrong.append(f"round {number} of {name} was lost")
    return wrong + complaints


def fill(cache: BaseCache, name: str, rows: str, size_bytes: str) -> Answer:
    for number in range(int(rows)):
        cache.set(f"{name}-{number}", os.urandom(int(size_bytes)), timeout=None)
    return complaints


def write_for_ever(cache: BaseCache, name: str) -> Answer:
    for number in range(sys.maxsize):
        cache.set(f"{name}-{number % 500}", b"x" * 3000)
        cache.set_many({f"{name}-many-{index}": number for index in range(50)})
        if number == 20:
            say("under way")
    return None


def fork_while_a_thread_works(cache: BaseCache, warm_up: str) -> Answer:
    """Fork during another thread's work; return the failures of both processes."""
    if warm_up == "used before":
        cache.set("before", 1)
    stop, working = threading.Event(), threading.Event()
    thread = threading.Thread(target=work_until, args=(stop, working))
    thread.start()
    working.wait(10)
    statuses = [fork_and_use(cache, number) for number in range(FORKS)]
    stop.set()
    thread.join(20)
    cache.set("parent", 7)
    wrong = [
        f"child {number} ended with {status}" for number, status in enumerate(statuses) if status
    ]
    if cache.get_many(["parent", *(f"child-{number}" for number in range(FORKS))]) != {
        "parent": 7,
        **{f"child-{number}": number for number in range(FORKS)},
    }:
        wrong.append("the parent does not see what was written")
    if thread.is_alive():
        wrong.append("the parent's thread hangs")
    return wrong + complaints


def work_until(stop: threading.Event, working: threading.Event) -> None:
    cache = caches[sys.argv[2]]
    number = 0
    while not stop.is_set():
        number += 1
        cache.set("thread", number)
        if cache.get("thread") != number:
            complaints.append(f"the thread lost {number}")
        working.set()
        stop.wait(0.002)  # let other processes run: a rollback journal's lock is not a queue
    cache.close()


def fork_and_use(cache: BaseCache, number: int) -> int:
    child = os.fork()
    if child == 0:
        outcome = 1
        try:
            cache.set(f"child-{number}", number)
            outcome = 0 if cache.get(f"child-{number}") == number else 2
        finally:
            # Not sys.exit(): the child has the parent's sockets, and would end their sessions.
            os._exit(outcome)
    return wait_for(child, seconds=20)


def wait_for(child: int, seconds: float) -> int:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return -99


PROGRAMS: dict[str, Callable[..., Answer]] = {
    function.__name__: function
    for function in (
        count,
        win,
        live,
        write_in_bulk,
        fill,
        write_for_ever,
        fork_while_a_thread_works,
    )
}

if __name__ == "__main__":
    main()
