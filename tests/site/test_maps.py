"""Maps put places where they are, and are small."""

from __future__ import annotations

import re

import pytest

from testproject.airports import maps
from testproject.airports.geography import (
    area_of,
    bearing_degrees,
    compass_point,
    distance_km,
)

PARIS, NEW_YORK = (48.86, 2.35), (40.71, -74.01)
FIJI_WEST, FIJI_EAST = (-17.8, 177.4), (-16.8, -179.8)


def test_distance_is_the_great_circles() -> None:
    assert distance_km(*PARIS, *NEW_YORK) == pytest.approx(5837, rel=0.005)
    assert distance_km(*PARIS, *PARIS) == 0
    assert distance_km(0, 0, 0, 180) == pytest.approx(20015, rel=0.001)
    assert distance_km(90, 0, 90, 120) == pytest.approx(0, abs=0.001)


@pytest.mark.parametrize(
    ("latitude", "longitude", "point"), [(1, 0, "N"), (0, 1, "E"), (-1, -1, "SW"), (1, -0.01, "N")]
)
def test_directions_have_names(latitude: float, longitude: float, point: str) -> None:
    bearing = bearing_degrees(0, 0, latitude, longitude)

    assert compass_point(bearing) == point


def test_an_area_is_the_first_part_of_the_time_zone() -> None:
    assert area_of("America/Argentina/Salta") == "Americas"
    assert area_of("Europe/Paris") == "Europe"
    assert area_of("UTC") == "UTC"


def test_the_worlds_middle_is_the_maps_middle() -> None:
    middle = maps.place_on_world(0, 0)
    east, north = maps.place_on_world(0, 180), maps.place_on_world(90, 0)

    assert middle == (maps.WORLD_WIDTH / 2, maps.world_height() / 2)
    assert east[0] == pytest.approx(maps.WORLD_WIDTH)
    assert north[1] == pytest.approx(0)


def test_a_dot_takes_six_bytes() -> None:
    spots = [(x, y) for x in range(0, 400, 2) for y in range(0, 200, 2)]

    path = maps.dots_path(spots)

    assert path.count("h0") == len(spots)
    assert len(path) / len(spots) < 6.5


def test_dots_land_where_they_belong() -> None:
    path = maps.dots_path([(10, 4), (16, 4), (2, 8)])

    assert path == "M10 4h0m6 0h0M2 8h0"


def test_crowded_spots_are_drawn_in_a_stronger_colour() -> None:
    spots = [(0.0, 0.0)] * 9 + [(float(x), 0.0) for x in range(10, 200, 10)]

    faint, middle, strong = maps.dot_layers(spots, grid=1)

    assert (faint.count("h0"), middle, strong) == (19, "", "M0 0h0")


def test_a_country_across_the_date_line_is_drawn_in_one_piece() -> None:
    drawn = maps.draw_country([FIJI_WEST, FIJI_EAST], [])

    xs = [int(x) for x in re.findall(r"M(-?\d+) ", "".join(drawn["layers"]))]
    assert len(xs) == 2
    assert all(0 <= x <= maps.COUNTRY_WIDTH for x in xs)
    assert drawn["scale"]["km"] < 500


@pytest.mark.parametrize("points", [[PARIS], [PARIS, PARIS], [(89.9, 0.0), (-89.9, 179.0)]])
def test_every_country_fits_its_sheet(points: list[maps.Point]) -> None:
    place: maps.Place = {
        "latitude": points[0][0],
        "longitude": points[0][1],
        "label": "here",
        "url": "/",
    }

    drawn = maps.draw_country(points, [place])

    assert 0 <= drawn["markers"][0]["x"] <= drawn["width"]
    assert 0 <= drawn["markers"][0]["y"] <= drawn["height"]
    assert 0 < drawn["scale"]["length"] < drawn["width"]


def test_a_map_of_nothing_says_what_is_missing() -> None:
    with pytest.raises(ValueError, match="at least one point"):
        maps.draw_country([], [])


def test_neighbours_stand_in_their_direction_and_distance() -> None:
    def neighbour(km: float, bearing: float) -> maps.Neighbour:
        return {"distance_km": km, "bearing": bearing, "code": "ABC", "title": "", "url": "/"}

    east, south = maps.draw_nearby([neighbour(10, 90), neighbour(20, 180)])["dots"]

    assert (east["x"], east["y"]) == (pytest.approx(47.6), 0)
    assert (south["x"], south["y"]) == (0, pytest.approx(95.2))


def test_labels_do_not_cover_each_other() -> None:
    crowd: list[maps.Neighbour] = [
        {"distance_km": 10 + n, "bearing": 90, "code": "LONG", "title": "", "url": "/"}
        for n in range(5)
    ]

    dots = maps.draw_nearby(crowd)["dots"]

    assert sum(bool(dot["label_anchor"]) for dot in dots) < len(dots)


def test_a_lonely_airport_has_an_empty_map() -> None:
    assert maps.draw_nearby([])["dots"] == []
