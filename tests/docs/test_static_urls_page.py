"""The running example of the page on static URLs does what the page shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.templatetags.static import static
from django.test import Client
from pytest_django import Settings

from cachelayers.staticfiles.names import MARKERS
from tests.docs.test_recall_pages import blocks_of
from tests.environment import PROJECT
from tests.static_urls.conftest import forget

PAGE = (PROJECT / "docs" / "static_urls.md").read_text(encoding="utf-8")


@pytest.mark.django_db
def test_the_running_example_runs_as_shown(settings: Settings, tmp_path: Path) -> None:
    settings.STATIC_ROOT = tmp_path / "static"
    settings.CACHES = {"default": {"BACKEND": "cachelayers.backends.MemoryCache"}}
    forget()
    shown: dict[str, Any] = {"__name__": "example"}
    blocks = blocks_of("static_urls.md")

    for block in blocks:
        exec(block, shown)
    settings.STORAGES = shown["STORAGES"]
    settings.MIDDLEWARE = shown["MIDDLEWARE"]
    url = static("img/car.jpg")
    call_command("warm_cache", "--static", verbosity=0)
    response = Client().get(url)

    assert len(blocks) == 7
    assert url == f"/static/img/car.jpg?cache_id={shown['cache_id']}"
    assert response.getvalue() == b"a red car"
    assert "immutable" in response.headers["Cache-Control"]
    assert "cache_id" not in shown["Storage"]().plain_url("img/")


@pytest.mark.parametrize(
    "name",
    ["STATIC_DEV_MODE", "STATIC_RECHECK_SECONDS", "STATIC_LOG", "STRICT", *sorted(MARKERS)],
)
def test_every_option_and_marker_is_on_the_page(name: str) -> None:
    assert f"| `{name}` |" in PAGE
