"""Distances, directions and areas on the globe, as pure functions. Queries and maps use them."""

from math import asin, atan2, cos, degrees, radians, sin, sqrt

EARTH_RADIUS_KM = 6371.0088  # the mean radius of the IUGG
FEET_PER_METRE = 1 / 0.3048

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
