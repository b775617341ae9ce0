"""The hit ratios are measured on real caches, and say what they should of simple traces."""

from __future__ import annotations

import subprocess
import sys
from itertools import cycle

import pytest
from django.test import override_settings

from benchmarks.eviction import ENTRIES, Lru, caches_of_a_run, hit_ratio, loop
from tests.environment import PROJECT

LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
OPTIONS = {"OPTIONS": {"MAX_ENTRIES": ENTRIES}, "TIMEOUT": None}


def test_every_trace_is_measured_on_every_cache() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "benchmarks.eviction", "--calls=3000"],
        cwd=PROJECT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    ).stdout

    assert all(name in printed for name in ("S3-FIFO", "LRU", "LocMemCache"))
    assert printed.count("%") == 5 * 3


def test_what_fits_is_always_hit_and_lru_never_hits_in_a_loop() -> None:
    few = [str(number) for number in range(10)]

    assert hit_ratio(Lru(), cycle(few), 1000) == 1.0
    assert hit_ratio(Lru(), loop(), 5 * ENTRIES) == 0.0


@pytest.mark.parametrize("name", ["S3-FIFO", "LocMemCache"])
def test_caches_begin_empty_and_hold_what_fits(name: str) -> None:
    configured = {
        "s3fifo": {"BACKEND": "cachelayers.backends.MemoryCache", **OPTIONS},
        "locmem": {"BACKEND": LOCMEM, "LOCATION": "ratio", **OPTIONS},
    }
    with override_settings(CACHES=configured):
        cache = caches_of_a_run()[name]

        assert hit_ratio(cache, cycle(["a", "b"]), 1000) == 1.0
        assert caches_of_a_run()[name].get("a") is None
