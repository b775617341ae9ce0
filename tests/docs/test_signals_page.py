"""The page on signals, exceptions and loggers names all of them."""

from __future__ import annotations

import re

import pytest
from django.dispatch import Signal

from cachelayers import exceptions, signals
from tests.environment import PROJECT

PAGE = (PROJECT / "docs" / "signals.md").read_text(encoding="utf-8")
LOGGER = re.compile(r'getLogger\("(cachelayers[\w.]*)"\)')


@pytest.mark.parametrize(
    "name", [name for name, value in vars(signals).items() if isinstance(value, Signal)]
)
def test_every_signal_is_named_with_what_it_sends(name: str) -> None:
    assert re.search(rf"^\| `{name}` \| .+ \| `alias`.* \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, value in vars(exceptions).items()
        if isinstance(value, type) and value.__module__ == exceptions.__name__
    ],
)
def test_every_exception_is_named(name: str) -> None:
    assert f"`{name}`" in PAGE


def test_every_logger_is_named() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (PROJECT / "cachelayers").rglob("*.py")]
    used = {name for text in sources for name in LOGGER.findall(text)}

    assert set(re.findall(r"^\| `(cachelayers[\w.]*)` \|", PAGE, re.MULTILINE)) == used
