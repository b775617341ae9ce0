"""The computes of the readers: every value is a sum of versions, and versions only grow.

So a value is right if it lies between the sums read before and after it.
"""

from __future__ import annotations

from collections.abc import Callable

from django.db import connections
from django.db.models import Sum

from cachelayers import recall
from cachelayers.invalidation.triggers import install_triggers
from testproject.airports.models import Airport, Country

COUNTRIES = 6
AIRPORTS_PER_COUNTRY = 5
CODES = [f"Z{number}" for number in range(COUNTRIES)]
# Added by transactions that are rolled back: no committed value contains it.
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
    """Read three rows without any cache: the reference for `nested`."""
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
            square=0,
            time_zone="UTC",
        )
        for number in range(COUNTRIES * AIRPORTS_PER_COUNTRY)
    )


def empty(database: str) -> None:
    """Delete all rows."""
    Airport.objects.using(database).all().delete()
    Country.objects.using(database).all().delete()


# Of the tenants

TENANTS = 3
TENANT_RANGE = 10**8  # between the versions of two tenants, so that a value identifies its tenant


def tenant_code(tenant: int) -> str:
    return f"Y{tenant}"


def write_of_tenant(database: str, tenant: int) -> str:
    """Return the statement with which another program writes a tenant's next version."""
    is_in_schemas = connections[database].vendor == "postgresql"
    table = f"tenant_{tenant}.airports_country" if is_in_schemas else "airports_country"
    code = tenant_code(0 if is_in_schemas else tenant)
    return (
        f"UPDATE {table} SET name = CAST(CAST(name AS INTEGER) + 1 AS VARCHAR(50))"
        f" WHERE code = '{code}'"
    )


def make_tenants(database: str) -> None:
    """Make a row of each tenant; on PostgreSQL in a schema of its own."""
    connection = connections[database]
    for tenant in range(TENANTS):
        values = [tenant_code(tenant), str((tenant + 1) * TENANT_RANGE)]
        if connection.vendor != "postgresql":
            Country.objects.using(database).create(code=values[0], name=values[1])
            continue
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE SCHEMA tenant_{tenant}")
            cursor.execute(
                f"CREATE TABLE tenant_{tenant}.airports_country"
                " (LIKE public.airports_country INCLUDING ALL)"
            )
            cursor.execute(
                f"INSERT INTO tenant_{tenant}.airports_country (code, name) VALUES (%s, %s)",
                [tenant_code(0), values[1]],
            )
            cursor.execute(f"SET search_path = tenant_{tenant}, public")
        install_triggers(connection)
        with connection.cursor() as cursor:
            cursor.execute("RESET search_path")


def remove_tenants(database: str) -> None:
    """Delete the rows of all tenants."""
    if connections[database].vendor == "postgresql":
        with connections[database].cursor() as cursor:
            for tenant in range(TENANTS):
                cursor.execute(f"DROP SCHEMA IF EXISTS tenant_{tenant} CASCADE")
    Country.objects.using(database).filter(code__startswith="Y").delete()
