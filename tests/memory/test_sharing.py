"""Which caches share a MemoryCache's entries, and what it needs to run."""

from __future__ import annotations

import subprocess
import sys

from django.core.cache import caches
from django.test import override_settings

from tests import environment
from tests.settings import layered_cache

BACKEND = "cachelayers.backends.MemoryCache"
WITHOUT_THE_APP = f"""
from django.conf import settings
settings.configure(CACHES={{"default": {{"BACKEND": {BACKEND!r}}}}}, INSTALLED_APPS=[])
import django
django.setup()
from django.core.cache import cache
cache.set("key", [1])
print(cache.get("key"))
"""


def test_caches_of_one_location_share_and_the_smallest_bound_counts() -> None:
    large = {"BACKEND": BACKEND, "LOCATION": "one place for two"}
    small = {**large, "OPTIONS": {"MAX_ENTRIES": 10}}
    with override_settings(CACHES={"large": large, "small": small}):
        caches["large"].set_many(dict.fromkeys(map(str, range(50)), 1))
        caches["small"].set("key", "small")

        assert caches["large"].get("key") == "small"
        assert len(caches["large"].store.records) <= 10  # type: ignore[attr-defined]
        caches["large"].clear()


def test_a_large_value_is_served_by_the_layer_below() -> None:
    folder = str(environment.worker_folder() / "large values")
    stack = {
        "large": layered_cache("small values", "files"),
        "small values": {"BACKEND": BACKEND, "OPTIONS": {"MAX_VALUE_BYTES": 10_000}},
        "files": {
            "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
            "LOCATION": folder,
        },
    }
    with override_settings(CACHES=stack):
        caches["large"].set_many({"page": "x" * 20_000, "word": "y"})

        assert caches["large"].get_many(["page", "word"]) == {"page": "x" * 20_000, "word": "y"}
        store = caches["small values"].store  # type: ignore[attr-defined]
        assert store.bytes < 10_000
        assert len(store.records) == 1
        caches["large"].clear()


def test_it_runs_without_the_app() -> None:
    outcome = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_APP],
        cwd=environment.PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (outcome.stdout, outcome.stderr) == ("[1]\n", "")
