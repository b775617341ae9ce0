"""The toolbar shows the recalls of a request: layer, age, tags, and why they missed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from django.core.cache import caches
from django.test import AsyncClient, Client
from pytest_django import Settings

from cachelayers import invalidate, recall
from cachelayers.utils.tracing import active_traces, traced_recall
from tests.library.models import Author
from tests.statistics.helpers import run_async

pytestmark = pytest.mark.django_db(transaction=True)
ALIAS = "sqlite"


@pytest.fixture(autouse=True)
def _toolbar(settings: Settings) -> Iterator[None]:
    settings.DEBUG = True
    settings.ROOT_URLCONF = "tests.statistics.toolbar_urls"
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "debug_toolbar"]
    settings.MIDDLEWARE = [
        "cachelayers.middleware.unit_of_work_middleware",
        "debug_toolbar.middleware.DebugToolbarMiddleware",
    ]
    settings.DEBUG_TOOLBAR_PANELS = ["cachelayers.panels.RecallsPanel"]
    settings.DEBUG_TOOLBAR_CONFIG = {
        "SHOW_TOOLBAR_CALLBACK": lambda request: True,
        "IS_RUNNING_TESTS": False,
    }
    from debug_toolbar.toolbar import DebugToolbar

    DebugToolbar._panel_classes = None
    caches[ALIAS].clear()
    yield
    DebugToolbar._panel_classes = None


def last_request() -> str:
    from debug_toolbar.store import get_store

    return str(list(get_store().request_ids())[-1])


def kept_recalls() -> list[dict[str, Any]]:
    from debug_toolbar.store import get_store

    recalls: list[dict[str, Any]] = get_store().panel(last_request(), "RecallsPanel")["recalls"]
    return recalls


def shown(client: Client, path: str = "/page/") -> tuple[list[dict[str, Any]], str]:
    """Return the panel's data of a request, and its HTML."""
    assert client.get(path).status_code == 200
    query = urlencode({"request_id": last_request(), "panel_id": "RecallsPanel"})
    answer = client.get(f"/toolbar/render_panel/?{query}")
    html: str = json.loads(answer.content)["content"]
    return kept_recalls(), html


def test_each_recall_of_a_request_is_shown_with_why_it_missed(client: Client) -> None:
    Author.objects.create(name="Ann")

    recalls, html = shown(client)

    assert [(one["kind"], one["name"], one["outcome"], one["why"]) for one in recalls] == [
        ("recall", "outer", "computed", "nothing was stored"),
        ("fragment", "inner", "computed", "nothing was stored"),
    ]
    assert "word:front" in recalls[0]["tags"]
    assert {"table:library_author"} < set(recalls[0]["tags"])
    assert recalls[1]["nesting"] == "\u21b3 "
    assert "<code>outer:&lt;b&gt;</code>" in html
    assert "<b>" not in html
    assert "nothing was stored" in html


def test_a_hit_is_shown_with_its_layer_and_age(client: Client) -> None:
    shown(client)

    [found], html = shown(client)

    assert (found["outcome"], found["layer"], found["why"]) == ("fresh", ALIAS, "")
    assert 0 <= found["age_seconds"] < 60
    assert "table:library_author" in found["tags"]
    assert "fresh" in html


def test_a_miss_names_the_tag_that_has_changed(client: Client) -> None:
    shown(client)
    invalidate("front")

    recalls, html = shown(client)

    assert [(one["name"], one["outcome"], one["why"]) for one in recalls] == [
        ("outer", "computed", "word:front had changed"),
        ("inner", "fresh", ""),
    ]
    assert "word:front had changed" in html


def test_a_miss_says_why_it_depends_on_a_whole_table(client: Client) -> None:
    shown(client)
    Author.objects.create(name="Ann")

    recalls, html = shown(client)

    why = recalls[-1]["why"]
    assert why.startswith("table:library_author had changed. The query has no condition on an")
    assert why.endswith("end the entry: id. (tests.statistics.toolbar_urls.names)")
    assert "The query has no condition on an indexed column" in html


def test_a_miss_of_an_expired_entry_says_so(client: Client, settings: Settings) -> None:
    shown(client)
    cache = caches[ALIAS]
    sealed = cache.get("outer:<b>")
    sealed[2] = sealed[3] = time.time() - 1  # it has just expired, and is still in the cache
    cache.set("outer:<b>", sealed)

    [outer, inner], _ = shown(client)

    assert (outer["outcome"], outer["why"]) == ("computed", "it had expired")
    assert inner["outcome"] == "fresh"


def test_what_was_not_stored_is_listed_with_its_reason(client: Client) -> None:
    recalls, html = shown(client, "/unkept-page/")

    from debug_toolbar.store import get_store

    unkept = get_store().panel(last_request(), "RecallsPanel")["unkept"]
    reasons = {(one["name"], one["reason"]) for one in unkept}
    assert len(recalls) == 3
    assert ("brief<b>", "its timeout is 0") in reasons
    assert ("random", "it depends on the time or on chance, and has no timeout") in reasons
    assert any("ORDER BY RAND" in reason.upper() for name, reason in reasons if name == "random")
    assert "kept" not in {name for name, _ in reasons}
    assert "brief&lt;b&gt;" in html
    assert "its timeout is 0" in html
    assert "Not stored" not in shown(client)[1]


def test_async_views_are_followed_too() -> None:
    async def ask() -> None:
        assert (await AsyncClient().get("/async-page/")).status_code == 200

    run_async(ask)

    [recalled] = kept_recalls()
    assert (recalled["name"], recalled["outcome"]) == ("async", "computed")


def test_nothing_is_followed_where_the_toolbar_is_not(client: Client, settings: Settings) -> None:
    settings.MIDDLEWARE = ["cachelayers.middleware.unit_of_work_middleware"]
    followed: list[object] = []

    recall("watched:1", lambda: followed.append(traced_recall()), using=ALIAS)

    assert followed == [None]
    assert not active_traces
