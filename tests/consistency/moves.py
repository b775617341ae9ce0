"""A site whose database is moved while it runs: restored over itself, elsewhere or on a new server.

A file, the address, tells all processes where the database is now. Its number is odd during a move:
values read meanwhile are stored as usual, but not compared.
"""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from django.db import DatabaseError, connections

from tests import environment
from tests.consistency import shapes, writers
from tests.consistency.findings import Found
from tests.servers import Postgres, ServerError

WHERE = ("HOST", "PORT", "NAME")


class Address:
    """The location of a database, in a file that all processes read."""

    def __init__(self, database: str) -> None:
        self.database = database
        self.path = environment.worker_folder() / f"address-{database}.json"

    def follow(self) -> int:
        """Connect to the present location; return the number of the address."""
        number, location = json.loads(self.path.read_text())
        connection = connections[self.database]
        settings = connection.settings_dict
        if any(str(settings[name]) != str(location[name]) for name in WHERE):
            connection.close()
            settings.update(location)
        return int(number)

    def write(self, number: int, location: dict[str, Any]) -> None:
        new = self.path.with_suffix(f".{uuid4().hex}")
        new.write_text(json.dumps([number, {name: location[name] for name in WHERE}]))
        new.replace(self.path)

    @contextlib.contextmanager
    def changing(self) -> Iterator[dict[str, Any]]:
        """Yield the location, which the block may change, and mark it as being moved."""
        number, location = json.loads(self.path.read_text())
        self.write(number + 1, location)
        try:
            yield location
        finally:
            self.write(number + 2, location)


def read_what_moves(database: str, store: str, end: float, chance: random.Random) -> dict[str, Any]:
    """Recall, and compare unless the database was moved meanwhile."""
    from cachelayers import unit_of_work
    from tests.consistency.requests import Asked

    address, found = Address(database), Found()
    while time.time() < end:
        number = address.follow()
        try:
            asked, one = Asked(database, store, chance), Found()
            with unit_of_work():
                value = asked.recall()
            asked.judge(value, one)
        except (DatabaseError, TypeError, IndexError):  # moved during the read
            if address.follow() == number and not number % 2:
                raise
            connections[database].close()
            continue
        if address.follow() == number and not number % 2:
            found.add(one)
    return found.as_dict()


def write_what_moves(
    database: str, store: str, end: float, chance: random.Random
) -> dict[str, Any]:
    """Write at the present location."""
    address, writes = Address(database), 0
    while time.time() < end:
        address.follow()
        try:
            writers.write_once(database, chance)
            writes += 1
        except DatabaseError:
            connections[database].close()
        time.sleep(writers.PAUSE_SECONDS * chance.uniform(0, 2))
    return {"writes": writes}


Move = Callable[[Address, dict[str, Any], Path], None]

# On SQLite


def copy_sqlite(source: str | Path, target: str | Path) -> None:
    """Copy a file page by page, as a backup tool does, and wait for its users."""
    with (
        contextlib.closing(sqlite3.connect(source, timeout=20)) as one,
        contextlib.closing(sqlite3.connect(target, timeout=20)) as other,
    ):
        one.backup(other)


def put_back(address: Address, location: dict[str, Any], backup: Path) -> None:
    copy_sqlite(backup, location["NAME"])


def put_elsewhere(address: Address, location: dict[str, Any], backup: Path) -> None:
    other = backup.with_name(f"moved-{uuid4().hex[:8]}.sqlite3")
    copy_sqlite(backup, other)
    location["NAME"] = str(other)


def move_sqlite(database: str, store: str, end: float, chance: random.Random) -> dict[str, Any]:
    """Restore older copies of the file, over it and beside it."""
    backup = environment.make_private_folder("moves") / "backup.sqlite3"

    def back_up(location: dict[str, Any]) -> Path:
        copy_sqlite(location["NAME"], backup)
        return backup

    return move_again_and_again(Address(database), end, [put_back, put_elsewhere], back_up)


# On PostgreSQL


def tool(location: dict[str, Any], name: str, *arguments: str) -> str:
    server = environment.shared_server("postgres")
    assert isinstance(server, Postgres)
    options = ["-h", "127.0.0.1", "-p", str(location["PORT"]), "-U", "postgres"]
    return server.run_tool(server.program_path(name), *options, *arguments)


def load(location: dict[str, Any], dump: Path) -> None:
    options = ["-qX", "-1", "-v", "ON_ERROR_STOP=1", "-f", str(dump)]
    tool(location, "psql", *options, "-d", location["NAME"])


def dump_postgres(location: dict[str, Any]) -> Path:
    dump = environment.make_private_folder("moves") / "dump.sql"
    dump.parent.chmod(0o755)
    dump.write_text(tool(location, "pg_dump", "--clean", "--if-exists", location["NAME"]))
    dump.chmod(0o644)
    return dump


def restore_over(address: Address, location: dict[str, Any], dump: Path) -> None:
    load(location, dump)


def restore_in_new_database(address: Address, location: dict[str, Any], dump: Path) -> None:
    name = f"{environment.database_name()}_{uuid4().hex[:8]}"
    tool(location, "psql", "-qX", "-d", "postgres", "-c", f'CREATE DATABASE "{name}"')
    there = location | {"NAME": name}
    load(there, dump)
    location.update(there)


def move_postgres(database: str, store: str, end: float, chance: random.Random) -> dict[str, Any]:
    """Restore older dumps over the database, into another one, and on a younger server."""
    with Postgres(environment.make_private_folder("younger")) as younger:
        younger.create_database("restored")

        def restore_on_younger(address: Address, location: dict[str, Any], dump: Path) -> None:
            there = location | {"HOST": "127.0.0.1", "PORT": younger.port, "NAME": "restored"}
            load(there, dump)
            location.update(there)

        moves: list[Move] = [restore_on_younger, restore_over, restore_in_new_database]
        moved = move_again_and_again(Address(database), end, moves, dump_postgres)
        time.sleep(max(end + 2 - time.time(), 0))  # other processes finish their last requests
    return moved


def move_again_and_again(
    address: Address,
    end: float,
    moves: list[Move],
    back_up: Callable[[dict[str, Any]], Path],
) -> dict[str, Any]:
    """Make a backup, let others work on, and restore it; take each way in turn."""
    moved = 0
    pause = max((end - time.time()) / 10, 0.5)
    while time.time() < end:
        _, location = json.loads(address.path.read_text())
        backup = back_up(location)
        time.sleep(pause)  # later writes and cached values are lost
        with address.changing() as location, suppress(ServerError):
            moves[moved % len(moves)](address, location, backup)
            moved += 1
        # A process that meets more than five moves in a minute stops using the log.
        time.sleep(pause)
    return {"moved": moved}


def make_address(database: str, store: str, end: float, chance: random.Random) -> dict[str, Any]:
    """Write the address with the location in the settings."""
    shapes.fill(database)
    Address(database).write(0, connections[database].settings_dict)
    return {}


def move_data(database: str, store: str, end: float, chance: random.Random) -> dict[str, Any]:
    by_vendor = {"sqlite": move_sqlite, "postgresql": move_postgres}
    return by_vendor[connections[database].vendor](database, store, end, chance)


ROLES: dict[str, Callable[..., dict[str, Any]]] = {
    "read moved": read_what_moves,
    "write moved": write_what_moves,
    "move data": move_data,
    "prepare address": make_address,
}
