"""Every object of the process that can change is named, and can be forgotten or has a reason."""

from __future__ import annotations

import ast
import logging
import re
import threading
from collections.abc import Iterator
from importlib import import_module
from itertools import chain
from pathlib import Path
from types import FunctionType, GenericAlias, ModuleType
from typing import Any, TypeVar

import pytest
from django.core.cache import caches
from django.dispatch import Signal

import cachelayers
from cachelayers.utils.locks import ForkSafeLock
from tests.state import FORGOTTEN, KEPT, another_process, object_named, reset

ROOT = Path(cachelayers.__file__).parent
UNCHANGING = (
    str, int, float, bytes, tuple, frozenset, type(None), type, GenericAlias, FunctionType,
    re.Pattern, ForkSafeLock, type(threading.Lock()), type(threading.RLock()), logging.Logger,
    TypeVar, Signal,
)  # fmt: skip
# Constants, by their names; a name with an underscore before it may be one too.
CONSTANT = re.compile(r"_*[A-Z][A-Z0-9_]*|__\w+__|[A-Z]\w*")


def modules() -> Iterator[tuple[str, ast.Module, ModuleType]]:
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if "migrations" in parts or parts[-1] == "django_task":  # it needs the setting TASKS
            continue
        name = ".".join(part for part in parts if part != "__init__")
        module = import_module(f"cachelayers.{name}".rstrip("."))
        yield name, ast.parse(path.read_text()), module


def state_of(tree: ast.Module, module: ModuleType) -> Iterator[str]:
    """Yield the names in a module that are set there and can change, or remember."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            yield from node.names
    for statement in tree.body:
        for name in names_set_by(statement):
            found: Any = getattr(module, name, None)
            if hasattr(found, "cache_clear") or can_change(name, found):
                yield name


def can_change(name: str, found: Any) -> bool:
    if CONSTANT.fullmatch(name) or isinstance(found, UNCHANGING):
        return False
    return not callable(found) or hasattr(found, "clear")


def names_set_by(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        yield statement.name
    for node in ast.walk(statement) if isinstance(statement, ast.Assign | ast.AnnAssign) else ():
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def test_every_object_that_can_change_is_named() -> None:
    found = {
        f"{name}.{one}".lstrip(".")
        for name, tree, module in modules()
        for one in state_of(tree, module)
    }

    named = {*FORGOTTEN, *chain.from_iterable(KEPT.values())}

    assert found - named == set(), "add them to tests/state.py"
    assert named - found == set(), "they are in tests/state.py and not there any more"


def test_a_new_object_would_be_found() -> None:
    source = "MOST = 5\n_known: dict[str, int] = {}\n@lru_cache\ndef double(x): return x\n"
    module = ModuleType("new")
    exec("from functools import lru_cache\n" + source, vars(module))

    assert list(state_of(ast.parse(source), module)) == ["_known", "double"]


def test_after_a_reset_the_caches_work_as_before() -> None:
    caches["memory"].set("key", "old")
    reset()

    assert caches["memory"].get("key") is None
    caches["memory"].set("key", "new")
    assert caches["memory"].get("key") == "new"


def test_another_process_knows_nothing_and_this_one_goes_on() -> None:
    known = object_named("invalidation.own_statements._pauses")
    known["an alias of here"] = pause = object()
    with another_process("invalidation.own_statements"):
        assert not known
        known["an alias of there"] = object()

    assert known.pop("an alias of here") is pause
    assert "an alias of there" not in known


def test_what_is_not_there_cannot_be_reset() -> None:
    with pytest.raises(AssertionError, match="nothing"):
        reset("invalidation.misspelt")
