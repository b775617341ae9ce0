"""Draws maps as SVG paths, with pure functions. The templates contain the SVG elements."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import pairwise
from math import cos, log10, pi, radians, sin
from typing import TypedDict

from testproject.airports.geography import EARTH_RADIUS_KM

Point = tuple[float, float]  # latitude, longitude, in degrees
Spot = tuple[int, int]  # x, y, in the map's own units
KM_PER_DEGREE = 2 * pi * EARTH_RADIUS_KM / 360

WORLD_WIDTH = 1000
WORLD_GRID = 2  # map units between adjacent dots
# The share of spots with airports in the faintest colour, and in the first two colours.
FAINT_SHARE, MIDDLE_SHARE = 0.6, 0.9

COUNTRY_WIDTH = 600
COUNTRY_PADDING = 24
COUNTRY_GRID = 3

NEARBY_RADIUS = 100
LABEL_HEIGHT = 6
LETTER_WIDTH = 3.6


class DotMap(TypedDict):
    width: int
    height: int
    frame: str
    layers: list[str]


class Marker(TypedDict):
    x: float
    y: float
    label: str
    url: str


class ScaleBar(TypedDict):
    x: float
    y: float
    length: float
    km: int


class CountryMap(TypedDict):
    width: int
    height: int
    layers: list[str]
    markers: list[Marker]
    scale: ScaleBar


class Ring(TypedDict):
    radius: float
    km: float


class NearbyDot(TypedDict):
    x: float
    y: float
    code: str
    title: str
    url: str
    label_anchor: str
    label_x: float
    label_y: float


class NearbyMap(TypedDict):
    rings: list[Ring]
    dots: list[NearbyDot]


class Place(TypedDict):
    """The data of a labelled airport on a map."""

    latitude: float
    longitude: float
    label: str
    url: str


class Neighbour(TypedDict):
    """An airport relative to another one."""

    distance_km: float
    bearing: float
    code: str
    title: str
    url: str


# The world: all airports on one map


def draw_world(points: Iterable[Point]) -> DotMap:
    """Draw points as dots on the world, in the Natural Earth projection."""
    return {
        "width": WORLD_WIDTH,
        "height": round(world_height()),
        "frame": world_frame(),
        "layers": dot_layers(
            (place_on_world(latitude, longitude) for latitude, longitude in points), WORLD_GRID
        ),
    }


def project_natural_earth(latitude: float, longitude: float) -> tuple[float, float]:
    """Return x and y on the unit sphere's map.

    The polynomial is that of B. Savric et al., "A polynomial equation for the Natural Earth
    projection" (2011).
    """
    phi, turn = radians(latitude), radians(longitude)
    phi2 = phi * phi
    phi4 = phi2 * phi2
    x = turn * (
        0.8707 - 0.131979 * phi2 + phi4 * (-0.013791 + phi4 * (0.003971 * phi2 - 0.001529 * phi4))
    )
    y = phi * (
        1.007226 + phi2 * (0.015085 + phi4 * (-0.044475 + 0.028874 * phi2 - 0.005916 * phi4))
    )
    return x, y


@cache
def world_scale() -> float:
    return WORLD_WIDTH / (2 * project_natural_earth(0, 180)[0])


@cache
def world_height() -> float:
    return 2 * project_natural_earth(90, 0)[1] * world_scale()


def place_on_world(latitude: float, longitude: float) -> tuple[float, float]:
    x, y = project_natural_earth(latitude, longitude)
    return WORLD_WIDTH / 2 + x * world_scale(), world_height() / 2 - y * world_scale()


@cache
def world_frame() -> str:
    """Draw the edge of the world, its meridians and parallels every 30 degrees."""
    meridians = [
        [place_on_world(latitude, longitude) for latitude in range(-90, 91, 5)]
        for longitude in range(-180, 181, 30)
    ]
    parallels = [
        [place_on_world(latitude, longitude) for longitude in (-180, 180)]
        for latitude in range(-90, 91, 30)
    ]
    return "".join(polyline(points) for points in meridians + parallels)


def polyline(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.0f} {y:.0f}" for x, y in points)


# Dots: many points in few bytes


def dot_layers(spots: Iterable[tuple[float, float]], grid: int) -> list[str]:
    """Return three paths: the spots with few airports, with more, and with the most."""
    counts = Counter((round(x / grid) * grid, round(y / grid) * grid) for x, y in spots)
    steps = density_steps(counts.values())
    layers: list[list[Spot]] = [[] for _ in steps]
    for spot, count in counts.items():
        layers[sum(count >= step for step in steps) - 1].append(spot)
    return [dots_path(layer) for layer in layers]


def density_steps(counts: Iterable[int]) -> tuple[int, int, int]:
    """Return the number of airports on a spot from which each colour begins, the faintest first.

    The steps follow the map's own counts. With fixed steps, the United States would have one colour
    only, and Mongolia only the faintest.
    """
    ranked = sorted(counts) or [1]
    middle = max(2, ranked[int(len(ranked) * FAINT_SHARE)])
    return 1, middle, max(middle + 1, ranked[int(len(ranked) * MIDDLE_SHARE)])


def dots_path(spots: Iterable[Spot]) -> str:
    """Draw each spot as a line without length, which round ends make a dot.

    Relative moves between the spots of a row take 6 bytes per dot; a circle takes 30.
    """
    rows: dict[int, list[int]] = defaultdict(list)
    for x, y in spots:
        rows[y].append(x)
    return "".join(row_path(sorted(rows[y]), y) for y in sorted(rows))


def row_path(row: Sequence[int], y: int) -> str:
    steps = (f"m{x - before} 0h0" for before, x in pairwise(row))
    return f"M{row[0]} {y}h0" + "".join(steps)


# A country: its airports at the largest scale that fits


def draw_country(points: Sequence[Point], places: Iterable[Place]) -> CountryMap:
    """Draw points as dots, and places as markers, on a map that just contains the points.

    Raises ValueError if there are no points.
    """
    if not points:
        raise ValueError("A map needs at least one point, and got none.")
    project, height, unit_km = fit_country(points)
    return {
        "width": COUNTRY_WIDTH,
        "height": height,
        "layers": dot_layers((project(point) for point in points), COUNTRY_GRID),
        "markers": [mark_place(place, project) for place in places],
        "scale": draw_scale(height, unit_km),
    }


def fit_country(
    points: Sequence[Point],
) -> tuple[Callable[[Point], tuple[float, float]], int, float]:
    """Return a projection onto the map, the map's height, and kilometres per map unit."""
    west, width_degrees = widest_view([longitude for _, longitude in points])
    south = min(latitude for latitude, _ in points)
    north = max(latitude for latitude, _ in points)
    shrink = max(0.1, cos(radians((south + north) / 2)))  # meridians converge towards the poles
    width_km = max(20.0, width_degrees * shrink * KM_PER_DEGREE)
    height_km = max(20.0, (north - south) * KM_PER_DEGREE)
    inner = COUNTRY_WIDTH - 2 * COUNTRY_PADDING
    # At most as wide as the map, and at most as high as wide.
    unit_km = max(width_km, height_km) / inner
    height = max(200, round(height_km / unit_km) + 2 * COUNTRY_PADDING)
    middle_x = ((width_degrees / 2) % 360) * shrink * KM_PER_DEGREE
    middle_latitude = (south + north) / 2

    def project(point: Point) -> tuple[float, float]:
        latitude, longitude = point
        east_km = ((longitude - west) % 360) * shrink * KM_PER_DEGREE - middle_x
        north_km = (latitude - middle_latitude) * KM_PER_DEGREE
        return COUNTRY_WIDTH / 2 + east_km / unit_km, height / 2 - north_km / unit_km

    return project, height, unit_km


def widest_view(longitudes: Iterable[float]) -> tuple[float, float]:
    """Return the western edge and the width, in degrees, of the narrowest view that holds all.

    The view begins east of the widest gap, so that Fiji and Russia, which lie on both sides
    of the 180th meridian, are drawn in one piece.

    >>> widest_view([178.0, -179.0])
    (178.0, 3.0)
    """
    around = sorted({longitude % 360 for longitude in longitudes})
    gaps = [
        ((after - before) % 360 or 360.0, after)
        for before, after in zip(around, around[1:] + around[:1], strict=True)
    ]
    gap, west = max(gaps)
    return west, 360.0 - gap


def mark_place(place: Place, project: Callable[[Point], tuple[float, float]]) -> Marker:
    x, y = project((place["latitude"], place["longitude"]))
    return {"x": round(x, 1), "y": round(y, 1), "label": place["label"], "url": place["url"]}


def draw_scale(height: int, unit_km: float) -> ScaleBar:
    km = round_down(unit_km * COUNTRY_WIDTH / 4)
    return {"x": 12, "y": height - 12, "length": round(km / unit_km, 1), "km": round(km)}


def round_down(value: float) -> float:
    """Return the largest of 1, 2, 5, 10, 20, 50 ... that is not above the value.

    >>> round_down(340)
    200.0
    """
    power = 10.0 ** int(log10(value) // 1)
    return max(step * power for step in (1, 2, 5) if step * power <= value)


# An airport: the others around it, by distance and direction


def draw_nearby(neighbours: Sequence[Neighbour]) -> NearbyMap:
    """Draw the airports around (0, 0), within a circle of NEARBY_RADIUS."""
    farthest_km = max((neighbour["distance_km"] for neighbour in neighbours), default=0) or 1.0
    unit_km = farthest_km * 1.05 / NEARBY_RADIUS
    dots = [place_neighbour(neighbour, unit_km) for neighbour in neighbours]
    label_where_free(dots)
    return {"rings": draw_rings(farthest_km, unit_km), "dots": dots}


def draw_rings(farthest_km: float, unit_km: float) -> list[Ring]:
    step = round_down(farthest_km / 2)
    count = int(farthest_km * 1.05 / step)
    return [{"radius": round(n * step / unit_km, 1), "km": n * step} for n in range(1, count + 1)]


def place_neighbour(neighbour: Neighbour, unit_km: float) -> NearbyDot:
    radius = neighbour["distance_km"] / unit_km
    turn = radians(neighbour["bearing"])
    return {
        "x": round(radius * sin(turn), 1),
        "y": round(-radius * cos(turn), 1),
        "code": neighbour["code"],
        "title": neighbour["title"],
        "url": neighbour["url"],
        "label_anchor": "",
        "label_x": 0.0,
        "label_y": 0.0,
    }


def label_where_free(dots: Sequence[NearbyDot]) -> None:
    """Label each dot on its right or left if there is space, the nearest dots first."""
    taken = [(dot["x"] - 2, dot["y"] - 2, dot["x"] + 2, dot["y"] + 2) for dot in dots]
    taken.append((-4, -4, 4, 4))  # the airport itself
    for dot in dots:
        width = LETTER_WIDTH * len(dot["code"])
        for anchor, side in (("start", 1), ("end", -1)):
            edge = dot["x"] + side * 3
            box = (
                min(edge, edge + side * width),
                dot["y"] - LABEL_HEIGHT / 2,
                max(edge, edge + side * width),
                dot["y"] + LABEL_HEIGHT / 2,
            )
            if not any(overlap(box, other) for other in taken):
                taken.append(box)
                dot["label_anchor"], dot["label_x"], dot["label_y"] = anchor, edge, dot["y"] + 2
                break


Box = tuple[float, float, float, float]  # left, top, right, bottom


def overlap(box: Box, other: Box) -> bool:
    return box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]
