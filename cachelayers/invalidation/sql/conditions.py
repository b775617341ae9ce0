"""Find which rows of each table can affect a SELECT: the values that its conditions fix.

Why a row outside of them cannot affect the result
--------------------------------------------------

A SELECT combines rows of its sources, keeps the combinations for which WHERE is true, and makes
its result from these alone. Select list, DISTINCT, GROUP BY, HAVING, window functions, ORDER BY,
LIMIT and FOR UPDATE get nothing else. So a row that is in no kept combination, neither before nor
after a change, changes nothing, and what stands around the SELECT sees no difference: it may be a
subquery, a derived table, a CTE or an arm of a UNION.

- *Conjuncts.* WHERE is true only if all parts that AND joins are true. `p.id = 5` as one of them
  drops each combination with another row of `p`. Parts under OR, NOT or CASE say nothing by
  themselves. The same holds for the ON of INNER and CROSS JOINs, which is a part of WHERE.
- *Values.* `=` and IN are true only for equal values, and are not true for NULL. The other side
  must be a parameter, an integer or a plain string. A cast, a function or a collation around either
  side may make different values equal, so such a condition is not used.
- *Equality is transitive* within the conjuncts of one SELECT: `c.post_id = p.id AND p.id = 5` fixes
  `c.post_id`. The caller has to know that all these columns compare values in the same way.
- *LEFT JOIN.* A row on its right side that fails the ON joins no row of the left side. So the ON
  fixes columns of the right side, alone or through columns that WHERE fixes. It fixes none of the
  left side, whose rows remain, with NULLs. WHERE fixes columns of the right side too: where the row
  would have been, there are NULLs, for which `=` is not true either. To mix both is right for the
  same reason: if a right row meets the ON, but its column has none of the values, then a conjunct
  of WHERE is not true for it, nor for the NULLs in its place.
- *Subqueries* have conjuncts of their own. One may also compare with a column of the SELECT around
  it, outside of FROM: `WHERE c.post_id = p.id`, where the outer WHERE fixes `p.id`. The outer
  SELECT drops the combinations with other values of `p.id`, whatever the subquery returns for them.
- *RIGHT, FULL, NATURAL and USING joins*, LATERAL, functions as tables, and everything not listed
  here leave the sources of their SELECT unfixed. What is not understood at all makes the whole
  statement not understood.

sqlglot parses the statement, after strings and parameters have been numbered by the tokenizer of
this package. Its import takes some 0.1 seconds, so it happens with the first statement that needs
it, and the commonest statements do not. Only the names of its nodes and of their parts are used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cachelayers.invalidation.sql.preparing import (
    STAND_IN,
    Literal,
    NotUnderstood,
    Parameter,
    Prepared,
    Value,
    demand,
    prepare,
)
from cachelayers.invalidation.sql.statements import NAME, TableReader, find_key_lookup
from cachelayers.invalidation.sql.tokens import WORDS, names

__all__ = ["Fixed", "Literal", "Occurrence", "Parameter", "Value", "occurrences_in"]

DIALECTS = {"sqlite": "sqlite", "postgresql": "postgres", "mysql": "mysql"}
LONGEST = 20_000  # characters of a statement; the caller does not remember longer ones
MOST_VALUES = 100  # of one IN


Way = tuple[tuple[str, str], ...]  # tables with columns


@dataclass(frozen=True, slots=True)
class Fixed:
    """Rows whose column has none of the values cannot affect the result.

    ``through``: the other columns, with their tables, that equality leads through.
    """

    column: str
    values: tuple[Value, ...]
    through: Way = ()


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A table in one FROM or JOIN."""

    table: str
    fixed: tuple[Fixed, ...] = ()


def occurrences_in(text: str, vendor: str) -> tuple[Occurrence, ...] | None:
    """Return the tables that a SELECT reads, with what fixes their rows; None: not understood."""
    if vendor not in DIALECTS or len(text) > LONGEST:
        return None
    return plain_lookup(text, vendor) or parsed(text, vendor)


def plain_lookup(text: str, vendor: str) -> tuple[Occurrence, ...] | None:
    """Return the occurrence in a SELECT of one table by one column, found without sqlglot."""
    lookup = find_key_lookup(text) if text.startswith("SELECT ") else None
    if lookup is None or (vendor == "mysql" and '"' in text):
        return None
    if any("%" in name for name in re.findall(NAME, text)):
        return None  # maybe a parameter for the database's client, and maybe not
    values = tuple(Parameter(index) for index in lookup.parameters)
    return (Occurrence(lookup.table.lower(), (Fixed(lookup.column.lower(), values),)),)


def parsed(text: str, vendor: str) -> tuple[Occurrence, ...] | None:
    """Return the occurrences by sqlglot; None: not understood."""
    try:
        prepared = prepare(text, vendor)
        reader = Reader(prepared, vendor)
        tree = parse(prepared.sql, vendor)
        reader.read_query(tree, {}, None)
        reader.check(tree)
        return reader.occurrences()
    except NotUnderstood:
        return None


def parse(sql: str, vendor: str) -> Any:
    """Return the syntax tree of a statement."""
    from sqlglot import parse_one

    try:
        return parse_one(sql, read=DIALECTS[vendor])
    except Exception as error:  # a fault of the parser must not fail the query
        raise NotUnderstood from error


SET_OPERATIONS = frozenset({"Union", "Except", "Intersect"})
QUERIES = SET_OPERATIONS | {"Select", "Subquery"}
# The parts that a node may have. Any other part makes it not understood.
PARTS = {
    "Select": names(
        "expressions from joins where group having order limit offset distinct windows locks with"
    ),
    "SetOperation": names("this expression distinct order limit offset with"),
    "Subquery": names("this alias order limit offset with"),
    "With": names("expressions recursive"),
    "CTE": names("this alias materialized"),
    "Table": names("this db catalog alias"),
    "Group of sources": names("this"),
    "Join": names("this on side kind"),
    "In": names("this expressions"),
    "Column": names("this table"),
}
LEFT_JOINS = frozenset([("LEFT", ""), ("LEFT", "OUTER")])
INNER_JOINS = frozenset([("", ""), ("", "INNER"), ("", "CROSS"), ("", "STRAIGHT_JOIN")])


def kind_of(node: Any) -> str:
    """Return the name of a node's class: most of what is used of sqlglot."""
    return type(node).__name__


def part(node: Any, name: str) -> Any:
    """Return a part of a node. Some names had no underscore at their end before."""
    return node.args.get(name) or node.args.get(f"{name}_")


def parts(node: Any) -> list[Any]:
    """Return the elements of a list, a row value or WITH."""
    return list(part(node, "expressions") or [])


def has_only(node: Any, kind: str, *others: str) -> bool:
    """Return whether a node has no parts but those that are understood."""
    present = {name.rstrip("_") for name, value in node.args.items() if value}
    return present <= PARTS[kind].union(others)


def children(node: Any, *, without: Iterable[str] = ()) -> Iterator[Any]:
    """Yield the nodes that a node consists of, without those in some of its parts."""
    for name, value in node.args.items():
        if name.rstrip("_") not in without:
            for one in value if isinstance(value, list) else [value]:
                if getattr(one, "args", None) is not None:
                    yield one


def queries_in(nodes: Iterable[Any]) -> Iterator[Any]:
    """Yield the outermost queries among nodes and within them."""
    open_nodes = list(nodes)
    while open_nodes:
        one = open_nodes.pop()
        if kind_of(one) in QUERIES:
            yield one
        else:
            open_nodes += children(one)


class Name(NamedTuple):
    """A name as the database compares it, and in lower case."""

    exact: str
    lower: str


@dataclass(slots=True, eq=False)
class Source:
    """A source of rows in one FROM."""

    table: str | None  # None: not a table
    # Lists of facts that hold for its rows in kept combinations.
    facts: list[list[Fact]]


class Place(NamedTuple):
    """A column of one source."""

    source: Source
    column: str


class Fact(NamedTuple):
    """A column equals another column, or one of some values."""

    place: Place
    other: Place | None
    values: tuple[Value, ...] = ()


@dataclass(slots=True, eq=False)
class Scope:
    """One SELECT: where names of sources have a meaning, and its facts."""

    outer: Scope | None
    is_clear: bool = True
    count: int = 0  # of sources, with and without names
    sources: dict[str, tuple[str, Source]] = field(default_factory=dict)  # by lower-case names
    facts: list[Fact] = field(default_factory=list)
    # The ONs and WHERE, with the sources that may be named and the facts to add to.
    conditions: list[tuple[Any, frozenset[Source], list[Fact]]] = field(default_factory=list)
    unclear: list[Any] = field(default_factory=list)  # sources that are not understood

    def known_facts(self) -> list[Fact]:
        """Return the facts of this SELECT and of those around it."""
        around = self.outer.known_facts() if self.outer is not None else []
        return [*self.facts, *around] if self.is_clear else around


class Cte(NamedTuple):
    """A name that WITH defines; ``is_certain``: it has this meaning here on all databases."""

    exact: str
    is_certain: bool


Ctes = Mapping[str, Cte]


class Reader:
    """Reads a statement's tree, and collects the sources that are tables."""

    def __init__(self, prepared: Prepared, vendor: str) -> None:
        self._prepared = prepared
        self._folds = vendor == "postgresql"
        self._tables: list[tuple[Source, Scope]] = []
        self._seen: set[int] = set()  # nodes of tables
        self._names: set[str] = set()  # that mean a CTE

    # Queries

    def read_query(self, node: Any, ctes: Ctes, outer: Scope | None) -> None:
        """Read a SELECT, or several with UNION and its kin."""
        kind = kind_of(node)
        demand(kind in QUERIES)
        demand(has_only(node, "SetOperation" if kind in SET_OPERATIONS else kind))
        ctes = self._with_own_ctes(part(node, "with"), ctes)
        if kind == "Select":
            self._read_select(node, ctes, outer)
            return
        arms = ["this", "expression"] if kind in SET_OPERATIONS else ["this"]
        for arm in arms:
            self.read_query(part(node, arm), ctes, outer)
        for one in queries_in(children(node, without=[*arms, "with"])):
            self.read_query(one, ctes, outer)

    def _with_own_ctes(self, node: Any, ctes: Ctes) -> Ctes:
        """Read WITH. Return the CTEs that can be named after it."""
        if not node:
            return ctes
        demand(has_only(node, "With"))
        own = [
            (self._name(part(part(one, "alias"), "this")), one) for one in part(node, "expressions")
        ]
        known = dict(ctes)
        for at, (name, cte) in enumerate(own):
            demand(has_only(cte, "CTE"))
            # On SQLite, a CTE can name a later one.
            inner = dict(known)
            inner |= {later.lower: Cte(later.exact, is_certain=False) for later, _ in own[at:]}
            if node.args.get("recursive"):
                inner[name.lower] = Cte(name.exact, is_certain=True)
            self.read_query(part(cte, "this"), inner, None)
            known[name.lower] = Cte(name.exact, is_certain=True)
        return known

    def _read_select(self, node: Any, ctes: Ctes, outer: Scope | None) -> None:
        scope = Scope(outer)
        start = part(node, "from")
        if start:
            items = [part(start, "this"), *(part(node, "joins") or [])]
            demand(not part(items[0], "joins"))
            self._read_sources(items, scope, ctes, [scope.facts])
        if part(node, "where"):
            everything = frozenset(source for _, source in scope.sources.values())
            scope.conditions.append((part(part(node, "where"), "this"), everything, scope.facts))
        for condition, visible, facts in scope.conditions:
            facts.extend(self._facts_in(condition, scope, visible))
        others = children(node, without=["from", "joins", "where", "with"])
        conditions = [condition for condition, _, _ in scope.conditions]
        for one in queries_in([*conditions, *scope.unclear, *others]):
            self.read_query(one, ctes, scope)

    # FROM

    def _read_sources(
        self, items: Sequence[Any], scope: Scope, ctes: Ctes, facts: list[list[Fact]]
    ) -> frozenset[Source]:
        """Read a source and the joins after it. Return those that have a name."""
        found = visible = self._read_source(items[0], scope, ctes, facts)
        for join in items[1:]:
            kind = str(part(join, "side") or ""), str(part(join, "kind") or "")
            is_clear = kind_of(join) == "Join" and has_only(join, "Join")
            if not is_clear or kind not in LEFT_JOINS | INNER_JOINS:
                scope.is_clear = False
            here = [*facts, []] if kind in LEFT_JOINS else facts
            demand(not part(part(join, "this"), "joins"))
            right = self._read_source(part(join, "this"), scope, ctes, here)
            condition = part(join, "on")
            # After a comma, a condition cannot name what stands before it.
            visible = visible | right if condition or any(kind) else right
            found |= right
            if condition:
                scope.conditions.append((condition, visible, here[-1]))
        return found

    def _read_source(
        self, node: Any, scope: Scope, ctes: Ctes, facts: list[list[Fact]]
    ) -> frozenset[Source]:
        """Read one source, or a group of joined ones in parentheses."""
        inner = part(node, "this") if kind_of(node) == "Subquery" else None
        if kind_of(inner) in {"Table", "Subquery"}:
            scope.is_clear &= has_only(node, "Group of sources")
            items = [inner, *(part(inner, "joins") or [])]
            return self._read_sources(items, scope, ctes, facts)
        scope.count += 1
        if kind_of(node) == "Table" and kind_of(part(node, "this")) == "Identifier":
            return self._read_table(node, scope, ctes, facts)
        if inner is not None:
            scope.is_clear &= has_only(node, "Subquery", "joins")
            self.read_query(inner, self._with_own_ctes(part(node, "with"), ctes), scope.outer)
            return self._add(part(node, "alias"), None, Source(None, facts), scope)
        scope.is_clear = False
        scope.unclear.append(node)
        return frozenset()

    def _read_table(
        self, node: Any, scope: Scope, ctes: Ctes, facts: list[list[Fact]]
    ) -> frozenset[Source]:
        name, alias = self._name(part(node, "this")), part(node, "alias")
        demand(not STAND_IN.match(name.exact))  # a string as a name
        scope.is_clear &= has_only(node, "Table", "joins")
        scope.is_clear &= not (alias and part(alias, "columns"))
        self._seen.add(id(node))
        cte = None if part(node, "db") else ctes.get(name.lower)
        if cte is not None:
            demand(cte.exact == name.exact)
            self._names.add(name.lower)
            source = Source(None, facts)
            if not cte.is_certain:
                self._tables.append((Source(name.lower, []), Scope(None, is_clear=False)))
        else:
            source = Source(name.lower, facts)
            self._tables.append((source, scope))
        return self._add(alias, name, source, scope)

    def _add(
        self, alias: Any, name: Name | None, source: Source, scope: Scope
    ) -> frozenset[Source]:
        """Note the name of a source."""
        if alias and part(alias, "this"):
            name = self._name(part(alias, "this"))
        if name is None:
            return frozenset()
        scope.is_clear &= name.lower not in scope.sources and not STAND_IN.match(name.exact)
        scope.sources[name.lower] = name.exact, source
        return frozenset([source])

    def _name(self, node: Any) -> Name:
        demand(kind_of(node) == "Identifier")
        text = str(part(node, "this"))
        lower = text.lower()
        return Name(lower if self._folds and not node.args.get("quoted") else text, lower)

    # Conditions

    def _facts_in(self, node: Any, scope: Scope, visible: frozenset[Source]) -> list[Fact]:
        """Return the facts in the conjuncts of a condition."""
        found: list[Fact] = []
        for conjunct in conjuncts_of(node):
            for left, right in pairs_of(conjunct):
                found += self._facts_of(left, right, scope, visible)
        return found

    def _facts_of(
        self, left: Any, right: list[Any], scope: Scope, visible: frozenset[Source]
    ) -> Iterator[Fact]:
        """Yield what the equality of a node with one of others says."""
        place = self._place(left, scope, visible)
        if place is None:
            return
        values = [self._value(one) for one in right]
        if None not in values:
            yield Fact(place, None, tuple(value for value in values if value is not None))
        elif len(right) == 1 and (other := self._place(right[0], scope, visible)) is not None:
            yield Fact(place, other)

    def _value(self, node: Any) -> Value | None:
        """Return a parameter or a literal."""
        if kind_of(node) != "Literal":
            return None
        text = str(part(node, "this"))
        if node.args.get("is_string"):
            return self._prepared.values.get(text)
        return Literal(int(text)) if re.fullmatch("[0-9]{1,18}", text) else None

    def _place(self, node: Any, scope: Scope, visible: frozenset[Source]) -> Place | None:
        """Return the column of a table that a node is."""
        if kind_of(node) != "Column" or not has_only(node, "Column"):
            return None
        if kind_of(part(node, "this")) != "Identifier":
            return None
        column = part(node, "this")
        if part(node, "table"):
            source = self._source(self._name(part(node, "table")), scope, visible)
        else:
            source = only_source(scope)
            if str(part(column, "this")).lower() in KEYWORDS and not column.args.get("quoted"):
                return None
        if source is None or source.table is None:
            return None
        return Place(source, str(part(column, "this")).lower())

    def _source(self, name: Name, scope: Scope, visible: frozenset[Source]) -> Source | None:
        """Return the source that a name means in a condition of a SELECT."""
        one: Scope | None = scope
        while one is not None and one.is_clear:
            if name.lower in one.sources:
                exact, source = one.sources[name.lower]
                can_be_named = one is not scope or source in visible
                return source if exact == name.exact and can_be_named else None
            one = one.outer
        return None

    # The result

    def check(self, tree: Any) -> None:
        """Demand that every table of the statement was read as one."""
        open_nodes = [tree]
        while open_nodes:
            node = open_nodes.pop()
            is_table = kind_of(node) == "Table" and kind_of(part(node, "this")) == "Identifier"
            demand(not is_table or id(node) in self._seen)
            if kind_of(node) != "Lock":  # `FOR UPDATE OF` names sources
                open_nodes += children(node)
        reader = TableReader()
        reader.read(self._prepared.tokens)
        demand(reader.found <= self._names.union(str(one.table) for one, _ in self._tables))

    def occurrences(self) -> tuple[Occurrence, ...]:
        """Return the tables with what fixes their rows."""
        return tuple(
            Occurrence(str(source.table), fixed_of(source, scope)) for source, scope in self._tables
        )


# Without parentheses and quotes, these are not columns.
KEYWORDS = frozenset({"user", "session_user", "system_user"}).union(*WORDS.values())


def only_source(scope: Scope) -> Source | None:
    """Return the only source of a SELECT, whose columns need no name before them."""
    if scope.count != 1 or not scope.is_clear:
        return None
    return next((source for _, source in scope.sources.values()), None)


def conjuncts_of(node: Any) -> Iterator[Any]:
    """Yield the parts of a condition that AND joins."""
    open_nodes = [node]
    while open_nodes:
        one = open_nodes.pop()
        if kind_of(one) == "And":
            open_nodes += [part(one, "expression"), part(one, "this")]
        elif kind_of(one) == "Paren":
            open_nodes.append(part(one, "this"))
        else:
            yield one


def pairs_of(node: Any) -> Iterator[tuple[Any, list[Any]]]:
    """Yield what a condition says to be equal: a node, and those of which one equals it."""
    if kind_of(node) == "EQ":
        left, right = part(node, "this"), part(node, "expression")
        lefts, rights = elements_of(left), elements_of(right)
        if len(lefts) == len(rights):
            for one, other in zip(lefts, rights, strict=True):
                yield one, [other]
                yield other, [one]
    elif kind_of(node) == "In" and has_only(node, "In"):
        values = parts(node)
        if 0 < len(values) <= MOST_VALUES:
            yield part(node, "this"), values


def elements_of(node: Any) -> list[Any]:
    """Return the elements of a row value, or the node itself without parentheses around it."""
    while kind_of(node) == "Paren":
        node = part(node, "this")
    return parts(node) if kind_of(node) == "Tuple" else [node]


def fixed_of(source: Source, scope: Scope) -> tuple[Fixed, ...]:
    """Return what fixes the rows of a source, following equality."""
    if not scope.is_clear:
        return ()
    facts = [fact for some in source.facts for fact in some]
    known = {id(fact): fact for fact in [*facts, *scope.known_facts()]}.values()
    equal: dict[Place, list[Place]] = {}
    values: dict[Place, list[tuple[Value, ...]]] = {}
    for fact in known:
        if fact.other is None:
            values.setdefault(fact.place, []).append(fact.values)
        else:
            equal.setdefault(fact.place, []).append(fact.other)
            equal.setdefault(fact.other, []).append(fact.place)
    found = {
        Fixed(place.column, some, through): None
        for place in {**equal, **values}
        if place.source is source
        for through, some in ways_from(place, equal, values)
    }
    return tuple(sorted(found, key=lambda fixed: len(fixed.through)))


def ways_from(
    place: Place,
    equal: Mapping[Place, list[Place]],
    values: Mapping[Place, list[tuple[Value, ...]]],
) -> Iterator[tuple[tuple[tuple[str, str], ...], tuple[Value, ...]]]:
    """Yield the values that a column has, with the shortest way to them."""
    ways: dict[Place, tuple[Place, ...]] = {place: ()}
    queue = [place]
    for one in queue:
        through = tuple((str(step.source.table), step.column) for step in ways[one])
        for some in values.get(one, []):
            yield through, some
        for other in equal.get(one, []):
            if other not in ways:
                ways[other] = (*ways[one], other)
                queue.append(other)
