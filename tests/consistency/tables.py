"""Tables that are swapped and partitioned, while another program writes to them.

The versions are in `library_loan`: the reader's name is a number.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

from django.db import OperationalError, ProgrammingError, connections, transaction

from cachelayers import recall, unit_of_work
from cachelayers.invalidation.triggers import install_triggers
from tests.consistency.findings import Found
from tests.consistency.writers import PAUSE_SECONDS, elsewhere
from tests.library.models import Loan

NUMBERS = 8
SUM = "SELECT SUM(CAST(reader AS INTEGER)) FROM library_loan"
NEWER = "SELECT number, CAST(CAST(reader AS INTEGER) + 1 AS VARCHAR(50)) FROM"
COLUMNS = "(number INTEGER PRIMARY KEY, reader VARCHAR(50) NOT NULL)"
PARTS = {"low": (0, 4), "high": (4, 8)}


def one_loan(database: str, number: int) -> int:
    with connections[database].cursor() as cursor:
        cursor.execute("SELECT reader FROM library_loan WHERE number = %s", [number])
        return int(cursor.fetchall()[0][0])


def all_loans(database: str, number: int) -> int:
    with connections[database].cursor() as cursor:
        cursor.execute(SUM)
        return int(cursor.fetchall()[0][0])


def loans_of_the_model(database: str, number: int) -> int:
    return sum(int(loan.reader) for loan in Loan.objects.using(database).all())


LOANS: tuple[Callable[[str, int], int], ...] = (one_loan, all_loans, loans_of_the_model)


def read_loans(database: str, store: str, end: float, chance: random.Random) -> dict[str, Any]:
    """Recall the table's contents, and compare."""
    found = Found()
    while time.time() < end:
        shape, number, is_hit = chance.choice(LOANS), chance.randrange(NUMBERS), [True]

        def compute(shape: Any = shape, number: int = number, is_hit: list[bool] = is_hit) -> int:
            is_hit.clear()
            return int(shape(database, number))

        key = f"loans:{shape.__name__}:{database}:{number}"
        # PostgreSQL's plan is of the former table; or the table is being dropped.
        with suppress(OperationalError, ProgrammingError):
            before = shape(database, number)
            with unit_of_work():
                value = recall(key, compute, timeout=None, using=store)
            found.judge([key], before, value, shape(database, number), bool(is_hit))
    return found.as_dict()


def write_loans(database: str, store: str, end: float, chance: random.Random) -> dict[str, Any]:
    """Write to the table, and to its partitions, as another program does."""
    writes = 0
    while time.time() < end:
        number = chance.randrange(NUMBERS)
        names = ["library_loan"]
        if is_partitioned(database):
            names.append(f"library_loan_{'low' if number < PARTS['low'][1] else 'high'}")
        newer = "CAST(CAST(reader AS INTEGER) + 1 AS VARCHAR(50))"
        with suppress(OperationalError, ProgrammingError):
            elsewhere(
                database,
                f"UPDATE {chance.choice(names)} SET reader = {newer} WHERE number = {number}",
            )
            writes += 1
        time.sleep(PAUSE_SECONDS * chance.uniform(0, 2))
    return {"writes": writes}


def is_partitioned(database: str) -> bool:
    if connections[database].vendor != "postgresql":
        return False
    with connections[database].cursor() as cursor:
        cursor.execute("SELECT relkind FROM pg_class WHERE oid = to_regclass('library_loan')")
        return bool(cursor.fetchall() == [("p",)])


def swap_tables(database: str, store: str, end: float, chance: random.Random) -> dict[str, Any]:
    """Put a new table under the name of the present one, as a migration does."""

    def swap() -> list[str]:
        new = f"library_loan_{uuid4().hex[:8]}"
        return [
            f"CREATE TABLE {new} {COLUMNS}",
            f"INSERT INTO {new} (number, reader) {NEWER} library_loan",
            "ALTER TABLE library_loan RENAME TO library_oldloan",
            f"ALTER TABLE {new} RENAME TO library_loan",
            "DROP TABLE library_oldloan",
        ]

    return change_tables(database, end, swap)


def change_partitions(
    database: str, store: str, end: float, chance: random.Random
) -> dict[str, Any]:
    """Replace partitions by new ones, and write to one while it is detached."""

    def change() -> list[str]:
        name, bounds = chance.choice(list(PARTS.items()))
        part, new = f"library_loan_{name}", f"library_loan_{uuid4().hex[:8]}"
        attach = f"FOR VALUES FROM ({bounds[0]}) TO ({bounds[1]})"
        if chance.random() < 0.5:
            return [
                f"ALTER TABLE library_loan DETACH PARTITION {part}",
                f"UPDATE {part} SET reader = CAST(CAST(reader AS INTEGER) + 1 AS VARCHAR(50))",
                f"ALTER TABLE library_loan ATTACH PARTITION {part} {attach}",
            ]
        return [
            f"CREATE TABLE {new} {COLUMNS}",
            f"INSERT INTO {new} (number, reader) {NEWER} {part}",
            f"ALTER TABLE library_loan DETACH PARTITION {part}",
            f"DROP TABLE {part}",
            f"ALTER TABLE {new} RENAME TO {part}",
            f"ALTER TABLE library_loan ATTACH PARTITION {part} {attach}",
        ]

    return change_tables(database, end, change)


def change_tables(
    database: str, end: float, make_statements: Callable[[], list[str]]
) -> dict[str, Any]:
    """Run statements through Django's connection, in one transaction each time."""
    changed = 0
    while time.time() < end:
        began = time.time()
        try:
            with transaction.atomic(database), connections[database].cursor() as cursor:
                if connections[database].vendor == "postgresql":
                    # Writes between the copy and the swap would be lost.
                    cursor.execute("LOCK TABLE library_loan IN ACCESS EXCLUSIVE MODE")
                for statement in make_statements():
                    cursor.execute(statement)
            changed += 1
        except OperationalError:  # a deadlock, or a lock that was not released in time
            continue
        # Time in which values can be read and cached: on a busy machine the table is locked for
        # seconds, and all others wait.
        time.sleep(max(0.8, 4 * (time.time() - began)))
    return {"changed": changed}


def make_loans(database: str, store: str, end: float, chance: random.Random) -> dict[str, Any]:
    """Fill the table as it is."""
    fill(database)
    return {}


def make_partitions(database: str, store: str, end: float, chance: random.Random) -> dict[str, Any]:
    """Make the table anew, with partitions."""
    with transaction.atomic(database), connections[database].cursor() as cursor:
        cursor.execute("DROP TABLE library_loan")
        cursor.execute(f"CREATE TABLE library_loan {COLUMNS} PARTITION BY RANGE (number)")
        for name, (start, end_) in PARTS.items():
            cursor.execute(
                f"CREATE TABLE library_loan_{name} PARTITION OF library_loan"
                f" FOR VALUES FROM ({start}) TO ({end_})"
            )
    fill(database)
    return {}


def fill(database: str) -> None:
    with connections[database].cursor() as cursor:
        cursor.execute("DELETE FROM library_loan")
        for number in range(NUMBERS):
            cursor.execute("INSERT INTO library_loan (number, reader) VALUES (%s, '1')", [number])


def restore_loans(database: str, store: str, end: float, chance: random.Random) -> dict[str, Any]:
    """Restore the table of the migrations."""
    with connections[database].cursor() as cursor:
        cursor.execute("DROP TABLE library_loan")
    with connections[database].schema_editor() as editor:
        editor.create_model(Loan)
    install_triggers(connections[database])  # a naive rule has left it without triggers
    return {}


ROLES: dict[str, Callable[..., dict[str, Any]]] = {
    "read loans": read_loans,
    "write loans": write_loans,
    "swap": swap_tables,
    "partition": change_partitions,
    "prepare loans": make_loans,
    "prepare partitions": make_partitions,
    "clean loans": restore_loans,
}
