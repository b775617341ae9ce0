"""Queries as people write them in SQL, as code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.programs.constants import Chance

TABLES: dict[str, dict[str, str]] = {
    "writer": {"id": "key", "slug": "slug", "mentor_id": "key", "name": "text", "visits": "int"},
    "label": {"word": "word", "parent_id": "word"},
    "badge": {"id": "uuid", "owner_id": "key", "code": "text"},
    "post": {
        "id": "key",
        "writer_id": "key",
        "editor_id": "key",
        "slug": "slug",
        "rank": "int",
        "hidden": "bool",
    },
    "post_labels": {"id": "key", "post_id": "key", "label_id": "word"},
    "remark": {
        "id": "key",
        "post_id": "key",
        "badge_id": "uuid",
        "label_id": "word",
        "parent_id": "key",
        "by_id": "slug",
        "text": "text",
        "size": "int",
    },
}
EDGES = [
    *(("post", "writer_id", "writer", "id"), ("post", "editor_id", "writer", "id")),
    *(("remark", "post_id", "post", "id"), ("remark", "badge_id", "badge", "id")),
    *(("remark", "label_id", "label", "word"), ("remark", "parent_id", "remark", "id")),
    *(("remark", "by_id", "writer", "slug"), ("badge", "owner_id", "writer", "id")),
    *(("post_labels", "post_id", "post", "id"), ("post_labels", "label_id", "label", "word")),
    *(("writer", "mentor_id", "writer", "id"), ("label", "parent_id", "label", "word")),
    *(("post", "slug", "writer", "slug"), ("remark", "post_id", "post_labels", "post_id")),
]
SAME_NAMES = [  # for USING
    *(("remark", "post_labels", "post_id"), ("remark", "post_labels", "label_id")),
    *(("post", "writer", "slug"), ("post", "writer", "id"), ("post", "remark", "id")),
    *(("remark", "remark", "parent_id"), ("label", "remark", "parent_id")),
]
JOINS = {"JOIN": 6, "LEFT JOIN": 5, "RIGHT JOIN": 1, "FULL JOIN": 1, ",": 2}
LEAVES = {
    "equal": 40,
    "literal": 8,
    "IN": 14,
    "IS NULL": 5,
    "compared": 4,
    "columns": 5,
    "function": 5,
    "IN SELECT": 6,
    "EXISTS": 8,
    "scalar": 3,
    "row value": 2,
    "turned": 3,
}
ALIASES = ("a", "b", "c", "d", "e", "f", "g", "h")
# In the text of a statement, none of them means anything.
NOISE = {"": 40, "/* id = 3 OR 1 = 1 */ ": 1, "-- 'x\\n": 1}


@dataclass
class Scope:
    """The tables of one SELECT, by alias; parameters are added in the order of the text."""

    chance: Chance
    parameters: list[str]
    outer: Scope | None = None
    tables: dict[str, str] = field(default_factory=dict)

    def alias(self, table: str) -> str:
        """Add a table."""
        taken = len(self.tables) + (0 if self.outer is None else 4)
        name = ALIASES[min(taken, len(ALIASES) - 1)]
        self.tables[name] = table
        return name

    def source(self, table: str) -> str:
        """Add a table, and return its part of FROM."""
        alias = self.alias(table)
        named = self.chance.weighted({f"programs_{table}": 12, f"PROGRAMS_{table}": 1})
        return f"{named} {self.chance.among('', '', 'AS ')}{alias}"

    def any_column(self) -> tuple[str, str]:
        """Return the reference to a column of any table here, and its kind."""
        alias = self.chance.among(*self.tables)
        column = self.chance.among(*TABLES[self.tables[alias]])
        kind = TABLES[self.tables[alias]][column]
        if len(self.tables) == 1 and self.outer is None and self.chance.is_(0.2):
            return column, kind  # no other table has one of this name
        written = self.chance.weighted({column: 8, column.upper(): 1})
        return f"{alias}.{written}", kind

    def column_of_kind(self, kind: str) -> str | None:
        """Return a column of a kind, of any table here or outside."""
        found = [
            f"{alias}.{column}"
            for scope in (self, self.outer)
            if scope is not None
            for alias, table in scope.tables.items()
            for column, its in TABLES[table].items()
            if its == kind
        ]
        return self.chance.among(*found) if found else None

    def parameter(self, kind: str) -> str:
        """Return a placeholder for a new constant."""
        constant = self.chance.constant(kind)
        self.parameters.append(constant.replace("uuid(", "raw_uuid("))
        return "%s"

    def literal(self, kind: str) -> str:
        """Return a constant in the text."""
        if kind in {"uuid", "bool"}:
            return self.parameter(kind)
        constant = self.chance.constant(kind)
        return constant if constant[0] in "'-0123456789" else self.parameter(kind)

    def within(self) -> Scope:
        """Return the scope of a subquery."""
        return Scope(self.chance, self.parameters, outer=self)


# Conditions


def leaf(scope: Scope) -> str:
    """Return one condition."""
    kind_of_leaf = scope.chance.weighted(LEAVES)
    column, kind = scope.any_column()
    if kind_of_leaf in WITH_SELECT:
        return WITH_SELECT[kind_of_leaf](scope, column, kind)
    return plain_leaf(scope, kind_of_leaf, column, kind)


def plain_leaf(scope: Scope, how: str, column: str, kind: str) -> str:
    chance = scope.chance
    if how == "literal":
        return f"{column} = {scope.literal(kind)}"
    if how == "IN":
        count = chance.among(1, 2, 2, 3)
        return f"{column} IN ({', '.join(scope.parameter(kind) for _ in range(count))})"
    if how == "IS NULL":
        return f"{column} IS {chance.among('', 'NOT ')}NULL"
    if how == "compared" and kind != "bool":
        return f"{column} {chance.among('<', '>=', '<>', '<=')} {scope.parameter(kind)}"
    if how == "columns" and (other := scope.column_of_kind(kind)):
        return f"{column} = {other}"
    if how == "function":
        return called(scope, column, kind)
    if how == "row value":
        second, its = scope.any_column()
        one, two = scope.parameter(kind), scope.parameter(its)
        return f"({column}, {second}) = ({one}, {two})"
    if how == "turned":
        return f"{scope.parameter(kind)} = {column}"
    return f"{column} = {scope.parameter(kind)}"


def called(scope: Scope, column: str, kind: str) -> str:
    """Return a condition on what a function makes of a column."""
    if kind in {"key", "int"}:
        around = scope.chance.among(f"{column} + 0", f"ABS({column})", f"COALESCE({column}, 1)")
        return f"{around} = {scope.parameter(kind)}"
    if kind in {"text", "slug", "word"}:
        around = scope.chance.among(f"LOWER({column})", f"TRIM({column})", f"COALESCE({column})")
        how = scope.chance.among("=", "LIKE")
        return f"{around} {how} {scope.parameter(kind)}"
    return f"COALESCE({column}, {scope.parameter(kind)}) = {scope.parameter(kind)}"


def in_select(scope: Scope, column: str, kind: str) -> str:
    fitting = [(t, c) for t, columns in TABLES.items() for c, its in columns.items() if its == kind]
    table, inner = scope.chance.among(*fitting)
    within = scope.within()
    source = within.source(table)
    alias = next(iter(within.tables))
    word = scope.chance.among("IN", "IN", "NOT IN")
    return f"{column} {word} (SELECT {alias}.{inner} FROM {source} WHERE {tree(within, 1)})"


def exists(scope: Scope, column: str, kind: str) -> str:
    """Return an EXISTS that refers to a table outside."""
    alias = scope.chance.among(*scope.tables)
    table, inner, joined = scope.chance.among(*touching(scope.tables[alias]))
    within = scope.within()
    source = within.source(table)
    own = next(iter(within.tables))
    word = scope.chance.among("EXISTS", "NOT EXISTS", "EXISTS")
    correlated = f"{own}.{inner} = {alias}.{joined}"
    return f"{word} (SELECT 1 FROM {source} WHERE {correlated} AND {tree(within, 1)})"


def scalar(scope: Scope, column: str, kind: str) -> str:
    if kind in {"uuid", "bool"}:
        return plain_leaf(scope, "equal", column, kind)
    return (
        in_select(scope, column, kind)
        .replace("NOT IN", "IN")
        .replace("IN (SELECT ", f"= (SELECT {scope.chance.among('MAX', 'MIN')}(", 1)
        .replace(" FROM", ") FROM", 1)
    )


WITH_SELECT: dict[str, Callable[[Scope, str, str], str]] = {
    "IN SELECT": in_select,
    "EXISTS": exists,
    "scalar": scalar,
}


def tree(scope: Scope, depth: int = 2) -> str:
    """Return conditions joined by AND, OR and NOT."""
    how = scope.chance.weighted({"AND": 6, "OR": 3, "NOT": 2, "leaf": 4}) if depth else "leaf"
    if how == "leaf":
        return leaf(scope)
    if how == "NOT":
        return f"NOT ({tree(scope, depth - 1)})"
    text = f"{tree(scope, depth - 1)} {how} {tree(scope, depth - 1)}"
    return f"({text})" if how == "OR" and scope.chance.is_(0.8) else text


# FROM


def touching(table: str) -> list[tuple[str, str, str]]:
    """Return the tables that can be joined to one: table, its column, the column of the one."""
    forward = [(there, key, column) for here, column, there, key in EDGES if here == table]
    backward = [(here, column, key) for here, column, there, key in EDGES if there == table]
    return forward + backward


def joined_sources(scope: Scope, count: int) -> tuple[str, list[str]]:
    """Return a FROM of several tables, and the conditions that commas need in WHERE."""
    text, conditions = scope.source(scope.chance.among(*TABLES)), []
    for _ in range(count):
        alias = scope.chance.among(*scope.tables)
        table, own, other = scope.chance.among(*touching(scope.tables[alias]))
        join = scope.chance.weighted(JOINS)
        source = scope.source(table)
        equal = f"{list(scope.tables)[-1]}.{own} = {alias}.{other}"
        if join == ",":
            # A comma binds less than JOIN: what follows could not name the tables before it.
            text += f" CROSS JOIN {source}"
            conditions.append(equal)
            continue
        text += f" {join} {source} ON {equal}"
        if scope.chance.is_(0.3):
            text += f" {scope.chance.among('AND', 'AND', 'OR')} {leaf(scope)}"
    return text, conditions


def select(
    scope: Scope, joins: int, output: Callable[[Scope], str] | None = None, depth: int = 2
) -> str:
    """Return a SELECT, of which any condition may be left out."""
    place = len(scope.parameters)
    source, conditions = joined_sources(scope, joins)
    if scope.chance.is_(0.92):
        conditions.append(tree(scope, depth))
        if len(conditions) > 1:
            conditions[-1] = f"({conditions[-1]})"
    after, scope.parameters[place:] = scope.parameters[place:], []
    selected = (output or some_columns)(scope)
    scope.parameters += after
    noise = scope.chance.weighted(NOISE)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {noise}{selected} FROM {source}{where}"


def some_columns(scope: Scope) -> str:
    return ", ".join(scope.any_column()[0] for _ in range(scope.chance.among(1, 2, 3)))


def statement(text: str, parameters: list[str]) -> str:
    """Return the code that runs a statement."""
    assert text.count("%s") == len(parameters), (text, parameters)
    quoted = '"' + text.replace('"', '\\"') + '"'
    return f"sql({quoted}, [{', '.join(parameters)}])"


# Kinds of queries


def one_table(chance: Chance) -> str:
    scope = Scope(chance, [])
    return statement(select(scope, 0, depth=chance.among(0, 1, 2)), scope.parameters)


def several_tables(chance: Chance) -> str:
    scope = Scope(chance, [])
    return statement(select(scope, chance.among(1, 1, 2, 3)), scope.parameters)


def counted(chance: Chance) -> str:
    scope = Scope(chance, [])
    grouped = chance.is_(0.5)
    keys: list[str] = []

    def output(scope: Scope) -> str:
        column, _ = scope.any_column()
        keys.append(column)
        counts = chance.among(f"COUNT({column})", "COUNT(*)", f"MAX({column}), COUNT(*)")
        if chance.is_(0.3):
            counts = f"{counts}, {scalar_output(scope)}" if not grouped else counts
        return f"{column}, COUNT(*)" if grouped else counts

    text = select(scope, chance.among(0, 1, 2), output)
    having = chance.among("", "", " HAVING COUNT(*) > 1")
    return statement(f"{text} GROUP BY {keys[0]}{having}" if grouped else text, scope.parameters)


def scalar_output(scope: Scope) -> str:
    """Return a subquery in the list of what is selected."""
    within = scope.within()
    return f"({select(within, 0, lambda inner: 'COUNT(*)', 1)})"


def correlated(chance: Chance) -> str:
    scope = Scope(chance, [])

    def output(scope: Scope) -> str:
        alias = chance.among(*scope.tables)
        table, inner, joined = chance.among(*touching(scope.tables[alias]))
        within = scope.within()
        source = within.source(table)
        own = next(iter(within.tables))
        condition = f"{own}.{inner} = {alias}.{joined} AND {tree(within, 1)}"
        return f"{some_columns(scope)}, (SELECT COUNT(*) FROM {source} WHERE {condition})"

    return statement(select(scope, chance.among(0, 0, 1), output), scope.parameters)


def using(chance: Chance) -> str:
    scope = Scope(chance, [])
    first, second, column = chance.among(*SAME_NAMES)
    if chance.is_(0.5):
        first, second = second, first
    join = chance.among("JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN")
    source = f"{scope.source(first)} {join} {scope.source(second)} USING ({column})"
    kind = TABLES[first][column]
    how = chance.among("equal", "any", "IN")
    if how == "equal":
        where = f"{column} = {scope.parameter(kind)}"
    elif how == "any":
        where = tree(scope, 1)
    else:
        listed = f"{scope.parameter(kind)}, {scope.parameter(kind)}"
        where = f"{column} IN ({listed}) AND {leaf(scope)}"
    return statement(
        f"SELECT {column}, COUNT(*) FROM {source} WHERE {where} GROUP BY {column}", scope.parameters
    )


def arms(chance: Chance) -> str:
    parameters: list[str] = []
    texts = []
    for _ in range(chance.among(2, 2, 3)):
        scope = Scope(chance, parameters)
        texts.append(select(scope, chance.among(0, 0, 1), key_output, 1))
    word = chance.weighted({"UNION": 4, "UNION ALL": 3, "EXCEPT": 2, "INTERSECT": 1})
    return statement(f" {word} ".join(texts), parameters)


def key_output(scope: Scope) -> str:
    """Return a column of numbers, which every arm can have."""
    return scope.column_of_kind("key") or "0"


def with_cte(chance: Chance) -> str:
    """Return a query on a CTE, which rarely has the name of a table."""
    parameters: list[str] = []
    inner = Scope(chance, parameters)
    cte = select(inner, chance.among(0, 0, 1), lambda its: f"{key_output(its)} AS id", 1)
    name = chance.weighted({"found": 8, "programs_badge": 1})
    outer = Scope(chance, parameters)
    table = chance.among("post", "writer", "remark", "post_labels")
    source = outer.source(table)
    column = chance.among(*(c for c, kind in TABLES[table].items() if kind == "key"))
    join = chance.among("JOIN", "LEFT JOIN")
    where = tree(outer, 1)
    text = f"SELECT a.{column}, z.id FROM {source} {join} {name} z ON z.id = a.{column}"
    return statement(f"WITH {name} AS ({cte}) {text} WHERE {where}", parameters)


def recursive(chance: Chance) -> str:
    table, key, parent = chance.among(
        ("remark", "id", "parent_id"), ("writer", "id", "mentor_id"), ("label", "word", "parent_id")
    )
    scope = Scope(chance, [])
    name = f"programs_{table}"
    column = chance.among(key, parent)
    start = (
        f"SELECT {key}, {parent} FROM {name} WHERE {column} = {scope.parameter(TABLES[table][key])}"
    )
    step = f"SELECT r.{key}, r.{parent} FROM {name} r JOIN t ON r.{parent} = t.k"
    text = f"WITH RECURSIVE t(k, p) AS ({start} UNION {step}) SELECT k, p FROM t"
    return statement(text, scope.parameters)


def derived(chance: Chance) -> str:
    """Return a query on a SELECT in FROM, whose columns have other names than the table's."""
    scope = Scope(chance, [])
    number = chance.among(
        "COUNT(*) OVER ()",
        "ROW_NUMBER() OVER (ORDER BY a.id)",
        "0",
        "COUNT(*) OVER (PARTITION BY 1)",
    )
    table = chance.among("post", "remark", "writer", "post_labels")
    source = scope.source(table)
    column = chance.among(*(c for c, kind in TABLES[table].items() if kind == "key"))
    inner = f"SELECT a.{column} AS id, {number} AS n FROM {source}"
    if chance.is_(0.5):
        inner += f" WHERE {tree(scope, 1)}"
    outer = f"d.id = {scope.parameter('key')}"
    if chance.is_(0.3):
        other = chance.among("programs_post p ON p.id", "programs_remark p ON p.post_id")
        text = f"SELECT d.id, d.n, p.id FROM ({inner}) d LEFT JOIN {other} = d.id WHERE {outer}"
    else:
        text = f"SELECT d.id, d.n FROM ({inner}) AS d WHERE {outer}"
    return statement(text, scope.parameters)


def lateral(chance: Chance) -> str:
    """Return what PostgreSQL has of its own."""
    scope = Scope(chance, [])
    kind = chance.among("key", "slug")
    if chance.is_(0.5):
        table, column = chance.among(
            *((t, c) for t in TABLES for c, k in TABLES[t].items() if k == kind)
        )
        scope.parameters.append(chance.constants_of(kind))
        how = chance.among("= ANY(%s)", "<> ALL(%s)")
        return statement(f"SELECT * FROM programs_{table} WHERE {column} {how}", scope.parameters)
    first = scope.parameter("key")
    text = (
        "SELECT p.id, l.id FROM programs_post p LEFT JOIN LATERAL (SELECT r.id FROM programs_remark"
        f" r WHERE r.post_id = p.id AND r.parent_id IS NULL AND r.size = {first} ORDER BY r.id"
        f" LIMIT 1) l ON TRUE WHERE p.{chance.among('id', 'writer_id')} = {scope.parameter('key')}"
    )
    return statement(text, scope.parameters)


KINDS: dict[str, Callable[[Chance], str]] = {
    "SQL: one table": one_table,
    "SQL: joins": several_tables,
    "SQL: aggregates": counted,
    "SQL: correlated": correlated,
    "SQL: USING": using,
    "SQL: UNION": arms,
    "SQL: CTE": with_cte,
    "SQL: recursive": recursive,
    "SQL: derived": derived,
    "SQL: LATERAL, ANY": lateral,
}
