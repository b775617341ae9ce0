"""Loads the airports of the `airportsdata` package into the database, for the command."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TypeVar

import airportsdata
from babel import Locale
from django.db import models, transaction

from testproject.airports.hubs import HUBS
from testproject.airports.models import Airport, Country

BATCH_ROWS = 1000

Row = TypeVar("Row", bound=models.Model)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The number of rows of one model that were loaded."""

    added: int
    changed: int
    unchanged: int

    @property
    def is_quiet(self) -> bool:
        return not (self.added or self.changed)


def load_airports() -> tuple[Outcome, Outcome]:
    """Add missing rows, correct different ones, and change nothing else.

    Returns the outcomes for countries and for airports.
    """
    rows = airportsdata.load("ICAO").values()
    with transaction.atomic():
        countries = upsert(Country, make_countries(rows), key="code")
        airports = upsert(Airport, [make_airport(row) for row in rows], key="icao")
    return countries, airports


def make_countries(rows: Iterable[airportsdata.Airport]) -> list[Country]:
    # Babel and not pycountry, for the everyday names of Unicode's CLDR ("Iran"), and Kosovo.
    names = Locale("en").territories
    return [Country(code=code, name=names[code]) for code in sorted({r["country"] for r in rows})]


def make_airport(row: airportsdata.Airport) -> Airport:
    airport = Airport(
        icao=row["icao"],
        iata=row["iata"],
        name=row["name"],
        city=row["city"],
        subdivision=row["subd"],
        country_id=row["country"],
        elevation_feet=round(row["elevation"]),
        latitude=row["lat"],
        longitude=row["lon"],
        time_zone=row["tz"],
        is_hub=row["icao"] in HUBS,
    )
    airport.fill_derived()
    return airport


def upsert(model: type[Row], wanted: Collection[Row], *, key: str) -> Outcome:
    """Write the rows that are missing or different; `key` is the field that identifies them."""
    names = [field.attname for field in model._meta.concrete_fields if field.attname != "id"]
    present = {
        row[0]: row[1:] for row in model._default_manager.values_list(key, *names).iterator()
    }
    added, changed = [], []
    for row in wanted:
        known = present.get(getattr(row, key))
        if known is None:
            added.append(row)
        elif known != tuple(getattr(row, name) for name in names):
            changed.append(row)
    model._default_manager.bulk_create(
        [*added, *changed],
        batch_size=BATCH_ROWS,
        update_conflicts=True,
        unique_fields=[key],
        update_fields=[name for name in names if name != key],
    )
    return Outcome(
        added=len(added), changed=len(changed), unchanged=len(wanted) - len(added) - len(changed)
    )
