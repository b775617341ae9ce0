"""The reference of the system checks contains every id, and its example is a real message."""

from __future__ import annotations

import re
from typing import Any

from pytest_django import Settings

from cachelayers.checks import check_package_settings
from tests.docs.test_recall_pages import blocks_of
from tests.environment import PROJECT

PAGE = (PROJECT / "docs" / "checks.md").read_text(encoding="utf-8")


def ids_in_code() -> set[str]:
    """Return every id that the package's source has in quotes."""
    sources = [path.read_text(encoding="utf-8") for path in (PROJECT / "cachelayers").rglob("*.py")]
    return {
        found for text in sources for found in re.findall(r'"(?:cachelayers\.)?([EW]\d{3})"', text)
    }


def test_each_check_has_its_cause_and_cure() -> None:
    rows = re.findall(r"^\| `([EW]\d{3})` \| (.*?) \| (.*?) \|$", PAGE, re.MULTILINE)

    assert {name for name, _, _ in rows} == ids_in_code()
    assert [name for name, _, _ in rows] == sorted({name for name, _, _ in rows})
    assert all(cause and cure for _, cause, cure in rows)


def test_the_example_is_what_the_check_says(settings: Settings) -> None:
    shown: dict[str, Any] = {}
    exec(blocks_of("checks.md")[0], shown)
    settings.CACHELAYERS = shown["CACHELAYERS"]

    [message] = check_package_settings(None)

    assert " ".join(str(message).split()) in " ".join(PAGE.split())
