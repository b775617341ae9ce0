"""manage.py cache_stats, as an operator runs it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.cache import caches
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.test import override_settings
from pytest_django import Settings

from cachelayers import invalidate, recall
from cachelayers.management.commands import cache_stats
from cachelayers.management.commands.cache_stats import in_columns, in_words, since_seconds
from cachelayers.statistics import Figures, LayerState, LogState, flush
from tests.environment import PROJECT
from tests.settings import database_cache, layered_cache, memory_cache


def output_of(*arguments: str) -> str:
    out = StringIO()
    call_command("cache_stats", *arguments, stdout=out, no_color=True)
    return out.getvalue()


@pytest.fixture
def site(statistics_table: str) -> Iterator[str]:
    """Return the alias of the only LayeredCache, which has counts."""
    configured = {
        "default": layered_cache("memory", "table"),
        "memory": memory_cache(),
        "table": database_cache(statistics_table),
    }
    with override_settings(CACHES=configured):
        caches["default"].clear()
        for _ in range(3):
            recall("told:1", lambda: time.sleep(0.01), using="default")
        flush()
        yield "default"


def test_what_was_counted_stands_beside_each_layer(site: str) -> None:
    lines = [line.split() for line in output_of().split("\n\n")[1].splitlines()]

    assert lines[0] == [
        "cache", "layer", "backend", "state", "entries", "bytes", "hits", "misses", "found",
        "sets", "evictions", "errors",
    ]  # fmt: skip
    counted = {tuple(line[:2]): line[-6:] for line in lines[1:4]}
    assert counted["default", "LayeredCache"] == ["2", "1", "66.7%", "1", "0", "0"]
    assert counted["default", "memory"] == ["2", "1", "66.7%", "1", "0", "0"]
    assert counted["default", "table"] == ["0", "1", "0.0%", "1", "0", "0"]


def test_the_first_lines_say_what_was_saved(site: str) -> None:
    first, second = output_of().splitlines()[:2]

    assert first == (
        "In the last hour, 2 of 3 cached values came from the cache (67%), and 1 was computed."
    )
    assert re.fullmatch(r"This saved \d+.* m?s\. Computing took \d+.* m?s\.", second)


def test_the_first_lines_say_why_there_is_nothing(
    statistics_table: str, settings: Settings
) -> None:
    assert output_of("--since", "90s").startswith("In the last 90.0 s, no process has counted")

    settings.CACHELAYERS = {**settings.CACHELAYERS, "ENABLED": False}
    assert output_of().startswith("Caching is disabled: CACHELAYERS['ENABLED'] is False.\n\n")


def test_what_recalls_got_and_saved_is_reported(site: str) -> None:
    table = output_of().split("\n\n")[2].splitlines()

    assert table[0].split()[:6] == ["recalls", "fresh", "stale", "joined", "waited", "computed"]
    assert table[1].split()[:6] == ["default", "2", "0", "0", "0", "1"]
    assert "ms" in table[1]


def test_each_log_is_reported_with_its_lag(site: str) -> None:
    invalidate("told")  # an empty log has no oldest row
    table = output_of().split("\n\n")[3].splitlines()

    assert table[0].split() == ["log", "of", "state", "rows", "oldest", "newest", "lag"]
    assert any(line.split()[:2] == ["default", "works"] for line in table[1:])


def test_json_says_the_same(site: str) -> None:
    found = json.loads(output_of("--json", "--since", "2h"))

    assert found["since_seconds"] == 7200
    assert found["statistics_error"] is None
    layers = {(one["cache"], one["layer"]): one for one in found["layers"]}
    memory = layers["default", "memory"]
    assert (memory["hits"], memory["misses"], memory["error"]) == (2, 1, None)
    assert (memory["backend"], memory["is_skipped"]) == ("MemoryCache", False)
    [whole] = [one for one in found["caches"] if one["cache"] == "default"]
    assert (whole["fresh"], whole["computed"]) == (2, 1)
    assert 0.02 <= whole["saved_seconds"] < 5
    assert "default" in {log["database"] for log in found["logs"]}
    [hot] = [one for one in found["hot_tags"] if one["database"] == "default"]
    assert set(hot) == {"database", "tags", "oldest_at", "repeated_at", "error"}


def test_without_statistics_the_layers_are_told_all_the_same(
    site: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(since: float) -> Any:
        raise OperationalError("it is down")

    monkeypatch.setattr(cache_stats, "totals", fail)

    out = output_of()

    assert "MemoryCache" in out
    assert "No statistics: DATABASES['" in capsys.readouterr().err
    assert json.loads(output_of("--json"))["statistics_error"].endswith("it is down")


def test_statistics_that_are_switched_off_are_named(
    site: str, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.CACHELAYERS = {"STATS_SECONDS": None}

    output_of()

    assert "CACHELAYERS['STATS_SECONDS'] is None" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "soon", "5 x", "0", "-1h", "1h1h", "nan", "inf"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(CommandError) as refusal:
        output_of(f"--since={text}")

    assert str(refusal.value) == (
        f"--since is {text!r}. Give a time, such as 90s, 15m, 1h30m or 2d."
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("1.5m", 90), ("1h30m", 5400), (timedelta(days=1), 86_400)],
)
def test_times_are_read_as_they_are_written(text: Any, seconds: float) -> None:
    assert since_seconds(text) == seconds


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0.0 ms"),
        (0.0042, "4.2 ms"),
        (0.4242, "424 ms"),
        (4.2, "4.2 s"),
        (420, "7.0 min"),
        (42_000, "11.7 h"),
    ],
)
def test_times_are_written_in_the_unit_that_fits(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_a_column_without_anything_in_it_is_left_out() -> None:
    table = in_columns(["name", "empty", "number"], [["a", "", "1"], ["bc", "", "10"]], texts=1)

    assert table == "name  number\na          1\nbc        10"


def test_each_cache_has_a_line_and_each_layer_says_what_is_wrong(settings: Settings) -> None:
    settings.CACHES = {name: layered_cache("m", "t") for name in ("a", "b")}
    states = [
        LayerState("a", "m", "Memory", None, False, None, None),
        LayerState("a", "t", "Table", "is down", False, None, None),
        LayerState("b", "m", "Memory", None, True, None, None),
        LayerState("alone", "", "File", None, False, 1, 2),
    ]

    table = cache_stats.layer_table(states, {})

    assert [line.split() for line in table.splitlines()[1:]] == [
        ["a", "LayeredCache"],
        ["a", "m", "Memory", "works"],
        ["a", "t", "Table", "is", "down"],
        ["b", "LayeredCache"],
        ["b", "m", "Memory", "skipped"],
        ["alone", "File", "works", "1", "2"],
    ]


def test_only_caches_that_were_recalled_from_stand_in_the_table_of_recalls() -> None:
    figures = {
        ("a", ""): Figures(hits=1),
        ("b", ""): Figures(fresh=1),
        ("b", "memory"): Figures(fresh=1),
    }

    assert [line.split()[:2] for line in cache_stats.recall_table(figures).splitlines()[1:]] == [
        ["b", "1"]
    ]
    assert cache_stats.recall_table({}) == ""


def test_a_log_says_what_is_wrong_and_one_without_rows_no_times() -> None:
    now = datetime.now(UTC)
    logs = [
        LogState("full", 2, now - timedelta(hours=3), now - timedelta(minutes=5), 0.0, None),
        LogState("empty", 0, None, None, 0.0, None),
        LogState("away", 0, None, None, 0.0, "is down"),
    ]

    full, empty, away = (line.split() for line in cache_stats.log_table(logs).splitlines()[1:])

    assert full[:9] == ["full", "works", "2", "3.0", "h", "ago", "5.0", "min", "ago"]
    assert empty == ["empty", "works", "0", "0.0", "ms"]
    assert away == ["away", "is", "down", "0", "0.0", "ms"]


@pytest.mark.usefixtures("statistics_table")
def test_it_looks_again_until_it_is_interrupted() -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    process = subprocess.Popen(
        [sys.executable, "-m", "django", "cache_stats", "--watch", "--json"],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        looks = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(2)  # Ctrl-C
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()

    assert [look["since_seconds"] for look in looks] == [3600, 3600]
    assert process.returncode == 0
    assert "Traceback" not in errors


def test_a_table_without_a_line_is_left_out(statistics_table: str) -> None:
    assert "\n\n\n" not in output_of()


# --advise


def test_advice_needs_a_sample(statistics_table: str, settings: Settings) -> None:
    settings.CACHELAYERS = {"ADVISE_SAMPLE": 0}

    with pytest.raises(CommandError) as refusal:
        output_of("--advise")

    assert "CACHELAYERS['ADVISE_SAMPLE'] is 0. Set it to the part" in str(refusal.value)
