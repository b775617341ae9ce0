"""The writers: every kind of write; one in five is rolled back."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from typing import Any

from django.db import OperationalError, connections, transaction
from django.db.models import F

from testproject.airports.models import Airport, Country
from tests.consistency.shapes import CODES, COUNTRIES, POISON, key_of

ROLLED_BACK = 0.2
PAUSE_SECONDS = float(os.environ.get("CACHELAYERS_CHECKER_PAUSE", "0.3"))  # between two writes


LINGER_SECONDS = 0.0  # in a transaction that has written


class RollBack(Exception):
    """Ends a transaction without its changes."""


def save(database: str, choice: int, amount: int) -> None:
    airport = Airport.objects.using(database).select_for_update().get(pk=key_of(choice))
    airport.elevation_feet += amount
    airport.save(using=database)


def update(database: str, choice: int, amount: int) -> None:
    Airport.objects.using(database).filter(country_id=CODES[choice % COUNTRIES]).update(
        elevation_feet=F("elevation_feet") + amount
    )


def update_everything(database: str, choice: int, amount: int) -> None:
    Airport.objects.using(database).update(elevation_feet=F("elevation_feet") + amount)


def bulk_update(database: str, choice: int, amount: int) -> None:
    chosen = Airport.objects.using(database).filter(pk__in=[key_of(choice), key_of(choice + 7)])
    airports = list(chosen.select_for_update().order_by("pk"))
    for airport in airports:
        airport.elevation_feet += amount
    Airport.objects.using(database).bulk_update(airports, ["elevation_feet"])


def raw(database: str, choice: int, amount: int) -> None:
    with connections[database].cursor() as cursor:
        cursor.execute(
            "UPDATE airports_airport SET elevation_feet = elevation_feet + %s WHERE id = %s",
            [amount, key_of(choice)],
        )


def the_other_table(database: str, choice: int, amount: int) -> None:
    country = Country.objects.using(database).select_for_update().get(pk=CODES[choice % COUNTRIES])
    country.name = str(int(country.name) + amount)
    country.save(using=database)


def savepoint(database: str, choice: int, amount: int) -> None:
    """Write, then roll a second write back to a savepoint."""
    raw(database, choice, amount)
    try:
        with transaction.atomic(database):
            raw(database, choice + 1, POISON)
            raise RollBack
    except RollBack:
        pass


WRITES: tuple[Callable[[str, int, int], None], ...] = (
    *(save, save, update, bulk_update, raw, the_other_table, savepoint),
)
# One statement each: without a transaction around them they commit by themselves.
AUTOCOMMITS = (update, raw, update_everything)


def write_once(database: str, chance: random.Random) -> None:
    """Write something; one time in five roll it back."""
    choice = chance.randrange(1000)
    if chance.random() < 0.2:
        chance.choice(AUTOCOMMITS)(database, choice, 1)
        return
    is_rolled_back = chance.random() < ROLLED_BACK
    try:
        with transaction.atomic(database):
            for _ in range(chance.randint(1, 3)):
                chance.choice(WRITES)(database, choice, POISON if is_rolled_back else 1)
            time.sleep(LINGER_SECONDS)
            if is_rolled_back:
                raise RollBack
    except RollBack:
        pass


def elsewhere(database: str, *statements: str) -> None:
    """Run statements in one transaction, as another program does: past Django."""
    connection: Any = connections[database]
    connection.ensure_connection()
    with transaction.atomic(database):
        cursor = connection.connection.cursor()
        try:
            for statement in statements:
                cursor.execute(statement)
        except connection.Database.OperationalError as error:
            raise OperationalError(*error.args) from error
        finally:
            cursor.close()
