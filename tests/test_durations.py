"""Durations are read as people write them, in settings and options too."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.core.cache import caches
from django.test import override_settings

from cachelayers.backends.database.options import DatabaseOptions
from cachelayers.backends.layered.options import LayeredOptions
from cachelayers.backends.layered.options import unmet_demand as unmet_by_layers
from cachelayers.checks import check_package_settings
from cachelayers.conf import package_settings
from cachelayers.durations import as_seconds


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("90s", 90),
        ("2h30m", 9_000),
        (" 1.5h ", 5_400),
        ("1d 2h", 93_600),
        ("500ms", 0.5),
        ("1w", 604_800),
        (dt.timedelta(days=1), 86_400),
        (7, 7),
        (None, None),
        ("90", "90"),
        ("soon", "soon"),
        ("-1h", "-1h"),
        ("1h ago", "1h ago"),
        ("1h1h", "1h1h"),
        ("1s" * 1_000, "1s" * 1_000),
    ],
)
def test_what_is_a_duration_becomes_seconds(written: object, seconds: object) -> None:
    assert as_seconds(written) == seconds


def test_settings_take_durations() -> None:
    configured = {
        "own": {
            "BACKEND": "cachelayers.backends.MemoryCache",
            "TIMEOUT": "1h",
        }
    }
    given = {"TIMEOUT": dt.timedelta(minutes=5), "LEASE_SECONDS": "1m", "LONGEST_TIMEOUT": "2w"}
    with override_settings(CACHES=configured, CACHELAYERS=given):
        cache: Any = caches["own"]
        cache.set("answer", 42)
        assert cache.ttl("answer") == 3_600
        found = package_settings()
        assert (found.TIMEOUT, found.LEASE_SECONDS, found.LONGEST_TIMEOUT) == (300, 60, 1_209_600)
    assert LayeredOptions(TIME_LIMIT="500ms", MEMORY_TIMEOUT="1m").TIME_LIMIT == 0.5  # type: ignore[arg-type]
    assert DatabaseOptions(BUSY_SECONDS=dt.timedelta(seconds=2)).BUSY_SECONDS == 2  # type: ignore[arg-type]


def test_what_is_no_duration_is_an_error_with_the_cure() -> None:
    with override_settings(CACHELAYERS={"LEASE_SECONDS": "10"}):
        [message] = check_package_settings(None)

    assert message.id == "cachelayers.E008"
    assert "'2h30m'" in str(message.hint)
    assert "'2h30m'" in str(unmet_by_layers("TIME_LIMIT", "soon"))
