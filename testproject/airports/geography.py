"""Distances, directions and areas on the globe, as pure functions. Queries and maps use them."""

from collections.abc import Iterator
from math import asin, atan2, cos, degrees, floor, radians, sin, sqrt

EARTH_RADIUS_KM = 6371.0088  # the mean radius of the IUGG
FEET_PER_METRE = 1 / 0.3048

SQUARE_DEGREES = 3
SQUARES_AROUND = 360 // SQUARE_DEGREES
LAST_SQUARE_ROW = 180 // SQUARE_DEGREES - 1

COMPASS_POINTS = ("N", "NE", "E", "SE", "S", "SW", "W", "NW")

AREA_NAMES = {
    "America": "Americas",
    "Atlantic": "Atlantic Ocean",
    "Indian": "Indian Ocean",
    "Pacific": "Pacific Ocean",
}


def area_of(time_zone: str) -> str:
    """Return the part of the world that a time zone's name begins with.

    >>> area_of("America/Argentina/Salta")
    'Americas'
    """
    first = time_zone.partition("/")[0]
    return AREA_NAMES.get(first, first)


def distance_km(
    latitude: float, longitude: float, other_latitude: float, other_longitude: float
) -> float:
    """Return the great-circle distance between two points given in degrees (haversine)."""
    phi, other_phi = radians(latitude), radians(other_latitude)
    half_chord = (
        sin((other_phi - phi) / 2) ** 2
        + cos(phi) * cos(other_phi) * sin(radians(other_longitude - longitude) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_KM * asin(min(1.0, sqrt(half_chord)))


def bearing_degrees(
    latitude: float, longitude: float, other_latitude: float, other_longitude: float
) -> float:
    """Return the direction in which the shortest way to the other point begins, 0 to 360."""
    phi, other_phi = radians(latitude), radians(other_latitude)
    turn = radians(other_longitude - longitude)
    east = sin(turn) * cos(other_phi)
    north = cos(phi) * sin(other_phi) - sin(phi) * cos(other_phi) * cos(turn)
    return degrees(atan2(east, north)) % 360


def compass_point(bearing: float) -> str:
    """Return the nearest of eight compass points.

    >>> compass_point(50.0)
    'NE'
    """
    return COMPASS_POINTS[round(bearing / 45) % 8]


# Squares: the globe, cut at every third meridian and parallel


def square_of(latitude: float, longitude: float) -> int:
    """Return the number of the square that a point is in.

    >>> square_of(-90.0, -180.0), square_of(-90.0, -175.0), square_of(90.0, 179.9)
    (0, 1, 7199)
    """
    row = min(floor((latitude + 90) / SQUARE_DEGREES), LAST_SQUARE_ROW)
    return row * SQUARES_AROUND + floor((longitude + 180) / SQUARE_DEGREES) % SQUARES_AROUND


def rings_around(square: int, count: int) -> Iterator[list[int]]:
    """Yield the square, then the squares around it, then those around these ...

    A ring crosses the 180th meridian, and ends at the poles.

    >>> [len(ring) for ring in rings_around(square_of(50.0, 10.0), 3)]
    [1, 8, 16]
    """
    row, column = divmod(square, SQUARES_AROUND)
    for ring in range(count):
        steps = range(-ring, ring + 1)
        yield [
            (row + up) * SQUARES_AROUND + (column + right) % SQUARES_AROUND
            for up in steps
            for right in steps
            if max(abs(up), abs(right)) == ring and 0 <= row + up <= LAST_SQUARE_ROW
        ]


def km_covered(latitude: float, ring: int) -> float:
    """Return how far around a point all is within the rings up to this one (0: its own square).

    To the next parallel, or to the nearest point of the next meridian: these draw close to each
    other towards the poles.
    """
    turn = radians(ring * SQUARE_DEGREES)
    return EARTH_RADIUS_KM * min(turn, asin(cos(radians(latitude)) * sin(turn)))
