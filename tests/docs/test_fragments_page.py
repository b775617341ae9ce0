"""The running example of the page on fragments does what the page shows."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import cache

from cachelayers import unit_of_work
from cachelayers.fragments.tag_options import OPTION_NAMES
from tests.docs.test_recall_pages import blocks_of
from tests.environment import PROJECT
from tests.library.models import Author, Book

PAGE = (PROJECT / "docs" / "fragments.md").read_text(encoding="utf-8")


@pytest.mark.django_db(transaction=True)
def test_the_running_example_runs_as_shown() -> None:
    cache.clear()
    shown: dict[str, Any] = {
        "__name__": "example",
        "Author": Author,
        "Book": Book,
        "unit_of_work": unit_of_work,
    }
    blocks = blocks_of("fragments.md")

    for block in blocks:
        exec(block, shown)

    assert len(blocks) == 8
    assert shown["show"]("Dora") == "Ports by Anne, lent to Dora"


@pytest.mark.parametrize("name", OPTION_NAMES)
def test_every_option_is_on_the_page(name: str) -> None:
    assert f"| `{name}` |" in PAGE
