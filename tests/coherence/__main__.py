"""`make consistency`, second half: LayeredCache at length, with faults in its layers."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

LONGEST_SECONDS = 1.5  # largest delay of a value while a layer or the bus is down


def main() -> int:
    """Run everything; exit with 1 if a value was older than allowed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="for each run")
    options = parser.parse_args()

    from tests import environment

    environment.decide_once()
    environment.make_run_folder()
    environment.worker_folder().mkdir(exist_ok=True)
    try:
        return check(options.seconds)
    finally:
        environment.end_run()


def check(seconds: float) -> int:
    """Run each stack, without and with faults."""
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connections

    from tests import environment
    from tests.coherence import stacks
    from tests.servers import Redis

    for database in ("default", "sqlite_cache"):
        call_command("migrate", "cachelayers", database=database, verbosity=0)
    connections.close_all()
    wrong = run("memory, table, the log as bus", stacks.memory_table(), seconds, allowed=0)
    for make, name in (
        (stacks.memory_redis_table, "memory, Redis, table"),
        (stacks.memory_redis, "memory, Redis"),
    ):
        with Redis(environment.make_private_folder("redis")) as server:
            stack = make(server.url)
            wrong += run(name, stack, seconds, allowed=0)
            wrong += run(f"{name}: killed", stack, seconds, again_and_again(server, killed))
            wrong += run(f"{name}: lost", stack, seconds, again_and_again(server, emptied))
            wrong += run(f"{name}: paused", stack, seconds, again_and_again(server, paused))
            wrong += run(f"{name}: trimmed", stack, seconds, trimming(server), allowed=0)
    return 1 if wrong else 0


def run(
    name: str,
    stack: Any,
    seconds: float,
    disturb: Callable[[float], None] = lambda end: None,
    *,
    allowed: float = LONGEST_SECONDS,
) -> int:
    """Run one stack and print a line; return the number of failures."""
    from tests.coherence.crowd import run_crowd

    end = time.monotonic() + seconds - 1
    found = run_crowd(stack, seconds, lambda: disturb(end))
    sys.stdout.write(
        f"{name}: {found.hits:,} hits of {found.reads:,} reads, {found.writes:,} writes;"
        f" {found.late:,} late, by at most {found.worst:.2f} s;"
        f" the slowest call {found.slowest:.2f} s; {len(found.errors)} errors\n"
    )
    sys.stdout.flush()
    return len(found.errors) + (found.worst > allowed)


def again_and_again(server: Any, disturbance: Callable[[Any], None]) -> Callable[[float], None]:
    """Return a function that disturbs a server repeatedly, with two seconds between."""

    def disturb(end: float) -> None:
        while time.monotonic() < end:
            time.sleep(2)
            disturbance(server)

    return disturb


def killed(server: Any) -> None:
    """Kill the server, and start it with its data."""
    server.kill()
    time.sleep(1)
    server.start()


def emptied(server: Any) -> None:
    """Kill the server, and start it without its data."""
    server.kill()
    server.lose_data()
    server.start()


def paused(server: Any) -> None:
    """Pause the server for five seconds."""
    server.pause()
    time.sleep(5)
    server.resume()


def trimming(server: Any) -> Callable[[float], None]:
    """Return a function that trims the stream all the time."""
    import redis

    def disturb(end: float) -> None:
        client = redis.Redis(host="127.0.0.1", port=server.port)
        while time.monotonic() < end:
            for key in client.keys("*:bus"):
                client.xtrim(key, maxlen=0)
            time.sleep(0.05)
        client.close()

    return disturb


if __name__ == "__main__":
    sys.exit(main())
