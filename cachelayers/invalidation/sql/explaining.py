"""Say why a statement reads a whole table, although some of its columns could have slices.

The statistics ask for it, and never a read. It is a help and no proof: it names the first condition
on such a column that could not be used.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Any

from cachelayers.invalidation.sql.conditions import (
    MOST_VALUES,
    QUERIES,
    children,
    kind_of,
    parse,
    part,
    parts,
)
from cachelayers.invalidation.sql.preparing import NotUnderstood, prepare
from cachelayers.invalidation.sql.tokens import names

# What a condition can be, the most telling first. Of the last, the reason lies elsewhere.
ORDER = ("values", "or", "function", "compared", "join", "equal")
TRANSPARENT = frozenset({"And", "Paren", "Where", "Tuple"})
COMPARISONS = names(
    "GT GTE LT LTE NEQ Like ILike Between Is Not NullSafeEQ NullSafeNEQ Glob RegexpLike"
)


@lru_cache(maxsize=500)
def unused_condition(
    text: str, vendor: str, table: str, columns: frozenset[str]
) -> tuple[str, str] | None:
    """Return the reason why a condition on one of a table's columns fixes none, and the column.

    All names are in lower case.
    """
    try:
        tree = parse(prepare(text, vendor).sql, vendor)
    except NotUnderstood:
        return None
    aliases = aliases_of(tree, table)
    found: dict[str, str] = {}
    for condition in conditions_in(tree):
        for column, reason in uses_in(condition):
            name = str(part(part(column, "this"), "this") or "").lower()
            source = part(column, "table")
            is_of_table = not source or str(part(source, "this")).lower() in aliases
            if name in columns and is_of_table:
                found.setdefault(reason, name)
    return next(((reason, found[reason]) for reason in ORDER if reason in found), None)


def nodes_of(tree: Any) -> Iterator[Any]:
    """Yield all nodes of a tree."""
    open_nodes = [tree]
    while open_nodes:
        node = open_nodes.pop(0)
        yield node
        open_nodes += children(node)


def aliases_of(tree: Any, table: str) -> Collection[str]:
    """Return the names that a statement gives to a table."""
    found = set()
    for node in nodes_of(tree):
        name = part(node, "this") if kind_of(node) == "Table" else None
        if name is not None and str(part(name, "this")).lower() == table:
            alias = part(node, "alias")
            called = part(alias, "this") if alias else name
            found.add(str(part(called or name, "this")).lower())
    return found


def conditions_in(tree: Any) -> Iterator[Any]:
    """Yield what stands after each WHERE and ON."""
    for node in nodes_of(tree):
        if kind_of(node) == "Where":
            yield part(node, "this")
        elif kind_of(node) == "Join" and part(node, "on"):
            yield part(node, "on")


def uses_in(condition: Any) -> Iterator[tuple[Any, str]]:
    """Yield the columns in a condition, each with what stands around it."""
    open_nodes = [(condition, "")]
    while open_nodes:
        node, around = open_nodes.pop()
        kind = kind_of(node)
        if kind == "Column":
            yield node, around or "compared"
        elif kind not in QUERIES:
            inner = around_children(node, around)
            open_nodes += [(one, inner) for one in children(node)]


def around_children(node: Any, around: str) -> str:
    """Return what stands around the parts of a node. ``around``: what stands around itself."""
    kind = kind_of(node)
    if around == "or" or kind == "Or":
        return "or"
    if kind in TRANSPARENT:
        return around
    if around and kind in {"EQ", "In"}:
        return around
    if kind == "EQ":
        sides = [kind_of(part(node, "this")), kind_of(part(node, "expression"))]
        if sides == ["Column", "Column"]:
            return "join"
        return "compared" if QUERIES.intersection(sides) else "equal"
    if kind == "In":
        if len(parts(node)) > MOST_VALUES:
            return "values"
        return "equal" if parts(node) else "compared"
    return "compared" if kind in COMPARISONS else "function"
