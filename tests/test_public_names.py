"""The names that users type are those in `public_names.txt`, in which a change is seen."""

from __future__ import annotations

import re
from argparse import SUPPRESS
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from pkgutil import resolve_name

from django.apps import apps
from django.core.management import find_commands, load_command_class
from django.core.management.base import BaseCommand
from django.dispatch import Signal
from django.template.library import import_library

import cachelayers
from cachelayers import exceptions, signals
from cachelayers.backends.database.options import DatabaseOptions
from cachelayers.backends.layered.options import LayeredOptions
from cachelayers.backends.memory.cache import MemoryOptions
from cachelayers.conf import PackageSettings
from tests.environment import PROJECT

FILE = Path(__file__).with_name("public_names.txt")
LINES = FILE.read_text(encoding="utf-8").splitlines()
DOCUMENTED = "import: "
OPTIONS = {
    "CACHELAYERS": PackageSettings,
    "DatabaseCache": DatabaseOptions,
    "LayeredCache": LayeredOptions,
    "MemoryCache": MemoryOptions,
}
# Not for users: how the package is built, and where its modules went.
FOR_CONTRIBUTORS = {"design.md", "renamed.md"}
DOTTED = re.compile(r"(?<![\w./-])cachelayers(?:\.[A-Za-z]\w*)+(?![\w/-])")
IMPORTED = re.compile(r"^ *from (cachelayers[.\w]*) import ([\w, ]+)$", re.MULTILINE)
LOGGER = re.compile(r'getLogger\("(cachelayers[\w.]*)"\)')
CHECK = re.compile(r'"(?:cachelayers\.)?([EW]\d{3})"')


def public_names() -> Iterator[str]:
    """Yield each name after its kind."""
    yield from of("function", cachelayers.__all__)
    for place, options in OPTIONS.items():
        yield from of(f"option of {place}", (field.name for field in fields(options)))
    yield from of("check", found_in_sources(CHECK))
    yield from of("logger", found_in_sources(LOGGER))
    for command in find_commands(str(PROJECT / "cachelayers" / "management")):
        yield from of(f"option of {command}", ["", *options_of(command)])
    library = import_library("cachelayers.templatetags.cachelayers")
    yield from of("template tag", library.tags)
    yield from of("template filter", library.filters)
    yield from of(
        "signal", (name for name, one in vars(signals).items() if isinstance(one, Signal))
    )
    yield from of("exception", exceptions_of_package())
    for model in apps.get_app_config("cachelayers").get_models():
        if not model._meta.proxy:
            yield from of("table", [model._meta.db_table])
        defaults = (f"{name}_{model._meta.model_name}" for name in model._meta.default_permissions)
        yield from of("permission", [*defaults, *(name for name, _ in model._meta.permissions)])


def of(kind: str, names: Iterable[str]) -> Iterator[str]:
    return (f"{kind}: {name}".rstrip() for name in names)


def found_in_sources(pattern: re.Pattern[str]) -> set[str]:
    sources = (path.read_text(encoding="utf-8") for path in (PROJECT / "cachelayers").rglob("*.py"))
    return {found for text in sources for found in pattern.findall(text)}


def options_of(command: str) -> set[str]:
    parser = load_command_class("cachelayers", command).create_parser("manage.py", command)
    usual = BaseCommand().create_parser("manage.py", command)
    own, given = (
        {
            name
            for action in one._actions
            if action.help != SUPPRESS
            for name in action.option_strings or [action.dest]
        }
        for one in (parser, usual)
    )
    return own - given


def exceptions_of_package() -> Iterator[str]:
    for name, found in vars(exceptions).items():
        if isinstance(found, type) and found.__module__ == exceptions.__name__:
            yield name


def documented_names() -> set[str]:
    """Return what the pages for users name or import of the package, and can be imported."""
    names: set[str] = set()
    for page in [PROJECT / "README.md", *(PROJECT / "docs").glob("*.md")]:
        if page.name not in FOR_CONTRIBUTORS:
            text = page.read_text(encoding="utf-8")
            names.update(DOTTED.findall(text))
            for module, imported in IMPORTED.findall(text):
                names.update(f"{module}.{name}" for name in re.findall(r"\w+", imported))
    return set(filter(is_importable, names - found_in_sources(LOGGER)))


def is_importable(name: str) -> bool:
    try:
        resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def written_names() -> set[str]:
    return {line for line in LINES if not line.startswith(DOCUMENTED)}


def written_imports() -> set[str]:
    return {line.removeprefix(DOCUMENTED) for line in LINES if line.startswith(DOCUMENTED)}


def test_names_that_users_type_are_those_in_the_file() -> None:
    found = set(public_names())

    assert written_names() - found == set(), "users type these: have them go on working"
    assert found - written_names() == set(), f"add them to {FILE.name}"


def test_what_is_documented_can_be_imported() -> None:
    assert {name for name in written_imports() if not is_importable(name)} == set()
    assert documented_names() - written_imports() == set(), f"add them to {FILE.name}"


def test_the_file_is_sorted() -> None:
    assert sorted(set(LINES)) == LINES
