"""The running example of the page on MemoryCache does what the page shows."""

from __future__ import annotations

from typing import Any

from django.core.cache import cache
from pytest_django import Settings

from tests.docs.test_recall_pages import blocks_of


def test_the_running_example_runs_as_shown(settings: Settings) -> None:
    first, *others = blocks_of("memory_cache.md")
    shown: dict[str, Any] = {"__name__": "example"}
    exec(first, shown)
    settings.CACHES = shown["CACHES"]

    for block in others:
        exec(block, shown)

    assert len(others) == 4
    settings.CACHES = shown["CACHES"]
    cache.set_many({"large": "x" * 2**20, "small": "x"})
    assert cache.get_many(["large", "small"]) == {"small": "x"}
