"""The running example of the page on MemoryCache does what the page shows."""

from __future__ import annotations

from typing import Any

from pytest_django import Settings

from cachelayers.backends.memory.options import MemoryOptions
from tests.docs.test_recall_pages import blocks_of, shown_defaults, spelled


def test_the_running_example_runs_as_shown(settings: Settings) -> None:
    first, *others = blocks_of("memory_cache.md")
    shown: dict[str, Any] = {"__name__": "example"}
    exec(first, shown)
    settings.CACHES = shown["CACHES"]

    for block in others:
        exec(block, shown)

    assert len(others) == 3


def test_every_option_and_its_default_are_on_the_page() -> None:
    options = MemoryOptions()

    assert set(MemoryOptions.__dataclass_fields__) == {"MAX_BYTES", "MAX_ENTRIES"}
    assert shown_defaults("memory_cache.md", "MAX_BYTES") == [f"{options.MAX_BYTES // 2**20} MiB"]
    assert shown_defaults("memory_cache.md", "MAX_ENTRIES") == [spelled(options.MAX_ENTRIES)]
