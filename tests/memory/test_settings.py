"""Invalid settings are refused, by the checks and at the first use; which caches share entries."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from cachelayers.checks import cache_messages

BACKEND = "cachelayers.backends.MemoryCache"


@pytest.mark.parametrize(
    ("params", "number", "words"),
    [
        ({"OPTIONS": {"MAX_BYTES": None}}, "E004", "memory has to have a bound"),
        ({"OPTIONS": {"MAX_BYTES": 0}}, "E004", "MAX_BYTES is 0"),
        ({"OPTIONS": {"MAX_BYTES": "1 GB"}}, "E004", "MAX_BYTES is '1 GB'"),
        ({"OPTIONS": {"MAX_ENTRIES": -1}}, "E004", "MAX_ENTRIES is -1"),
        ({"OPTIONS": {"CULL_FREQUENCY": 3}}, "E003", "Known are MAX_BYTES, MAX_ENTRIES"),
        ({"OPTIONS": 7}, "E004", "must be a dictionary"),
        ({"MAX_BYTES": 1000}, "E003", "a cache's own options go into OPTIONS"),
        ({"TIMEOUT": "soon"}, "E004", "TIMEOUT is 'soon'"),
    ],
)
def test_invalid_settings_are_named_with_their_cure(
    params: dict[str, Any], number: str, words: str
) -> None:
    with override_settings(CACHES={"bad": {"BACKEND": BACKEND, **params}}):
        [found] = cache_messages()
        with pytest.raises(ImproperlyConfigured) as refusal:
            caches["bad"].get("any")

    assert found.id == f"cachelayers.{number}"
    assert words in f"{found.msg} {found.hint}"
    assert "CACHES['bad']" in found.msg
    assert str(refusal.value) == f"{found.msg} {found.hint}"


def test_each_alias_has_entries_of_its_own_unless_a_location_is_shared() -> None:
    shared = {"BACKEND": BACKEND, "LOCATION": "shared by two"}
    alone = {"BACKEND": BACKEND}
    with override_settings(CACHES={"a": alone, "b": alone, "c": shared, "d": shared}):
        caches["a"].set("key", "a")
        caches["c"].set("key", "c")

        found = [caches[alias].get("key") for alias in "abcd"]
        caches["a"].clear()
        caches["c"].clear()

    assert found == ["a", None, "c", "c"]
