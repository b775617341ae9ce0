"""The atlas's pages: what they show, what they cost, and that they do not grow old."""

from __future__ import annotations

import math
from random import Random
from xml.etree import ElementTree as ET

import pytest
from django.core.cache import cache
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from testproject.airports import queries, warmers
from testproject.airports.models import Airport, Country
from testproject.airports.views import page_numbers
from tests.site.conftest import WARM_QUERIES

PATHS = ["/", "/country/FR/", "/country/VA/", "/airport/LFPG/", "/search/", "/search/?q=paris"]


def body(client: Client, path: str) -> str:
    return client.get(path).content.decode()


@pytest.mark.usefixtures("atlas")
@pytest.mark.parametrize("path", PATHS)
def test_every_kind_of_page_answers(client: Client, path: str) -> None:
    response = client.get(path)

    assert response.status_code == 200
    assert "</html>" in response.content.decode()


@pytest.mark.usefixtures("empty_cache")
@pytest.mark.parametrize("path", ["/", "/search/?q=paris", "/sitemap.xml"])
def test_a_site_without_data_answers_too(client: Client, path: str) -> None:
    response = client.get(path)

    assert response.status_code == 200


@pytest.mark.usefixtures("atlas")
@pytest.mark.parametrize("path", PATHS)
def test_a_page_that_was_shown_asks_the_database_only_whether_it_is_still_true(
    client: Client, path: str, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    cold = body(client, path)

    with django_assert_num_queries(WARM_QUERIES):
        warm = body(client, path)

    assert warm == cold


@pytest.mark.usefixtures("atlas")
def test_a_cleared_cache_makes_pages_ask_the_database_again(
    client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    body(client, "/airport/LFPG/")

    cache.clear()

    with django_assert_max_num_queries(14) as asked:  # six of them tell the other workers
        body(client, "/airport/LFPG/")
    assert len(asked) > WARM_QUERIES


@pytest.mark.usefixtures("atlas")
@pytest.mark.parametrize("path", ["/", "/country/FR/", "/airport/LFPG/", "/search/?q=courchevel"])
def test_a_renamed_airport_shows_at_once_wherever_it_stands(client: Client, path: str) -> None:
    assert "Courchevel" in body(client, path)
    airport = Airport.objects.get(icao="LFLJ")

    airport.name = "Courchevel Altiport"
    airport.save()

    assert "Courchevel Altiport" in body(client, path)


@pytest.mark.usefixtures("atlas")
def test_an_edit_renders_one_row_of_a_list_and_the_others_are_hits(client: Client) -> None:
    def rendered() -> int:
        templates = client.get("/country/FR/").templates
        return [template.name for template in templates].count("airports/airport_row.html")

    first = [rendered(), rendered()][0]
    again = rendered()
    Airport.objects.filter(icao="LFLJ").update(name="Courchevel Altiport")

    assert (first, again, rendered()) == (3, 0, 1)
    assert "Courchevel Altiport" in body(client, "/country/FR/")


@pytest.mark.usefixtures("atlas")
def test_who_may_edit_an_airport_is_shown_the_way_and_nobody_else_is(
    client: Client, admin_client: Client
) -> None:
    pk = Airport.objects.get(icao="LFPG").pk
    link = f'<a class="edit" href="/admin/airports/airport/{pk}/change/">'

    shown = [link in body(each, "/airport/LFPG/") for each in [admin_client, client] * 3]

    assert shown == [True, False] * 3


@pytest.mark.usefixtures("atlas")
def test_a_deleted_airport_is_nobodys_neighbour(client: Client) -> None:
    assert "Paris-Orly" in body(client, "/airport/LFPG/")

    Airport.objects.get(icao="LFPO").delete()

    assert "Paris-Orly" not in body(client, "/airport/LFPG/")
    assert client.get("/airport/LFPO/").status_code == 404


@pytest.mark.usefixtures("atlas")
def test_a_renamed_country_shows_at_once(client: Client) -> None:
    assert "Netherlands" in body(client, "/")

    Country(code="NL", name="Nederland").save()

    assert "Nederland" in body(client, "/")
    assert "Netherlands" not in body(client, "/")


@pytest.mark.usefixtures("atlas")
@pytest.mark.parametrize(
    "path", ["/airport/XXXX/", "/country/XX/", "/country/FR/?page=2", "/country/FR/?page=x"]
)
def test_what_does_not_exist_is_a_friendly_404(client: Client, path: str) -> None:
    response = client.get(path)

    assert response.status_code == 404
    assert "No runway here" in response.content.decode()


@pytest.mark.usefixtures("atlas")
@pytest.mark.parametrize(
    ("path", "target"), [("/airport/lfpg/", "/airport/LFPG/"), ("/country/fr/", "/country/FR/")]
)
def test_codes_in_small_letters_lead_to_the_page(client: Client, path: str, target: str) -> None:
    response = client.get(path)

    assert response.status_code == 301
    assert response.headers["Location"] == target


@pytest.mark.usefixtures("atlas")
def test_the_nearest_airports_are_found_across_the_date_line() -> None:
    nadi = Airport.objects.get(icao="NFFN")

    nearest = queries.nearest(nadi, count=2)

    assert [neighbour["airport"]["icao"] for neighbour in nearest] == ["NFNU", "SPNH"]
    assert nearest[0]["distance_km"] == pytest.approx(312, abs=5)
    assert nearest[0]["direction"] in {"E", "NE"}


@pytest.mark.usefixtures("atlas")
@pytest.mark.parametrize(
    ("words", "codes"),
    [
        ("cdg", ["LFPG"]),
        ("LFPO", ["LFPO"]),
        ("paris", ["LFPG", "LFPO"]),
        ("sao paulo", ["SBGR"]),
        ("SÃO", ["SBGR"]),
        ("france cour", ["LFLJ"]),
        ("100%", []),
        ("_", []),
        ("nowhere", []),
    ],
)
def test_search_finds_by_any_words_without_accents_or_case(
    client: Client, words: str, codes: list[str]
) -> None:
    html = client.get("/search/", {"q": words}).content.decode()

    found = [
        code for code, *_ in Airport.objects.values_list("icao") if f"/airport/{code}/" in html
    ]
    assert sorted(found) == codes


@pytest.mark.usefixtures("atlas")
def test_search_shows_what_was_typed_and_does_not_run_it(client: Client) -> None:
    typed = "<script>alert(1)</script>\"'"

    page = client.get("/search/", {"q": typed}).content.decode()
    part = client.get("/search/", {"q": typed, "part": "results"}).content.decode()

    assert "<script>alert" not in page + part
    assert "&lt;script&gt;" in page
    assert "&lt;script&gt;" in part
    assert "</html>" not in part


@pytest.mark.usefixtures("atlas")
@pytest.mark.parametrize("typed", ["x" * 10_000, "a\0b", "%00", "✈"])
def test_search_takes_whatever_is_typed(client: Client, typed: str) -> None:
    response = client.get("/search/", {"q": typed})

    assert response.status_code == 200


@pytest.mark.usefixtures("atlas", "page")
def test_the_sitemap_is_valid_and_every_address_in_it_answers(client: Client) -> None:
    root = ET.fromstring(client.get("/sitemap.xml").content)

    addresses = [node.text or "" for node in root.findall(".//{*}loc")]
    paths = [address.removeprefix("http://testserver") for address in addresses]
    assert {"/", "/country/FR/", "/airport/LFPG/", "/about/"} <= set(paths)
    assert "/country/VA/" not in paths
    assert len(set(paths)) == len(paths)
    assert {client.get(path).status_code for path in paths} == {200}


@pytest.mark.usefixtures("atlas")
def test_warmers_name_pages_that_answer(client: Client) -> None:
    paths = [*warmers.world_page(), *warmers.country_pages(), *warmers.airport_pages()]

    statuses = {path: client.get(path).status_code for path in paths}

    assert set(statuses.values()) == {200}
    assert {"/", "/country/PE/", "/airport/SPNH/"} <= set(paths)


@pytest.mark.usefixtures("atlas")
def test_a_long_list_is_cut_into_pages(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "PAGE_ROWS", 2)

    first, second = body(client, "/country/FR/"), body(client, "/country/FR/?page=2")

    assert "page 1 of 2" in first
    assert "page 2 of 2" in second
    assert first.count('<th scope="row">') == 2
    assert second.count('<th scope="row">') == 1


def test_a_short_list_offers_all_pages_and_a_long_one_has_gaps() -> None:
    assert page_numbers(2, 3) == [1, 2, 3]
    assert page_numbers(5, 20) == [1, None, 4, 5, 6, None, 20]
    assert page_numbers(1, 1) == [1]


@pytest.mark.usefixtures("empty_cache")
def test_squares_find_the_same_airports_as_a_look_at_all() -> None:
    Country.objects.create(code="XX", name="Nowhere")
    random = Random(14)
    places = [
        (math.degrees(math.asin(random.uniform(-1, 1))), random.uniform(-180, 180))
        for _ in range(1500)
    ]
    edges = [(90.0, 0.0), (-90.0, 0.0), (89.5, 90.0), (0.0, 180.0), (0.0, -180.0), (66.0, 179.9)]
    airports = [
        Airport(
            icao=f"{number:04}",
            country_id="XX",
            elevation_feet=0,
            latitude=latitude,
            longitude=longitude,
        )
        for number, (latitude, longitude) in enumerate([*edges, *places])
    ]
    for airport in airports:
        airport.fill_derived()
    Airport.objects.bulk_create(airports)

    asked = list(Airport.objects.order_by("icao")[:25])
    found = [queries.nearest_around(airport, 3) for airport in asked]

    assert sum(map(bool, found)) > 10
    for airport, near in zip(asked, found, strict=True):
        assert near in ([], queries.nearest_of(airport, 3, Airport.objects.all()))


@pytest.mark.usefixtures("atlas")
@pytest.mark.parametrize("icao", ["LFPG", "LFLJ", "EHAM", "SPNH"])
def test_an_airport_is_compared_with_all_others(client: Client, icao: str) -> None:
    feet = Airport.objects.get(icao=icao).elevation_feet
    lower = Airport.objects.filter(elevation_feet__lt=feet).count()

    assert queries.lower_percent(feet, queries.heights()) == round(100 * lower / 8, 1)
    assert f"<dd>{round(100 * lower / 8, 1)}%" in body(client, f"/airport/{icao}/")
