"""Computes the data of the pages from the database, without knowing caches or requests.

Cached values consist of dicts, lists, texts and numbers, because they outlive a deploy that may
change a class. The list of a country consists of rows: there the template caches its text.
"""

import heapq
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TypedDict

from django.db.models import Case, Count, Max, Q, QuerySet, Value, When
from django.urls import reverse

from testproject.airports import maps
from testproject.airports.geography import (
    area_of,
    bearing_degrees,
    compass_point,
    distance_km,
    km_covered,
    rings_around,
)
from testproject.airports.models import Airport, Country
from testproject.airports.texts import fold

HIGHEST_COUNT = 15
LOWEST_COUNT = 5
NEAREST_COUNT = 20
NEAREST_RINGS = 4  # 49 squares; in lonelier places, all airports are compared
# An entry that was made from more than about 100 rows and other entries depends on the whole table.
PAGE_ROWS = 40
SEARCH_ROWS = 50
TOP_ZONES = 12


class AirportRow(TypedDict):
    icao: str
    iata: str
    name: str
    city: str
    subdivision: str
    country: str
    country_url: str
    url: str
    latitude: float
    longitude: float
    elevation_feet: int
    elevation_metres: int
    is_hub: bool


class Share(TypedDict):
    """A part of a whole, to be drawn as a bar."""

    name: str
    airports: int
    percent: float
    percent_of_largest: float


class CountryRow(TypedDict):
    code: str
    name: str
    url: str
    airports: int
    with_iata: int
    highest_feet: int


class World(TypedDict):
    airports: int
    with_iata: int
    countries: list[CountryRow]
    areas: list[Share]
    time_zones: list[Share]
    highest: list[AirportRow]
    lowest: list[AirportRow]
    map: maps.DotMap


class CountryFacts(TypedDict):
    code: str
    name: str
    url: str
    airports: int
    with_iata: int
    pages: int
    time_zones: list[Share]
    hubs: list[AirportRow]
    highest: list[AirportRow]
    lowest: list[AirportRow]


class Neighbour(TypedDict):
    airport: AirportRow
    distance_km: float
    direction: str


class AirportFacts(TypedDict):
    id: int
    airport: AirportRow
    time_zone: str
    area: str


class Heights(TypedDict):
    """All elevations in a short form: to compare an airport with all others, without a query."""

    airports: int
    # The least elevation in feet that is above 0.0, 0.1, 0.2 ... percent of the airports.
    by_permille: list[int]


class Neighbourhood(TypedDict):
    airports: list[Neighbour]
    map: maps.NearbyMap


class CountryName(TypedDict):
    name: str
    url: str


class SearchResult(TypedDict):
    total: int
    airports: list[AirportRow]
    countries: list[CountryName]


# The world


def world() -> World:
    countries = list_countries()
    time_zones = count_time_zones(Airport.objects.all())
    by_height = Airport.objects.order_by("elevation_feet", "icao")
    return {
        "airports": sum(country["airports"] for country in countries),
        "with_iata": sum(country["with_iata"] for country in countries),
        "countries": countries,
        "areas": shares(sum_areas(time_zones)),
        "time_zones": shares(time_zones),
        "highest": airport_rows(by_height.reverse()[:HIGHEST_COUNT]),
        "lowest": airport_rows(by_height[:LOWEST_COUNT]),
        "map": maps.draw_world(Airport.objects.values_list("latitude", "longitude").iterator()),
    }


def list_countries() -> list[CountryRow]:
    """Return the countries that have airports, sorted by their number."""
    counted = (
        Country.objects.annotate(
            airport_count=Count("airports"),
            iata_count=Count("airports", filter=~Q(airports__iata="")),
            highest_feet=Max("airports__elevation_feet"),
        )
        .filter(airport_count__gt=0)
        .order_by("-airport_count", "name")
    )
    return [
        {
            "code": country.code,
            "name": country.name,
            "url": country.get_absolute_url(),
            "airports": country.airport_count,
            "with_iata": country.iata_count,
            "highest_feet": country.highest_feet,
        }
        for country in counted
    ]


def count_time_zones(airports: QuerySet[Airport]) -> dict[str, int]:
    counted = airports.order_by().values_list("time_zone").annotate(airport_count=Count("id"))
    return dict(counted)


def sum_areas(time_zones: Mapping[str, int]) -> Mapping[str, int]:
    areas: Counter[str] = Counter()
    for time_zone, count in time_zones.items():
        areas[area_of(time_zone)] += count
    return areas


def shares(counts: Mapping[str, int]) -> list[Share]:
    """Return the parts of a whole, the largest first."""
    whole = sum(counts.values())
    largest = max(counts.values(), default=0)
    return [
        {
            "name": name,
            "airports": count,
            "percent": round(100 * count / whole, 1),
            "percent_of_largest": round(100 * count / largest, 1),
        }
        for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


# A country


def country(code: str) -> CountryFacts:
    """Raises Country.DoesNotExist for an unknown code."""
    found = Country.objects.get(code=code)
    airports = Airport.objects.filter(country=found)
    by_height = airports.order_by("elevation_feet", "icao")
    count = airports.count()
    return {
        "code": found.code,
        "name": found.name,
        "url": found.get_absolute_url(),
        "airports": count,
        "with_iata": airports.exclude(iata="").count(),
        "pages": max(1, -(-count // PAGE_ROWS)),
        "time_zones": shares(count_time_zones(airports))[:TOP_ZONES],
        "hubs": airport_rows(airports.filter(is_hub=True)),
        "highest": airport_rows(by_height.reverse()[:1]),
        "lowest": airport_rows(by_height[:1]),
    }


def country_map(code: str) -> maps.CountryMap | None:
    """Draw the airports of a country; None if it has none."""
    airports = Airport.objects.filter(country_id=code)
    points = list(airports.values_list("latitude", "longitude"))
    if not points:
        return None
    return maps.draw_country(points, [place(hub) for hub in airports.filter(is_hub=True)])


def place(airport: Airport) -> maps.Place:
    return {
        "latitude": airport.latitude,
        "longitude": airport.longitude,
        "label": str(airport),
        "url": airport.get_absolute_url(),
    }


def country_page(code: str, number: int) -> QuerySet[Airport]:
    """Return the airports on one page of the country's list, unevaluated; pages count from 1."""
    first = (number - 1) * PAGE_ROWS
    # The hubs first: few people look for one of the 1,900 strips whose names begin with A.
    airports = Airport.objects.filter(country_id=code).order_by("-is_hub", "name", "icao")
    return airports[first : first + PAGE_ROWS]


# An airport


def airport(icao: str) -> AirportFacts:
    """Raises Airport.DoesNotExist for an unknown code."""
    found = Airport.objects.select_related("country").get(icao=icao)
    return {
        "id": found.pk,
        "airport": airport_row(found),
        "time_zone": found.time_zone,
        "area": found.area,
    }


def heights() -> Heights:
    elevations = sorted(Airport.objects.values_list("elevation_feet", flat=True).iterator())
    count = len(elevations)
    by_permille: list[int] = []
    for lower, feet in enumerate(elevations):
        if lower == 0 or feet != elevations[lower - 1]:
            permille = round(1000 * lower / count)
            by_permille += [feet] * (permille + 1 - len(by_permille))
    return {"airports": count, "by_permille": by_permille}


def lower_percent(feet: int, heights: Heights) -> float:
    """Return how many percent of all airports are lower."""
    return max(0, bisect_right(heights["by_permille"], feet) - 1) / 10


def neighbourhood(icao: str) -> Neighbourhood:
    """Raises Airport.DoesNotExist for an unknown code."""
    found = Airport.objects.get(icao=icao)
    neighbours = nearest(found, NEAREST_COUNT)
    return {
        "airports": neighbours,
        "map": maps.draw_nearby([sight(found, neighbour) for neighbour in neighbours]),
    }


def nearest(airport: Airport, count: int) -> list[Neighbour]:
    """Return the nearest other airports, by great-circle distance."""
    closest = nearest_around(airport, count) or nearest_of(airport, count, Airport.objects.all())
    rows = Airport.objects.select_related("country").in_bulk([pk for _, pk in closest])
    return [neighbour(airport, rows[pk], km) for km, pk in closest]


Distance = tuple[float, int]  # kilometres, primary key


def nearest_around(airport: Airport, count: int) -> list[Distance]:
    """Return the nearest other airports, or nothing where few are around: in the Pacific, say.

    It looks at the squares around, ring by ring, until whatever is farther out is farther away. So
    the result depends on the airports in these squares only.
    """
    found: list[Distance] = []
    for ring, squares in enumerate(rings_around(airport.square, NEAREST_RINGS)):
        around = Airport.objects.filter(square__in=squares)
        found = heapq.nsmallest(count, [*found, *nearest_of(airport, count, around)])
        if len(found) == count and found[-1][0] <= km_covered(airport.latitude, ring):
            return found
    return []


def nearest_of(airport: Airport, count: int, others: QuerySet[Airport]) -> list[Distance]:
    places = others.order_by().values_list("pk", "latitude", "longitude")
    distances = (
        (distance_km(airport.latitude, airport.longitude, latitude, longitude), pk)
        for pk, latitude, longitude in places.iterator()
        if pk != airport.pk
    )
    return heapq.nsmallest(count, distances)


def neighbour(airport: Airport, other: Airport, km: float) -> Neighbour:
    return {
        "airport": airport_row(other),
        "distance_km": round(km, 1),
        "direction": compass_point(bearing(airport, other.latitude, other.longitude)),
    }


def bearing(airport: Airport, latitude: float, longitude: float) -> float:
    return bearing_degrees(airport.latitude, airport.longitude, latitude, longitude)


def sight(airport: Airport, neighbour: Neighbour) -> maps.Neighbour:
    """Return the airport in the map's format."""
    other = neighbour["airport"]
    return {
        "distance_km": neighbour["distance_km"],
        "bearing": bearing(airport, other["latitude"], other["longitude"]),
        "code": other["iata"] or other["icao"],
        "title": f"{other['name']}, {neighbour['distance_km']} km {neighbour['direction']}",
        "url": other["url"],
    }


# Search


def search(words: str) -> SearchResult:
    """Find airports whose codes, name, city, region or country contain every word.

    `words` is folded text, see `texts.fold`. An airport with this code comes first, then those with
    an IATA code.
    """
    countries = {country: fold(country.name) for country in Country.objects.all()}
    matches = Airport.objects.all()
    for word in words.split():
        matches = matches.filter(
            Q(search_text__contains=word)
            | Q(country__in=[country.pk for country, name in countries.items() if word in name])
        )
    ranked = matches.order_by(
        Case(
            When(Q(icao=words.upper()) | Q(iata=words.upper()), then=Value(0)),
            When(is_hub=True, then=Value(1)),
            When(~Q(iata=""), then=Value(2)),
            default=Value(3),
        ),
        "name",
        "icao",
    )
    return {
        "total": matches.count(),
        "airports": airport_rows(ranked[:SEARCH_ROWS]),
        "countries": [
            {"name": country.name, "url": country.get_absolute_url()}
            for country, name in countries.items()
            if words in name or words.upper() == country.code
        ],
    }


# Rows


def airport_rows(airports: QuerySet[Airport]) -> list[AirportRow]:
    return [airport_row(airport) for airport in airports.select_related("country")]


def airport_row(airport: Airport) -> AirportRow:
    return {
        "icao": airport.icao,
        "iata": airport.iata,
        "name": airport.name,
        "city": airport.city,
        "subdivision": airport.subdivision,
        "country": airport.country.name,
        "country_url": airport.country.get_absolute_url(),
        "url": airport.url,
        "latitude": airport.latitude,
        "longitude": airport.longitude,
        "elevation_feet": airport.elevation_feet,
        "elevation_metres": airport.elevation_metres,
        "is_hub": airport.is_hub,
    }


# URLs to list and to warm


def country_codes() -> list[str]:
    """Return the codes of the countries that have airports."""
    return list(
        Country.objects.filter(airports__isnull=False).distinct().values_list("code", flat=True)
    )


def notable_airports() -> list[str]:
    """Return the ICAO codes of the hubs, and of the highest and the lowest airports."""
    by_height = Airport.objects.order_by("elevation_feet", "icao")
    found: Iterable[str] = [
        *Airport.objects.filter(is_hub=True).order_by("icao").values_list("icao", flat=True),
        *by_height.reverse()[:HIGHEST_COUNT].values_list("icao", flat=True),
        *by_height[:LOWEST_COUNT].values_list("icao", flat=True),
    ]
    return list(dict.fromkeys(found))


def airport_urls() -> list[str]:
    return [reverse("airports:airport", args=[icao]) for icao in notable_airports()]


def country_urls() -> list[str]:
    return [reverse("airports:country", args=[code]) for code in country_codes()]
