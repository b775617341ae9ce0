"""`load_airports` brings the real data, corrects what differs and touches nothing else."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.cache import cache
from django.core.management import call_command
from django.test import Client

from testproject.airports.hubs import HUBS
from testproject.airports.models import Airport, Country


def load() -> str:
    out = StringIO()
    call_command("load_airports", stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_the_real_data_is_loaded_once_and_repaired_later(client: Client) -> None:
    cache.clear()
    first = load()
    count = Airport.objects.count()
    own = Airport.objects.create(
        icao="ZZ_1",
        name="My meadow",
        country_id="FR",
        elevation_feet=1,
        latitude=45,
        longitude=3,
        time_zone="Europe/Paris",
    )

    Airport.objects.filter(icao="LFPG").update(name="Wrong", elevation_feet=-1)
    client.get("/airport/LFPG/")
    second = load()

    assert count > 28_000
    assert f"{count:,} added, 0 changed, 0 unchanged" in first
    assert f"0 added, 1 changed, {count - 1:,} unchanged" in second
    assert "Charles de Gaulle" in client.get("/airport/LFPG/").content.decode()
    assert Airport.objects.filter(pk=own.pk).exists()
    # Codes change between releases of the data: an airport may wait for its new one.
    assert Airport.objects.filter(is_hub=True).count() > 0.95 * len(HUBS)
    assert Country.objects.get(code="XK").name == "Kosovo"
