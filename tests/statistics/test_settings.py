"""Settings of statistics: checked, used by the router, pruned by the command."""

from __future__ import annotations

import time
from contextlib import suppress
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from cachelayers.checks import check_package_settings
from cachelayers.conf import statistics_database
from cachelayers.models import Statistic, Timing
from cachelayers.routers import CacheRouter
from cachelayers.statistics import totals
from cachelayers.statistics.table import STATISTICS_TABLE, add_rows, row_of
from cachelayers.statistics.writing import own_connection
from cachelayers.utils.counters import Figures
from tests.settings import database_cache, memory_cache


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"STATS_SECONDS": 0}, "E019"),
        ({"STATS_SECONDS": "10"}, "E019"),
        ({"STATS_SECONDS": float("inf")}, "E019"),
        ({"STATS_SECONDS": True}, "E019"),
        ({"STATS_DAYS": 0}, "E020"),
        ({"STATS_DAYS": None}, "E020"),
        ({"ADVISE_SAMPLE": -0.1}, "E021"),
        ({"ADVISE_SAMPLE": 10}, "E021"),
        ({"ADVISE_SAMPLE": "0.1"}, "E021"),
        ({"ADVISE_SAMPLE": None}, "E021"),
        ({"ADVISE_SAMPLE": 0.1, "STATS_SECONDS": None}, "W009"),
    ],
)
def test_a_value_that_is_invalid_is_reported_with_the_cure(
    settings: Settings, given: dict[str, Any], found: str
) -> None:
    settings.CACHELAYERS = given

    [message] = check_package_settings(None)

    assert message.id == f"cachelayers.{found}"
    assert repr(next(iter(given.values()))) in message.msg
    assert message.hint


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"STATS_SECONDS": None},
        {"STATS_SECONDS": 0.5, "STATS_DAYS": 0.5, "ADVISE_SAMPLE": 0},
        {"ADVISE_SAMPLE": 1},
    ],
)
def test_a_value_that_means_something_is_not(settings: Settings, given: dict[str, Any]) -> None:
    settings.CACHELAYERS = given

    assert check_package_settings(None) == []


def test_statistics_are_kept_where_the_cache_has_a_database_of_its_own(settings: Settings) -> None:
    settings.CACHES = {"default": memory_cache()}
    assert statistics_database() == "default"

    settings.CACHES = {
        "default": memory_cache(),
        "shared": database_cache("default"),
        "own": database_cache("sqlite_cache"),
    }

    assert statistics_database() == "sqlite_cache"


def test_the_router_keeps_them_there(settings: Settings) -> None:
    settings.CACHES = {"default": database_cache("sqlite_cache")}
    router = CacheRouter()

    for model in (Statistic, Timing):
        assert router.db_for_read(model) == router.db_for_write(model) == "sqlite_cache"
    allowed = {
        (database, name): router.allow_migrate(database, "cachelayers", name)
        for database in ("default", "sqlite_cache")
        for name in ("statistic", "timing", "invalidation")
    }
    assert allowed == {
        ("default", "statistic"): False,
        ("default", "timing"): False,
        ("default", "invalidation"): None,
        ("sqlite_cache", "statistic"): True,
        ("sqlite_cache", "timing"): True,
        ("sqlite_cache", "invalidation"): False,
    }


def test_prune_cache_deletes_what_is_older_than_it_is_kept(
    statistics_table: str, settings: Settings
) -> None:
    settings.CACHELAYERS = {"STATS_DAYS": 2}
    settings.CACHES = {"default": database_cache(statistics_table)}
    now = int(time.time())
    with own_connection(statistics_table) as connection:
        for days, name in ((1, "young"), (3, "old")):
            row = row_of(now - days * 86_400, (name, ""), Figures(hits=1))
            list(add_rows(connection, STATISTICS_TABLE, [row]))
    out = StringIO()

    with suppress(CommandError):  # the logs of servers that do not run are not tested here
        call_command("prune_cache", stdout=out)

    assert [one.cache for one in totals(10 * 86_400)] == ["young"]
    assert "sqlite_cache: 1 rows of statistics older than 2 days" in out.getvalue()
