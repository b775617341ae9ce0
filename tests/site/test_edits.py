"""An edit of one airport ends what shows it, and nearly all warmed pages come from the cache."""

from __future__ import annotations

from contextlib import ExitStack
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from testproject.airports import queries
from testproject.airports.models import Airport, Country
from testproject.pages.management.commands.measure_edits import (
    compare,
    renamed,
    visit_all,
    warmed_paths,
)
from testproject.pages.management.commands.measure_pages import Site

LETTERS = "ABCDEFGHIJKLMNO"


@pytest.fixture
def islands(empty_cache: None, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """15 countries with six hubs each, on three islands far from each other, and one small field.

    The cache is one in memory, which makes a hundred pages quicker.
    """
    settings.CACHES = {**settings.CACHES, "default": settings.CACHES["memory"]}
    monkeypatch.setattr(queries, "NEAREST_COUNT", 1)
    Country.objects.bulk_create(Country(code=f"X{a}", name=f"Land {a}") for a in LETTERS)
    airports = [
        airport(f"X{a}H{place}", 20 * (place // 2) + place / 10, 24 * number - 179, is_hub=True)
        for number, a in enumerate(LETTERS)
        for place in range(6)
    ]
    airports.append(airport("XFFF", 40.2, 24 * 5 - 179.5, is_hub=False))
    Airport.objects.bulk_create(airports)


def airport(icao: str, latitude: float, longitude: float, *, is_hub: bool) -> Airport:
    made = Airport(
        icao=icao,
        name=f"Field {icao}",
        country_id=icao[:2],
        elevation_feet=round(100 * latitude),
        latitude=latitude,
        longitude=longitude,
        time_zone="Etc/UTC",
        is_hub=is_hub,
    )
    made.fill_derived()
    return made


@pytest.mark.django_db(transaction=True)  # the end of a request closes what is in a transaction
@pytest.mark.usefixtures("islands", "page")
def test_an_edit_of_one_airport_leaves_95_percent_of_the_pages_warm() -> None:
    site, paths = Site(), warmed_paths()
    before = visit_all(site, paths)

    with ExitStack() as edits:
        for icao in ("XFFF", "XLH0"):
            edits.enter_context(renamed(Airport.objects.get(icao=icao)))
            kept = compare(before, visit_all(site, paths))

            assert kept.pages == 1 + 15 + 90 + 1
            assert 0 < kept.pages - kept.warm_pages <= 0.05 * kept.pages
            assert 0 < kept.entries - kept.valid_entries <= 0.05 * kept.entries


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("atlas", "page")
def test_the_demo_prints_what_an_edit_of_an_airport_and_of_a_hub_leaves() -> None:
    names = set(Airport.objects.values_list("name", flat=True))
    out = StringIO()

    call_command("measure_edits", stdout=out)

    ordinary, hub = out.getvalue().splitlines()
    assert "an ordinary airport" in ordinary
    assert "a hub" in hub
    assert all("warmed pages" in line and "still valid" in line for line in (ordinary, hub))
    assert set(Airport.objects.values_list("name", flat=True)) == names


@pytest.mark.usefixtures("empty_cache")
def test_measuring_edits_of_an_empty_site_says_what_to_run_first() -> None:
    with pytest.raises(CommandError, match="load_airports"):
        call_command("measure_edits")


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("atlas")
def test_nothing_is_computed_again_without_an_edit() -> None:
    paths = warmed_paths()
    visit_all(Site(), paths)

    assert not any(visit_all(Site(), paths).computed.values())
