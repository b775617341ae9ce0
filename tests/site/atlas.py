"""A small world for the tests of the site, those in a browser too. Needs Django to be set up."""

from __future__ import annotations

from testproject.airports.models import Airport, Country

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


def fill_atlas() -> None:
    """Add eight airports in five countries, and a sixth country without any."""
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
