"""The new lines in the tables of the page on other packages work."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from typing import Any

from django.core.cache import cache
from django.core.management import load_command_class
from django.template import Template

import cachelayers
from cachelayers import backends
from cachelayers.backends.database.options import DatabaseOptions
from cachelayers.conf import PackageSettings
from tests.docs.test_links import prose_of
from tests.environment import PROJECT
from tests.library.models import Author, Book

ROW = re.compile(r"^\| .* \| (.*) \|$", re.MULTILINE)
KEYS = {field.name for kind in (PackageSettings, DatabaseOptions) for field in fields(kind)}
SETTINGS = KEYS | {"LOCATION", "OPTIONS"}
BACKENDS = ("DatabaseCache", "LayeredCache", "MemoryCache")


def new_lines() -> list[str]:
    cells = ROW.findall(prose_of(PROJECT / "docs/coming_from.md"))
    return sorted({line for cell in cells for line in re.findall(r"`([^`]+)`", cell)})


def try_line(line: str, names: dict[str, Any]) -> None:
    """Run a line of Python, compile a tag, parse a command, look up a setting."""
    if line.startswith("manage.py "):
        _, command, *options = line.split()
        parser = load_command_class("cachelayers", command).create_parser("manage.py", command)
        assert parser.parse_args(options)
    elif line.startswith("{%"):
        opened = re.findall(r"{% (fragment|uncached)\b", line)
        closed = re.findall(r"{% end(fragment|uncached) ", line)
        ends = [f"{{% end{tag} %}}" for tag in opened if tag not in closed]
        assert Template("{% load cachelayers %}" + line + "".join(ends)).nodelist
    elif line in SETTINGS or line in {"recall", "@cached", *BACKENDS}:
        pass
    elif line.startswith('"OPTIONS": '):
        assert ast.literal_eval(f"{{{line}}}".replace("2**30", "1"))["OPTIONS"].keys() <= KEYS
    elif line.startswith("@"):
        exec(f"{line}\ndef decorated(): ...", names)
    else:
        exec(f"{line} ..." if line.endswith(":") else line, names)
        if "CACHELAYERS" in names:
            assert names.pop("CACHELAYERS").keys() <= KEYS


def test_the_new_lines_work(transactional_db: None) -> None:
    cache.clear()
    cache.set("menu", 0)
    names = {
        **{name: getattr(cachelayers, name) for name in cachelayers.__all__},
        "__name__": "example",
        "Post": Book,
        "cache": cache,
        "make_menu": lambda: "menu",
        "post": Book.objects.create(title="Ports", author=Author.objects.create(name="Ann")),
    }
    assert all(hasattr(backends, name) for name in BACKENDS)

    for line in new_lines():
        try_line(line, names)
