"""The warmers screen: the last runs, and running a warmer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from cachelayers import warmer
from cachelayers.admin import screens as screen
from cachelayers.models import WarmerRun
from cachelayers.tasks import NoQueue
from cachelayers.warming import registry
from cachelayers.warming.items import Outcome, State
from cachelayers.warming.runs import Kind, RunState, Source, claim, warmer_source
from tests.admin.conftest import SECTION, LogIn, messages_of, said

URL = f"{SECTION}warmers/"


@pytest.fixture(autouse=True)
def _two_warmers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two warmers instead of those of the installed apps, which are registered first."""
    registry.registered_warmers()
    monkeypatch.setattr(registry, "_warmers", {})

    @warmer("countries", every=7200)
    def countries() -> Iterator[str]:
        yield "/"

    @warmer("<b>pages</b>")
    def pages() -> Iterator[str]:
        yield "/about/"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the warmers to start, instead of starting them."""
    names: list[str] = []
    monkeypatch.setattr(screen, "start_in_background", names.append)
    return names


def run_once(source: Source, *outcomes: Outcome, end: RunState | None = RunState.FINISHED) -> None:
    """Record a run."""
    record = claim(source, time_limit=60)
    record.planned(4, seconds=0.0)
    for outcome in outcomes:
        record.count(outcome)
    if end is not None:
        record.end(end)


WARMED = Outcome(label="/", state=State.WARMED)
FAILED = Outcome(label="/lost/", state=State.FAILED, reason="<i>404</i>")


def test_each_warmer_shows_its_last_run_with_failures(boss: Client) -> None:
    run_once(warmer_source("countries"), WARMED, WARMED, FAILED)

    text = said(boss.get(URL))

    assert "countries tests.admin.test_warmers:" in text
    assert "2:00:00" in text
    assert "has ended" in text
    assert "3 of 4" in text
    assert "Failures of countries /lost/ : <i>404</i>" in text
    assert "<b>pages</b>" in text
    assert "never" in text


def test_what_is_typed_in_code_is_shown_as_text(boss: Client) -> None:
    run_once(warmer_source("countries"), FAILED)

    content = boss.get(URL).content.decode()

    assert "<i>404" not in content
    assert "<b>pages" not in content


def test_a_run_that_is_under_way_shows_how_far_it_is_and_is_checked_again(boss: Client) -> None:
    before = boss.get(URL)
    run_once(warmer_source("countries"), WARMED, end=None)
    WarmerRun.objects.update(warmed=1)  # a run writes this from time to time

    during = boss.get(URL)

    assert "is running" in said(during)
    assert '<progress value="25" max="100"' in during.content.decode()
    for mark in ("watch.js", '<noscript><meta http-equiv="refresh"', "data-watch", "disabled"):
        assert mark in during.content.decode()
        assert mark not in before.content.decode()


@pytest.mark.parametrize(
    ("end", "text"),
    [(RunState.INTERRUPTED, "was interrupted"), (RunState.FINISHED, "has ended")],
)
def test_how_a_run_ended_is_reported(boss: Client, end: RunState, text: str) -> None:
    run_once(warmer_source("countries"), end=end)

    assert text in said(boss.get(URL))


def test_what_else_was_warmed_is_listed_too(boss: Client) -> None:
    run_once(Source(kind=Kind.SITEMAP, name="https://example.com/sitemap.xml"), WARMED)
    run_once(warmer_source("countries", "1/2"), WARMED)

    text = said(boss.get(URL))

    assert "What else was warmed" in text
    assert "sitemap https://example.com/sitemap.xml" in text
    assert "warmer 'countries' 1/2" in text


# Run now


def test_one_is_started_by_who_may(log_in: LogIn, started: list[str]) -> None:
    client = log_in("cachelayers.view_warmers", "cachelayers.run_warmers")

    response = client.post(URL, {"warmer": "countries"}, follow=True)

    assert started == ["countries"]
    assert messages_of(response) == ["The warmer 'countries' has been started."]
    assert response.redirect_chain == [(URL, 302)]


def test_who_may_only_look_starts_nothing(log_in: LogIn, started: list[str]) -> None:
    client = log_in("cachelayers.view_warmers")

    assert client.post(URL, {"warmer": "countries"}).status_code == 403
    assert "Run now" not in said(client.get(URL))
    assert started == []


def test_nothing_is_started_by_a_link_or_without_a_csrf_token(
    log_in: LogIn, started: list[str]
) -> None:
    permissions = ("cachelayers.view_warmers", "cachelayers.run_warmers")
    strict = log_in(*permissions, enforce_csrf_checks=True)

    log_in(*permissions, name="bob").get(URL, {"warmer": "countries"})

    assert strict.post(URL, {"warmer": "countries"}).status_code == 403
    assert started == []


def test_an_unknown_warmer_is_an_error_with_similar_names(boss: Client, started: list[str]) -> None:
    response = boss.post(URL, {"warmer": "contries"}, follow=True)

    expected = "There is no warmer 'contries'. Did you mean 'countries'?"
    assert messages_of(response) == [expected]
    assert started == []


def test_two_runs_of_one_at_once_are_refused(boss: Client) -> None:
    run_once(warmer_source("countries"), WARMED, end=None)

    response = boss.post(URL, {"warmer": "countries"}, follow=True)

    [message] = messages_of(response)
    assert message.startswith("'countries': is being run since")


@pytest.mark.parametrize("error", [NoQueue("no broker at redis://a:hunter2@h/"), OSError("full")])
def test_what_keeps_it_from_being_started_is_reported(
    boss: Client, monkeypatch: pytest.MonkeyPatch, error: Exception, settings: Any
) -> None:
    away = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://a:hunter2@h/"}
    settings.CACHES = {**settings.CACHES, "away": away}

    def refuse(name: str) -> None:
        raise error

    monkeypatch.setattr(screen, "start_in_background", refuse)

    [message] = messages_of(boss.post(URL, {"warmer": "countries"}, follow=True))

    assert message == f"'countries': {error}".replace("a:hunter2", "***")
