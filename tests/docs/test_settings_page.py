"""The reference of the settings contains every key and option, with its type and default."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import pytest
from pytest_django import Settings

from cachelayers.backends.base import SETTINGS_KEYS
from cachelayers.backends.database.options import DatabaseOptions
from cachelayers.backends.layered.options import LayeredOptions
from cachelayers.backends.memory.cache import MemoryOptions
from cachelayers.checks import cache_messages, check_package_settings
from cachelayers.conf import PackageSettings
from tests.docs.test_recall_pages import blocks_of, shown_defaults, spelled
from tests.environment import PROJECT

PAGE = (PROJECT / "docs" / "settings.md").read_text(encoding="utf-8")
SECTIONS: dict[str, Any] = {
    "`CACHELAYERS`": PackageSettings,
    "`LayeredCache`": LayeredOptions,
    "`DatabaseCache`": DatabaseOptions,
    "`MemoryCache`": MemoryOptions,
}
TYPES = {
    "bool": "`True`, `False`",
    "float": "number",
    "int": "whole number",
    "str": "text",
    "Sequence[str]": "list of texts",
    "tuple[str, ...]": "list of texts",
}
ROW = re.compile(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*?) \|$", re.MULTILINE)


def rows_of(section: str) -> dict[str, tuple[str, str, str]]:
    """Return type, default and meaning of each name in a section of the page."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return {name: (kind, default, meaning) for name, kind, default, meaning in ROW.findall(text)}


def type_of(annotation: str) -> str:
    """Return a type as the page writes it."""
    kind, _, none = annotation.partition(" | ")
    return TYPES[kind] + (" or `None`" if none else "")


def default_of(name: str, default: Any) -> str:
    """Return a default as the page writes it."""
    if name == "LAYERS":
        return "those of `LOCATION`"
    if isinstance(default, tuple):
        default = list(default)
    return "64 MiB" if default == 64 * 2**20 else spelled(default)


@pytest.mark.parametrize("section", SECTIONS)
def test_each_key_has_its_type_and_default(section: str) -> None:
    expected = {
        field.name: (type_of(str(field.type)), default_of(field.name, field.default))
        for field in fields(SECTIONS[section])
    }
    rows = rows_of(section)

    assert {name: (kind, default) for name, (kind, default, _) in rows.items()} == expected
    assert all(meaning for _, _, meaning in rows.values())


def test_the_keys_of_all_backends_are_there() -> None:
    named = rows_of("Options of all backends")

    assert set(named) == SETTINGS_KEYS - {"BACKEND", "LOCATION", "OPTIONS"}


@pytest.mark.parametrize("page", ["monitoring.md", "static_urls.md"])
def test_shorter_tables_have_the_same_defaults(page: str) -> None:
    found = {
        name: shown_defaults(page, name)[0]
        for name in PackageSettings.__dataclass_fields__
        if shown_defaults(page, name)
    }

    assert found
    for name, shown in found.items():
        assert shown.startswith(spelled(getattr(PackageSettings(), name)))


def test_the_example_passes_the_checks(settings: Settings) -> None:
    [block] = blocks_of("settings.md")
    shown: dict[str, Any] = {}
    exec(block, shown)
    settings.CACHES, settings.CACHELAYERS = shown["CACHES"], shown["CACHELAYERS"]

    messages = [*cache_messages(), *check_package_settings(None)]

    assert [message for message in messages if message.is_serious()] == []
