"""The reference of names contains every name that users type, with its parameters."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
from django.core.cache import cache
from django.core.management import find_commands
from django.template.library import import_library

import cachelayers
from cachelayers.decorators.functions import CachedFunction
from tests.docs.test_recall_pages import blocks_of
from tests.environment import PROJECT
from tests.library.models import Book

PAGE = (PROJECT / "docs" / "names.md").read_text(encoding="utf-8")
# The first of a name: a function of the package, not the method of a cached function.
CALLS = {
    name: re.findall(r"\w+", parameters)
    for name, parameters in reversed(re.findall(r"`(\w+)\(([^`]*)\)`", PAGE))
}
# Of unit_of_work(): used by the app itself. Of cached(): passed by the decorator's syntax.
NOT_TYPED = {"kind", "function"}


@pytest.mark.parametrize("name", cachelayers.__all__)
def test_every_function_is_there_with_its_parameters(name: str) -> None:
    parameters = inspect.signature(getattr(cachelayers, name)).parameters

    assert CALLS[name] == [each for each in parameters if each not in NOT_TYPED]


def test_every_method_of_a_cached_function_is_there() -> None:
    methods = {name for name in dir(CachedFunction) if not name.startswith("_")}

    assert methods
    assert methods <= set(CALLS)


def test_every_tag_and_command_is_there() -> None:
    tags = set(import_library("cachelayers.templatetags.cachelayers").tags)
    commands = find_commands(str(PROJECT / "cachelayers" / "management"))

    assert set(re.findall(r"^\| `\{% (\w+) %\}` \|", PAGE, re.MULTILINE)) == tags
    assert set(re.findall(r"^\| \[`(\w+)`\]", PAGE, re.MULTILINE)) == set(commands)


def test_the_example_runs_as_shown(transactional_db: None) -> None:
    cache.clear()
    shown: dict[str, Any] = {"__name__": "example", "Book": Book}
    [block] = blocks_of("names.md")

    exec(block, shown)
