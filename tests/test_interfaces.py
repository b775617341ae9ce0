"""Packages whose names are imported at their first use have the names that they declare."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import django
import pytest

import cachelayers

# Names whose module needs a newer Django than this one.
TOO_NEW = frozenset({"run_in_worker"} if django.VERSION < (6, 0) else ())
LAZY = ("", ".backends", ".fragments", ".invalidation", ".warming")


def declared(path: Path) -> dict[str, str]:
    """Return the module of each name that an ``__init__`` imports, also for type checkers only."""
    return {
        one.name: str(node.module)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("cachelayers")
        for one in node.names
        if one.name != "lazy_exports"
    }


@pytest.mark.parametrize("name", LAZY)
def test_a_lazy_name_is_the_one_that_type_checkers_see(name: str) -> None:
    package = import_module(f"cachelayers{name}")
    modules = declared(Path(str(package.__file__)))

    assert sorted(package.__all__) == sorted(modules)
    for exported in modules.keys() - TOO_NEW:
        module = modules[exported]
        assert getattr(package, exported) is getattr(import_module(module), exported)


def test_a_lazy_name_is_looked_up_once() -> None:
    vars(cachelayers).pop("cached", None)
    found = cachelayers.cached

    assert vars(cachelayers)["cached"] is found


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'cachelayers' has no attribute 'nothing'"):
        cachelayers.nothing  # type: ignore[attr-defined]  # noqa: B018
