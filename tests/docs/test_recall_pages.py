"""The running examples of the pages on recall do what the pages show."""

from __future__ import annotations

import inspect
import re
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection, models

from cachelayers import cached, invalidate, recall, unit_of_work
from cachelayers.conf import PackageSettings
from cachelayers.managers import RecalledQuerySet
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
        # A model needs a table. Like the manager, a queryset has the methods that the page shows.
        "Section": SimpleNamespace(objects=RecalledQuerySet(Book)),
        "unit_of_work": unit_of_work,
    }


def test_the_example_of_recall_runs_as_shown(shown: dict[str, Any]) -> None:
    for block in blocks_of("recall.md"):
        if "class Section" not in block:  # a model needs a table
            exec(block, shown)


def test_the_example_of_why_never_stale_runs_as_shown(shown: dict[str, Any]) -> None:
    for block in blocks_of("why-never-stale.md"):
        exec(block, shown)


def shown_defaults(page: str, name: str) -> list[str]:
    """Return the defaults of a setting or an option in the tables of a page."""
    text = (PROJECT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"^\| `{name}` \| (.*?) ?\|", text, re.MULTILINE)


def spelled(default: Any) -> str:
    """Return a default as the pages write it."""
    if default in ((), 30 * 86_400):
        return "`[]`" if default == () else "30 days"
    text = f"{default:g}" if isinstance(default, float) else repr(default).replace("'", '"')
    return f"`{text}`"


@pytest.mark.parametrize("page", ["recall.md", "fragments.md"])
def test_the_defaults_of_a_call_are_those_of_the_settings(page: str) -> None:
    [timeout] = shown_defaults(page, "timeout")
    [stale] = shown_defaults(page, "stale")

    assert timeout == f'`CACHELAYERS["TIMEOUT"]`, {PackageSettings().TIMEOUT}'
    assert stale == spelled(inspect.signature(recall).parameters["stale"].default)
