"""The advice screen: how the site spends its time, with figures for each line."""

from __future__ import annotations

import time

import pytest
from django.db import connection
from django.test import Client
from pytest_django import Settings

from cachelayers import invalidate
from cachelayers.models import Invalidation, Timing
from tests.admin.conftest import SECTION, said
from tests.library.models import Author

URL = f"{SECTION}advice/"


@pytest.fixture
def timings() -> None:
    hour = int(time.time()) // 3600 * 3600
    Timing.objects.create(
        hour=hour,
        kind="query",
        name="SELECT <b>name</b> FROM library_author",
        place="tests.views.authors",
        calls=40,
        total_us=4_000_000,
        repeats=30,
        repeated_us=3_000_000,
        changed=9,
        tables="default.library_author ?",
    )
    Timing.objects.create(
        hour=hour, kind="recall", name="busiest", place="", calls=7, total_us=70_000, tables=""
    )


def test_each_line_has_its_figures_beside_it(boss: Client, timings: None) -> None:
    text = said(boss.get(URL))

    before, _, after = text.partition("What is cached already")
    assert (
        "SELECT <b>name</b> FROM library_author tests.views.authors 40 4.000 30 9 3.000" in before
    )
    assert "recall busiest 7 0.070" in after


def test_it_says_how_often_what_a_line_depends_on_has_changed(boss: Client, timings: None) -> None:
    invalidate(Author)

    [one] = boss.get(URL).context["advised"]

    times = Invalidation.objects.filter(tag="table:library_author").count()
    text = said(boss.get(URL))
    assert one.tables == ["library_author"]
    assert f"library_author : changed {times} time" in text
    before, _, after = text.partition("What is cached already")
    assert "And on what is not tracked" in before
    assert "And on what is not tracked" not in after


def test_what_was_measured_within_a_day_is_shown(boss: Client, timings: None) -> None:
    for name, hours_ago in (("late", 5), ("early", 30)):
        at = int(time.time()) // 3600 * 3600 - hours_ago * 3600
        Timing.objects.create(hour=at, kind="view", name=f"a.{name}.view", place="", tables="")
    text = said(boss.get(URL))

    assert "a.late.view" in text
    assert "a.early.view" not in text


def test_a_query_is_shown_as_text(boss: Client, timings: None) -> None:
    assert "<b>name" not in boss.get(URL).content.decode()


def test_where_nothing_is_measured_it_says_how_to(boss: Client, settings: Settings) -> None:
    settings.CACHELAYERS = {**settings.CACHELAYERS, "ADVISE_SAMPLE": 0}
    text = said(boss.get(URL))
    assert "set CACHELAYERS['ADVISE_SAMPLE']" in text
    assert "Nothing was measured yet." in text

    settings.CACHELAYERS = {**settings.CACHELAYERS, "ADVISE_SAMPLE": 0.25}
    assert "a part of 0.25 of all pages, functions and queries" in said(boss.get(URL))


def test_where_the_table_is_missing_it_says_so_without_a_password(
    boss: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Some databases have the password in the text of an error.
    monkeypatch.setitem(settings.DATABASES["default"], "PASSWORD", "cachelayers_timing")
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE cachelayers_timing RENAME TO away")
        try:
            text = said(boss.get(URL))
        finally:
            cursor.execute("ALTER TABLE away RENAME TO cachelayers_timing")

    assert "no such table" in text
    assert "cachelayers_timing" not in text
