"""The module on patches names all that the package takes from others' internals, and its tests."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator

from cachelayers import compat
from tests.environment import PROJECT

PACKAGE = PROJECT / "cachelayers"
PAGE = (PROJECT / "docs" / "what_it_changes.md").read_text(encoding="utf-8")
ENTRY = re.compile(
    r"Patches: (.*?)\n(?:In: .*?\n)?Reason: (.*?)\nIf it fails: (.*?)\n"
    r"Test: (\S+)\nAvoidable: (.+)",
    re.DOTALL,
)
# Public, though they begin with an underscore: documented by Django and Python.
PUBLIC = {"_meta", "_base_manager", "_fields", "_asdict", "_state"}
NAMED = set(re.findall(r"``([^`]+)``", compat.__doc__ or ""))


def texts() -> Iterator[str]:
    """Yield the docstrings of the module and of its functions, without the margin."""
    yield inspect.getdoc(compat) or ""
    for _, function in inspect.getmembers(compat, inspect.isfunction):
        if function.__module__ == compat.__name__:
            yield inspect.getdoc(function) or ""


ENTRIES = [
    found
    for text in texts()
    for part in re.split(r"\n(?=Patches:)|\n\n", text)
    for found in ENTRY.findall(part)
]


def patched() -> list[str]:
    return [name for entry in ENTRIES for name in re.findall(r"``([^`]+)``", entry[0])]


def test_each_patch_says_all() -> None:
    assert len(ENTRIES) == sum(text.count("Patches:") for text in texts()) > 15


def test_each_patch_names_a_test_that_there_is() -> None:
    assert [entry[3] for entry in ENTRIES if not (PROJECT / entry[3]).is_file()] == []


def test_each_patch_is_on_the_page_for_users() -> None:
    assert [name for name in patched() if f"`{name}`" not in PAGE] == []


def private_names() -> Iterator[str]:
    """Yield the private names that the package reads or sets, and defines nowhere."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    defined = {name for node in nodes for name in names_defined_by(node)}
    for node in nodes:
        name = name_read_by(node)
        if name.startswith("_") and not name.endswith("__") and name not in defined | PUBLIC:
            yield name


def names_defined_by(node: ast.AST) -> Iterator[str]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, (ast.Assign, ast.AnnAssign)):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            for part in ast.walk(target):
                if isinstance(part, ast.Name):
                    yield part.id
                elif isinstance(part, ast.Attribute) and ast.unparse(part.value) in {
                    "self",
                    "block",
                }:
                    yield ast.unparse(part).partition(".")[2]


def name_read_by(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Call) and ast.unparse(node.func) in {"getattr", "hasattr"}:
        return str(node.args[1].value) if isinstance(node.args[1], ast.Constant) else ""
    return ""


def test_each_private_name_of_others_is_listed() -> None:
    listed = {name.rpartition(".")[2] for name in NAMED}
    own = {name for name in private_names() if name.startswith("_cachelayers_")}
    assert set(private_names()) - listed - own == set()
