"""What the readers compute: every value is a sum of versions, and versions only ever grow.

So a value is right if it lies between the same sum read before and read after it.
"""

from __future__ import annotations

from collections.abc import Callable

from django.db import connections
from django.db.models import Sum

from cachelayers import recall
from testproject.airports.models import Airport, Country

COUNTRIES = 6
AIRPORTS_PER_COUNTRY = 5
CODES = [f"Z{number}" for number in range(COUNTRIES)]
# What a transaction adds that is rolled back: a value with it was never committed.
POISON = 1_000_000

Shape = Callable[[str, int], int]


def one_row(database: str, choice: int) -> int:
    return Airport.objects.using(database).get(pk=key_of(choice)).elevation_feet


def a_filter(database: str, choice: int) -> int:
    chosen = Airport.objects.using(database).filter(country_id=CODES[choice % COUNTRIES])
    return sum(airport.elevation_feet for airport in chosen)


def a_join(database: str, choice: int) -> int:
    airports = Airport.objects.using(database).select_related("country")
    return sum(
        airport.elevation_feet + int(airport.country.name)
        for airport in airports.filter(country__code=CODES[choice % COUNTRIES])
    )


def an_aggregate(database: str, choice: int) -> int:
    found = Country.objects.using(database).filter(code=CODES[choice % COUNTRIES])
    return int(found.aggregate(total=Sum("airports__elevation_feet"))["total"])


def raw_text(database: str, choice: int) -> int:
    with connections[database].cursor() as cursor:
        cursor.execute(
            "select sum(elevation_feet) from airports_airport as A where country_id = %s",
            [CODES[choice % COUNTRIES]],
        )
        return int(cursor.fetchall()[0][0])


def plain_nest(database: str, choice: int) -> int:
    """Read three rows without any cache: what `nested` is compared with."""
    return sum(one_row(database, choice + step) for step in range(3))


SHAPES: dict[str, Shape] = {
    shape.__name__: shape for shape in (one_row, a_filter, a_join, an_aggregate, raw_text)
}


def nested(database: str, choice: int, store: str) -> int:
    """Read three rows, each through a recall of its own."""
    return sum(recalled_row(database, choice + step, store) for step in range(3))


def recalled_row(database: str, choice: int, store: str) -> int:
    """Read one row through a recall."""
    key = f"part:{database}:{key_of(choice)}"
    return recall(key, lambda: one_row(database, choice), timeout=None, using=store)


def key_of(choice: int) -> int:
    """Return the primary key of one of the airports."""
    return 1 + choice % (COUNTRIES * AIRPORTS_PER_COUNTRY)


def fill(database: str) -> None:
    """Make the rows, all of version 1."""
    empty(database)
    Country.objects.using(database).bulk_create(Country(code=code, name="1") for code in CODES)
    Airport.objects.using(database).bulk_create(
        Airport(
            pk=number + 1,
            icao=f"Z{number:03}",
            name="checked",
            country_id=CODES[number % COUNTRIES],
            elevation_feet=1,
            latitude=0,
            longitude=0,
            time_zone="UTC",
        )
        for number in range(COUNTRIES * AIRPORTS_PER_COUNTRY)
    )


def empty(database: str) -> None:
    """Take all rows away."""
    Airport.objects.using(database).all().delete()
    Country.objects.using(database).all().delete()
