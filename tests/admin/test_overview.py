"""The overview screen: each layer's state and figures, and a plot of them over time."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.cache import cache, caches
from django.test import Client
from pytest_django import Settings

from cachelayers import invalidate
from cachelayers.backends.layered.circuit_breaker import breaker_of
from cachelayers.dashboard.overview import HEIGHT, WIDTH, plot, size_of
from cachelayers.models import Statistic, Timing
from cachelayers.statistics import Figures, Point, Series, flush
from tests.admin.conftest import SECTION, said
from tests.settings import database_cache

URL = f"{SECTION}overview/"


def counted(hits: int, misses: int, *, ago_seconds: int = 0) -> None:
    """Write statistics of a minute, like a process."""
    minute = int(time.time() - ago_seconds) // 60 * 60
    for layer, found in (("", hits), ("memory", hits), ("table", 0)):
        Statistic.objects.create(
            minute=minute, cache="default", layer=layer, hits=found, misses=misses
        )


def lines_of(client: Client, **asked: str) -> dict[tuple[str, str], Any]:
    overview = client.get(URL, asked).context["overview"]
    return {(line.cache, line.layer): line for line in overview.lines}


def test_each_layer_shows_what_it_has_answered(boss: Client) -> None:
    counted(hits=9, misses=3)

    lines = lines_of(boss)

    whole, memory, table = (lines["default", layer] for layer in ("", "memory", "table"))
    assert (whole.figures.hits, whole.figures.misses, whole.percent) == (9, 3, 75)
    assert (memory.figures.hits, table.figures.hits, table.figures.misses) == (9, 0, 3)
    assert "75 %" in said(boss.get(URL)).replace("\xa0", " ")


@pytest.mark.django_db(transaction=True)
def test_what_this_process_has_counted_is_shown_once_it_is_written(
    boss: Client, settings: Settings
) -> None:
    settings.CACHELAYERS = {**settings.CACHELAYERS, "STATS_SECONDS": 10}
    cache.set("there", 1)
    cache.get("there")
    cache.get("nothing")
    assert flush()

    figures = lines_of(boss)["default", ""].figures

    assert (figures.hits, figures.misses, figures.sets) == (1, 1, 1)


def test_layers_are_listed_from_the_fastest_on_below_their_cache(boss: Client) -> None:
    assert list(lines_of(boss)) == [
        ("default", ""),
        ("default", "memory"),
        ("default", "table"),
        ("memory", ""),
        ("table", ""),
    ]


def test_each_layer_shows_its_size_and_state(boss: Client) -> None:
    caches["table"].set_many({"one": 1, "two": 2})

    lines = lines_of(boss)

    assert lines["table", ""].state.entries >= 2
    assert lines["default", "memory"].state.bytes is not None
    assert lines["default", "table"].error == ""


def test_a_bound_stands_beside_the_size(boss: Client, settings: Settings) -> None:
    bounded = database_cache("default")
    bounded["OPTIONS"] = {**bounded.get("OPTIONS", {}), "MAX_BYTES": 3 * 2**20}
    settings.CACHES = {**settings.CACHES, "table": bounded}
    caches["table"].set("long", "x" * 2**20)

    lines = lines_of(boss)

    assert lines["table", ""].size == "1.0 of 3 MiB"
    assert lines["default", "table"].size == "1.0 of 3 MiB"
    assert lines["memory", ""].size.endswith(" of 64 MiB")
    assert size_of(174 * 2**20, 256 * 2**20) == "174 of 256 MiB"
    assert size_of(20 * 2**10, 64 * 2**20) == "20 KiB of 64 MiB"
    assert size_of(0, 64 * 2**20) == "0 of 64 MiB"
    assert [size_of(n, None) for n in (0, 1023, 1536)] == ["0 B", "1023 B", "1.5 KiB"]


def test_since_when_and_how_often_a_layer_has_failed_is_shown(boss: Client) -> None:
    now = int(time.time()) // 60 * 60
    for minute in (now - 600, now - 120):
        Statistic.objects.create(minute=minute, cache="table", layer="", errors=3)
    breaker = breaker_of("table")
    breaker.fail("get", OSError("is gone"))
    try:
        line = lines_of(boss)["default", "table"]
        text = said(boss.get(URL))
    finally:
        breaker.close()

    first, last = (datetime.fromtimestamp(at, UTC) for at in (now - 600, now - 120))
    assert (line.failed_first, line.failed_last, line.state.failures) == (first, last, 1)
    assert re.search(
        r"skipped since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d 1 failure in this process", text
    )
    assert "failed first about " in text


def test_a_layer_that_fails_is_reported_with_its_error(boss: Client, settings: Settings) -> None:
    down = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://127.0.0.1:1/"}
    settings.CACHES = {**settings.CACHES, "down": down}

    assert lines_of(boss)["down", ""].error
    assert re.search(r"down .{0,40}fails", said(boss.get(URL)))


def test_the_log_shows_its_size(boss: Client) -> None:
    invalidate("one", "two")

    [log] = boss.get(URL).context["overview"].logs

    assert log.database == "default"
    assert log.rows >= 2


@pytest.mark.parametrize(("span", "steps"), [("hour", 61), ("day", 49), ("week", 57)])
def test_the_time_can_be_chosen(boss: Client, span: str, steps: int) -> None:
    counted(hits=1, misses=1)

    overview = boss.get(URL, {"span": span}).context["overview"]

    [whole, *_] = overview.plots
    assert abs(len(range_of(whole)) - steps) <= 1
    assert (whole.cache, whole.layer, whole.total.hits) == ("default", "", 1)


def range_of(plot: Any) -> range:
    return range(0, int((plot.ends - plot.begins).total_seconds()) + 1, plot.step_minutes * 60)


def test_what_is_older_is_not_counted(boss: Client) -> None:
    counted(hits=2, misses=0, ago_seconds=7200)

    assert lines_of(boss)["default", ""].figures.hits == 0
    assert lines_of(boss, span="day")["default", ""].figures.hits == 2


def test_the_plot_is_drawn_and_described_in_text_and_in_a_table(boss: Client) -> None:
    counted(hits=3, misses=1)

    content = boss.get(URL).content.decode()

    assert content.count("<svg role=") >= 2
    assert "<title>3 hits and 1 misses</title>" in content
    assert '<rect class="cl-hits"' in content
    assert '<rect class="cl-misses"' in content
    assert "Hits and misses: default memory" in said(boss.get(URL))


def test_where_nothing_is_counted_it_says_so(boss: Client, settings: Settings) -> None:
    settings.CACHELAYERS = {**settings.CACHELAYERS, "STATS_SECONDS": None}

    assert "STATS_SECONDS is None" in said(boss.get(URL))
    assert "Nothing was looked up in this time." in said(boss.get(URL))


def test_the_use_of_functions_and_fragments_is_listed(boss: Client, settings: Settings) -> None:
    settings.CACHELAYERS = {**settings.CACHELAYERS, "ADVISE_SAMPLE": 0.5}
    hour = int(time.time()) // 3600 * 3600
    for kind, name, hits in (("recall", "shop.top<b>", 30), ("fragment", "card", 0)):
        Timing.objects.create(
            hour=hour, kind=kind, name=name, calls=40, total_us=2_000_000,
            repeats=hits, repeated_us=9_000_000 * bool(hits), tables="",
            stored_bytes=1_300_000 * bool(hits),
        )  # fmt: skip
    Timing.objects.create(hour=hour, kind="view", name="home", calls=9, tables="")

    response = boss.get(URL)

    top, card = response.context["overview"].usages
    assert (top.name, top.figures.hits, top.figures.misses, top.percent) == (
        "shop.top<b>", 30, 10, 75,
    )  # fmt: skip
    assert (top.figures.computing_seconds, top.figures.saved_seconds) == (2, 9)
    assert (card.name, card.percent) == ("card", 0)
    assert (top.size, card.size) == ("1.2 MiB", "")
    assert "1.2 MiB" in said(response)
    assert "shop.top&lt;b&gt;" in response.content.decode()
    assert "Measured on a part of 0.5" in said(response)


# The geometry


def bars_of(*figures: Figures) -> Any:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    points = [Point(begin + timedelta(minutes=n), each) for n, each in enumerate(figures)]
    return plot(Series("default", "memory", points), 60)


def test_bars_stand_on_each_other_and_fill_the_height_in_the_busiest_step() -> None:
    drawn = bars_of(Figures(hits=6, misses=2), Figures(), Figures(hits=2, misses=2))

    tall, low = drawn.hits
    above = drawn.misses[0]
    assert float(tall.y) + float(tall.height) == pytest.approx(HEIGHT)
    assert float(above.y) + float(above.height) == pytest.approx(float(tall.y))
    assert float(above.y) == pytest.approx(1.0)
    assert float(low.height) == pytest.approx(float(tall.height) / 3, abs=0.01)
    assert drawn.most == 8


def test_the_hit_ratio_is_a_line_that_ends_where_nothing_is_looked_up() -> None:
    drawn = bars_of(Figures(hits=1), Figures(hits=1, misses=1), Figures(), Figures(misses=1))

    assert drawn.ratio == [
        "0.00,1.00 250.00,1.00 250.00,50.00 500.00,50.00",
        "750.00,99.00 1000.00,99.00",
    ]
    assert [step.percent for step in drawn.steps] == [100, 50, 0]


def test_bars_stay_within_the_plot_and_a_single_miss_can_be_seen() -> None:
    drawn = bars_of(Figures(hits=1_000_000, misses=1), Figures(misses=3))

    for bar in (*drawn.hits, *drawn.misses):
        assert float(bar.x) + float(bar.width) <= WIDTH
        assert float(bar.y) >= 0
        assert float(bar.height) >= 1
    assert len(drawn.misses) == 2


def test_what_ends_entries_is_shown_with_the_reason(boss: Client) -> None:
    hour = int(time.time()) // 3600 * 3600
    Timing.objects.create(
        hour=hour,
        kind="ended",
        name="default table:library_book",
        place="shop.views.shelf",
        tables="or author_id",
        changed=12,
        total_us=3_400_000,
    )

    text = said(boss.get(URL))

    assert "any change in library_book 12 3.4" in text
    assert "The condition on author_id is under OR. Two queries would have slices." in text
    assert "shop.views.shelf" in text
