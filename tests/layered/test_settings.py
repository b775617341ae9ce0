"""Invalid settings are refused by the checks and at the first use, with the same message."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from cachelayers.checks import cache_messages

BACKEND = "cachelayers.backends.LayeredCache"
OTHERS = {
    "memory": {"BACKEND": "cachelayers.backends.MemoryCache"},
    "files": {
        "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
        "LOCATION": "/nonexistent",
    },
    "redis": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": "redis://127.0.0.1:1/0",
    },
}
GOOD = ["memory", "files"]


@pytest.mark.parametrize(
    ("params", "number", "words"),
    [
        ({"OPTIONS": {"LAYERS": ["memory", "disk"]}}, "E012", "lists 'disk', which is not in"),
        ({"OPTIONS": {"LAYERS": ["memory", 7]}}, "E012", "lists 7, which is not in CACHES"),
        ({"OPTIONS": {"LAYERS": ["files", "memory", "files"]}}, "E012", "lists 'files' twice"),
        ({"OPTIONS": {"LAYERS": ["memory", "bad"]}}, "E012", "the cache contains itself"),
        ({"OPTIONS": {"LAYERS": ["memory", "other"]}}, "E012", "the cache contains itself"),
        ({"OPTIONS": {"LAYERS": ["memory", "third"]}}, "E012", "which is a LayeredCache"),
        ({"OPTIONS": {"LAYERS": ["memory"]}}, "E012", "Name two aliases of CACHES or more"),
        ({"OPTIONS": {"LAYERS": []}}, "E012", "Name two aliases of CACHES or more"),
        ({}, "E012", "Name two aliases of CACHES or more"),
        ({"OPTIONS": {"LAYERS": "memory"}}, "E012", "LAYERS is 'memory', which is not a list"),
        ({"OPTIONS": {"LAYERS": GOOD, "BUS": "kafka"}}, "E013", "BUS is 'kafka', which is not"),
        ({"OPTIONS": {"LAYERS": GOOD, "BUS": "files"}}, "E013", "not a Redis but a FileBasedCache"),
        ({"OPTIONS": {"LAYERS": GOOD, "BUS": 1}}, "E013", "BUS is 1, which is not in CACHES"),
        ({"OPTIONS": {"LAYERS": GOOD, "BUS": "log", "BUSS": 1}}, "E003", "unknown key 'BUSS'"),
        ({"OPTIONS": {"LAYERS": GOOD, "BUS": "log", "TIME_LIMIT": 0}}, "E004", "TIME_LIMIT is 0"),
        (
            {"OPTIONS": {"LAYERS": GOOD, "BUS": "log", "MEMORY_TIMEOUT": "5"}},
            "E004",
            "MEMORY_TIMEOUT is '5'",
        ),
        ({"OPTIONS": {"LAYERS": GOOD, "BUS": "log", "MAX_BYTES": 1}}, "E003", "that layer's own"),
        ({"OPTIONS": {"LAYERS": GOOD, "BUS": "log", "MEMORY_MAX_BYTES": 1}}, "E003", "one layer"),
        ({"OPTIONS": 7}, "E004", "must be a dictionary"),
    ],
)
def test_invalid_settings_are_named_with_their_cure(
    params: dict[str, Any], number: str, words: str
) -> None:
    configured = {
        **OTHERS,
        "bad": {"BACKEND": BACKEND, **params},
        "other": {"BACKEND": BACKEND, "OPTIONS": {"LAYERS": ["memory", "bad"], "BUS": "log"}},
        "third": {"BACKEND": BACKEND, "OPTIONS": {"LAYERS": GOOD, "BUS": "log"}},
    }
    with override_settings(CACHES=configured):
        found = [one for one in cache_messages() if "CACHES['bad']" in one.msg and one.level >= 40]
        with pytest.raises(ImproperlyConfigured) as refusal:
            caches["bad"].get("any")

    [error] = found
    assert error.id == f"cachelayers.{number}"
    assert words in f"{error.msg} {error.hint}"
    assert str(refusal.value) == f"{error.msg} {error.hint}"


@pytest.mark.parametrize("bus", ["log", "redis"])
def test_valid_settings_are_not_reported(bus: str) -> None:
    layers = ["memory", "redis", "files"]
    configured = {
        **OTHERS,
        "good": {
            "BACKEND": BACKEND,
            "TIMEOUT": None,
            "KEY_PREFIX": "site",
            "OPTIONS": {"LAYERS": layers, "BUS": bus, "MEMORY_TIMEOUT": 2, "TIME_LIMIT": 0.2},
        },
    }
    with override_settings(CACHES=configured):
        found = [one.id for one in cache_messages()]
    # Without a table, the log as bus is in the site's database.
    assert found == (["cachelayers.W051"] if bus == "log" else [])


@pytest.mark.parametrize(("timeout", "bound"), [(None, "5.0 seconds"), (2, "2 seconds")])
def test_without_a_bus_a_check_states_the_bound(timeout: float | None, bound: str) -> None:
    options = {"LAYERS": GOOD, "MEMORY_TIMEOUT": timeout}
    configured = {**OTHERS, "layered": {"BACKEND": BACKEND, "OPTIONS": options}}
    with override_settings(CACHES=configured):
        [found] = cache_messages()

    assert found.id == "cachelayers.W006"
    assert "CACHES['layered'] has no BUS" in found.msg
    assert bound in found.msg


def test_without_a_bus_and_without_memory_layers_no_check_reports() -> None:
    options = {"LAYERS": ["redis", "files"]}
    configured = {**OTHERS, "layered": {"BACKEND": BACKEND, "OPTIONS": options}}
    with override_settings(CACHES=configured):
        assert list(cache_messages()) == []
