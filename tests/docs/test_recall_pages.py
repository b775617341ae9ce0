"""The running examples of the pages on recall do what the pages show."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection, models

from cachelayers import cached, invalidate, recall, unit_of_work
from cachelayers.conf import PackageSettings
from tests.environment import PROJECT
from tests.library.models import Author, Book


def blocks_of(page: str) -> list[str]:
    text = (PROJECT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def shown(transactional_db: None) -> dict[str, Any]:
    """Return the names that the pages use without importing them."""
    cache.clear()
    return {
        "__name__": "example",
        "Author": Author,
        "Book": Book,
        "cached": cached,
        "connection": connection,
        "invalidate": invalidate,
        "jobs": [1, 2],
        "models": models,
        "recall": recall,
        "unit_of_work": unit_of_work,
    }


def test_the_example_of_recall_runs_as_shown(shown: dict[str, Any]) -> None:
    for block in blocks_of("recall.md"):
        if "class Section" not in block:  # a model needs a table
            exec(block, shown)


def test_the_example_of_why_never_stale_runs_as_shown(shown: dict[str, Any]) -> None:
    for block in blocks_of("why-never-stale.md"):
        exec(block, shown)


@pytest.mark.parametrize("name", PackageSettings.__dataclass_fields__)
def test_every_setting_is_on_the_page(name: str) -> None:
    page = (PROJECT / "docs" / "recall.md").read_text(encoding="utf-8")

    assert f"| `{name}` |" in page
