"""One process of the checker: a writer, a reader or a pruner. Prints its findings as JSON."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from typing import Any
from uuid import uuid4

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.consistency.settings"
django.setup()

from django.db import OperationalError, connections  # noqa: E402

from cachelayers import recall, unit_of_work  # noqa: E402
from cachelayers.invalidation import prune  # noqa: E402
from tests.consistency import moves, naive, requests, shapes, slices, tables, writers  # noqa: E402
from tests.consistency.writers import PAUSE_SECONDS  # noqa: E402


def write(database: str, store: str, end: float, chance: random.Random) -> dict[str, Any]:
    """Write until the end."""
    writes = refused = 0
    while time.time() < end:
        try:
            writers.write_once(database, chance)
            writes += 1
        except OperationalError:  # a deadlock, or a lock that was not released in time
            refused += 1
        time.sleep(PAUSE_SECONDS * chance.uniform(0, 2))
    return {"writes": writes, "refused": refused}


def read(database: str, store: str, end: float, chance: random.Random) -> dict[str, Any]:
    """Recall until the end, and compare each value with reads before and after it."""
    found: dict[str, Any] = {"hits": 0, "recalls": 0, "stale": [], "unseen": []}
    while time.time() < end:
        read_once(database, store, chance, found)
    return found


def read_once(database: str, store: str, chance: random.Random, found: dict[str, Any]) -> None:
    """Recall in one unit of work, and compare."""
    choice = chance.randrange(COUNT)
    name = chance.choice([*shapes.SHAPES, "nested"])
    plain = shapes.plain_nest if name == "nested" else shapes.SHAPES[name]
    computed = []

    def compute() -> int:
        computed.append(name)
        if name == "nested":
            return shapes.nested(database, choice, store)
        return plain(database, choice)

    before = plain(database, choice)
    with unit_of_work():
        value = recall(f"{name}:{database}:{choice}", compute, timeout=None, using=store)
    after = plain(database, choice)

    found["recalls"] += 1
    found["hits"] += not computed
    if value < before:
        found["stale"].append([name, choice, before, value, not computed])
    if value > after:
        found["unseen"].append([name, choice, value, after, not computed])


COUNT = shapes.COUNTRIES * shapes.AIRPORTS_PER_COUNTRY


def read_in_children(
    database: str, store: str, end: float, chance: random.Random
) -> dict[str, Any]:
    """Read, fork in the middle of it, and read on in both."""
    found: dict[str, Any] = {"hits": 0, "recalls": 0, "stale": [], "unseen": []}
    for _ in range(50):
        read_once(database, store, chance, found)
    connections.close_all()
    reader, writer = os.pipe()
    child = os.fork()
    chance.seed(child)
    more = read(database, store, end, chance)
    if child == 0:
        os.write(writer, json.dumps(more).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        others = json.loads(pipe.read())
    os.waitpid(child, 0)
    return {key: found[key] + more[key] + others[key] for key in found}


def prune_log(database: str, store: str, end: float, chance: random.Random) -> dict[str, Any]:
    """Prune again and again."""
    pruned = 0
    while time.time() < end:
        try:
            pruned += sum(prune(database))
        except OperationalError:
            continue
        time.sleep(0.05)
    return {"pruned": pruned}


def move_log(database: str, store: str, end: float, chance: random.Random) -> dict[str, Any]:
    """Change the log as a restored dump does: it comes from elsewhere, or stands beside ours."""
    moved = 0
    while time.time() < end:
        try:
            with connections[database].cursor() as cursor:
                cursor.execute("DELETE FROM cachelayers_logstate WHERE id = 1")
                cursor.execute(chance.choice(MOVES), [uuid4().hex])
            moved += 1
        except OperationalError:
            continue
        # A process that meets more changes in a minute stops using the log.
        time.sleep(max((end - time.time()) / 4, 0.5))
    return {"moved": moved}


MOVES = (
    "UPDATE cachelayers_logstate SET origin = %s",
    "INSERT INTO cachelayers_logstate (id, incarnation, floor) VALUES (1, %s, 900000000)",
)


def prepare(database: str, store: str, end: float, chance: random.Random) -> dict[str, Any]:
    """Make the rows."""
    shapes.fill(database)
    return {}


def clean(database: str, store: str, end: float, chance: random.Random) -> dict[str, Any]:
    """Delete the rows."""
    shapes.empty(database)
    return {}


ROLES = {
    "write": write,
    "read": read,
    "fork": read_in_children,
    "prune": prune_log,
    "move": move_log,
    "prepare": prepare,
    "clean": clean,
    **requests.ROLES,
    **tables.ROLES,
    **moves.ROLES,
    **slices.ROLES,
}


def main(role: str, database: str, store: str, seconds: str, seed: str, rule: str) -> None:
    """Run one role for some seconds."""
    naive.switch_in(rule)
    chance = random.Random(int(seed))
    found = ROLES[role](database, store, time.time() + float(seconds), chance)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
