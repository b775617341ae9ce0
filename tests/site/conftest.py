"""A small world, and a cache that begins empty."""

from __future__ import annotations

import pytest
from django.core.cache import cache

from testproject.airports.models import Airport, Country
from testproject.pages.models import Page

# ruff: noqa: E501 (a table is read best in rows)
# ICAO, IATA, name, city, country, feet, latitude, longitude, time zone, hub
AIRPORTS = [
    ("LFPG", "CDG", "Charles de Gaulle", "Paris", "FR", 392, 49.01, 2.55, "Europe/Paris", True),
    ("LFPO", "ORY", "Paris-Orly", "Paris", "FR", 291, 48.73, 2.36, "Europe/Paris", True),
    ("LFLJ", "CVF", "Courchevel", "Courchevel", "FR", 6588, 45.40, 6.63, "Europe/Paris", False),
    ("EHAM", "AMS", "Schiphol", "Amsterdam", "NL", -11, 52.31, 4.76, "Europe/Amsterdam", True),
    ("SBGR", "GRU", "Guarulhos", "São Paulo", "BR", 2461, -23.44, -46.47, "America/Sao_Paulo", True),
    ("SPNH", "", "Laguna Choclococha", "Choclococha", "PE", 14965, -13.17, -75.07, "America/Lima", False),
    ("NFFN", "NAN", "Nadi", "Nadi", "FJ", 59, -17.76, 177.44, "Pacific/Fiji", True),
    ("NFNU", "", "Taveuni East", "Taveuni", "FJ", 10, -16.80, -179.80, "Pacific/Fiji", False),
]  # fmt: skip
COUNTRIES = {
    "BR": "Brazil",
    "FJ": "Fiji",
    "FR": "France",
    "NL": "Netherlands",
    "PE": "Peru",
    "VA": "Vatican City",
}


@pytest.fixture
def empty_cache(transactional_db: None) -> None:
    """With real commits: within a test's transaction that has written nothing is served from caches."""
    cache.clear()


@pytest.fixture
def atlas(empty_cache: None) -> None:
    """Eight airports in five countries, and a sixth country without any."""
    Country.objects.bulk_create(Country(code=code, name=name) for code, name in COUNTRIES.items())
    for icao, iata, name, city, country, feet, latitude, longitude, zone, is_hub in AIRPORTS:
        Airport.objects.create(
            icao=icao,
            iata=iata,
            name=name,
            city=city,
            country_id=country,
            elevation_feet=feet,
            latitude=latitude,
            longitude=longitude,
            time_zone=zone,
            is_hub=is_hub,
        )


@pytest.fixture
def page(empty_cache: None) -> Page:
    return Page.objects.create(
        slug="about", title="About us", text="We count **airports**.", menu_position=1
    )
