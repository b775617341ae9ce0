"""The running example of the page on MemoryCache does what the page shows."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import Settings

from cachelayers.backends.memory.options import MemoryOptions
from tests.docs.test_recall_pages import blocks_of
from tests.environment import PROJECT


def test_the_running_example_runs_as_shown(settings: Settings) -> None:
    first, *others = blocks_of("memory_cache.md")
    shown: dict[str, Any] = {"__name__": "example"}
    exec(first, shown)
    settings.CACHES = shown["CACHES"]

    for block in others:
        exec(block, shown)

    assert len(others) == 3


@pytest.mark.parametrize("name", MemoryOptions.__dataclass_fields__)
def test_every_option_is_on_the_page(name: str) -> None:
    page = (PROJECT / "docs" / "memory_cache.md").read_text(encoding="utf-8")

    assert f"| `{name}` |" in page
