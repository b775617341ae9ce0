"""Triggers on MySQL and MariaDB. They run per row, and not for InnoDB's cascades.

So the trigger of a row to which others refer by ON DELETE or ON UPDATE logs their tables too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.invalidation.dialects import LOG, NOW_MS
from cachelayers.invalidation.own_statements import fetch_rows
from cachelayers.invalidation.tags import all_rows_tag, table_tag
from cachelayers.invalidation.tracked import (
    KeyedColumn,
    KeyKind,
    TrackedTable,
    tracked_tables,
)
from cachelayers.invalidation.triggers.definitions import (
    Found,
    Installed,
    TableLocation,
    Trigger,
    fit,
    keyed_tags,
    mysql_literal,
    name_for,
)

ROWS_OF_EVENT = {"insert": ("NEW",), "update": ("NEW", "OLD"), "delete": ("OLD",)}
# Without a log, a write goes on.
WITHOUT_LOG = "DECLARE CONTINUE HANDLER FOR 1146 BEGIN END;"
# A schema change is visible at once, and the triggers follow it a moment later.
WITHOUT_COLUMN = "DECLARE EXIT HANDLER FOR 1054 {whole}"
CASCADES = """
SELECT referenced_table_name, table_name FROM information_schema.referential_constraints
WHERE constraint_schema = DATABASE()
  AND (delete_rule NOT IN ('RESTRICT', 'NO ACTION') OR update_rule NOT IN ('RESTRICT', 'NO ACTION'))
"""
# A generated column has an expression; its value follows from the others.
TABLES = """
SELECT t.table_name, c.column_name, c.column_key, c.data_type,
  COALESCE(c.generation_expression, '') <> '', @@lower_case_table_names
FROM information_schema.tables t
JOIN information_schema.columns c ON c.table_schema = t.table_schema
  AND c.table_name = t.table_name
WHERE t.table_schema = DATABASE() AND t.table_type = 'BASE TABLE'
ORDER BY t.table_name, c.ordinal_position
"""
# How values are compared by what is stored. Text, by its bytes: a collation calls more equal.
BY_VALUE = frozenset(
    {"tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "bit", "year"}
    | {"date", "datetime", "time", "uuid"}
)
BY_BYTES = frozenset(
    {"char", "varchar", "tinytext", "text", "mediumtext", "longtext", "binary", "varbinary"}
    | {"tinyblob", "blob", "mediumblob", "longblob", "enum", "set", "json"}
)
EXISTING = """
SELECT trigger_name, event_object_table, event_manipulation, action_timing, action_statement
FROM information_schema.triggers
WHERE trigger_schema = DATABASE() AND LEFT(trigger_name, 12) = 'cachelayers_'
"""


class Column(NamedTuple):
    """A column of a table."""

    name: str
    is_key: bool
    type: str
    is_generated: bool


def locations_of(
    connection: BaseDatabaseWrapper, tables: Iterable[TrackedTable], *, everywhere: bool
) -> Iterator[TableLocation]:
    """Yield the tables that hold rows of tracked tables.

    This does not use Django's features, which would run a statement and so call this again.
    """
    columns: dict[str, list[Column]] = {}
    ignores_case = False
    for name, column, key, of_type, is_generated, lower_case in fetch_rows(connection, TABLES):
        found = Column(column, key == "PRI", str(of_type).lower(), bool(is_generated))
        columns.setdefault(name, []).append(found)
        ignores_case = bool(lower_case)
    there = {name.lower() if ignores_case else name: name for name in columns}
    for table in tables:
        plain = table.name.strip("`")
        name = there.get(plain.lower() if ignores_case else plain)
        if name is not None:
            sql, own = connection.ops.quote_name(name), columns[name]
            fitting = fit(
                table,
                {column.name for column in own if column.is_key},
                {column.name for column in own if not column.is_generated},
            )
            yield TableLocation(fitting, name, sql, name.lower(), is_changed=changed_row(name, own))


def changed_row(table: str, columns: Sequence[Column]) -> str:
    """Return the condition on which an UPDATE has changed a row; "": a type is not known.

    Last: the table has columns that another program has added. This is looked up only for rows
    that are unchanged otherwise.
    """
    if not all(column.type in BY_VALUE | BY_BYTES | {"float", "double"} for column in columns):
        return ""
    changes = [changed_column(column) for column in columns if not column.is_generated]
    number = (
        "SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = DATABASE()"
        f" AND table_name = {mysql_literal(table)}"
    )
    return f"{' OR '.join(changes)} OR ({number}) <> {len(columns)}"


def changed_column(column: Column) -> str:
    """Return the condition on which a column's value has changed. As numbers, 0 and -0 are one."""
    new, old = (f"{row}.{quoted(column.name)}" for row in ("NEW", "OLD"))
    by_value = f"NOT ({new} <=> {old})"
    by_bytes = f"NOT (CAST({new} AS BINARY) <=> CAST({old} AS BINARY))"
    if column.type in BY_VALUE:
        return by_value
    return by_bytes if column.type in BY_BYTES else f"{by_value} OR {by_bytes}"


def quoted(name: str) -> str:
    """Return a name as in a statement."""
    return "`" + name.replace("`", "``") + "`"


def triggers_for(
    connection: BaseDatabaseWrapper, locations: Iterable[TableLocation]
) -> Iterator[Trigger]:
    """Yield the triggers that tables need."""
    children = read_cascades(connection)
    tracked = tracked_tables(connection.alias)
    for location in locations:
        reached = tables_cascaded_from(children, location.name)
        swept = [name for name in sorted(tracked) if name.lower() in reached]
        yield from triggers_of(location, swept, connection.ops.quote_name)


def triggers_of(
    location: TableLocation, swept: Iterable[str], quote: Callable[[str], str]
) -> Iterator[Trigger]:
    """Yield the triggers of one table, which also log the tables that its cascades change."""
    table = location.table
    for event, rows in ROWS_OF_EVENT.items():
        others = () if event == "insert" else swept
        swept_tags = [
            mysql_literal(tag(other)) for other in others for tag in (table_tag, all_rows_tag)
        ]
        whole = log_tags(
            [
                mysql_literal(table_tag(table.name)),
                mysql_literal(all_rows_tag(table.name)),
                *swept_tags,
            ]
        )
        first, *former = rows
        work = log_tags([*tags_of(table, first), *swept_tags])
        work += "".join(log_moves(table, first, row) for row in former)
        if event == "update" and location.is_changed:
            work = f"IF {location.is_changed} THEN {work} END IF;"
        body = f"BEGIN {WITHOUT_LOG} {WITHOUT_COLUMN.format(whole=whole)} {work} END"
        name = name_for(event, table.name, body)
        creation = (
            f"CREATE TRIGGER {quote(name)} AFTER {event.upper()} ON {location.sql}"
            f" FOR EACH ROW {body}"
        )
        installed = Installed(name, location.name, (event.upper(), "AFTER", body))
        yield Trigger(installed, location, (creation,))


def log_tags(tags: Iterable[str]) -> str:
    """Return the statement that logs the tags of expressions."""
    values = ", ".join(f"({tag}, {NOW_MS['mysql']})" for tag in tags)
    return f"INSERT INTO {quoted(LOG)} (tag, at) VALUES {values};"


def tags_of(table: TrackedTable, row: str) -> Iterator[str]:
    """Yield the expressions of the tags that a row has."""
    yield mysql_literal(table_tag(table.name))
    if table.key_column is None:
        yield mysql_literal(all_rows_tag(table.name))
    for start, column in keyed_tags(table):
        yield tag_expression(table, start, f"{row}.{quoted(column.name)}", column)


def log_moves(table: TrackedTable, row: str, former: str) -> str:
    """Return the statements that log the tags which only the former row has."""
    moves = []
    for start, column in keyed_tags(table):
        old = f"{former}.{quoted(column.name)}"
        tag = tag_expression(table, start, old, column)
        is_moved = f"NOT ({old} <=> {row}.{quoted(column.name)})"
        moves.append(f" IF {is_moved} THEN {log_tags([tag])} END IF;")
    return "".join(moves)


def tag_expression(table: TrackedTable, start: str, value: str, column: KeyedColumn) -> str:
    """Return the expression of the tag that a value in a keyed column has.

    NULL has none. In its place, the table's is logged once more: to select the others from a
    query would take MariaDB longer than to insert it.
    """
    text = f"LOWER(REPLACE({value}, '-', ''))" if column.kind is KeyKind.UUID else value
    instead = mysql_literal(table_tag(table.name))
    return f"COALESCE(CONCAT({mysql_literal(start)}, {text}), {instead})"


def read_cascades(connection: BaseDatabaseWrapper) -> dict[str, set[str]]:
    """Return the tables to which InnoDB's cascades write, by the table to which they refer."""
    children: dict[str, set[str]] = {}
    for parent, child in fetch_rows(connection, CASCADES):
        children.setdefault(parent.lower(), set()).add(child.lower())
    return children


def tables_cascaded_from(children: Mapping[str, set[str]], table: str) -> set[str]:
    """Return the lower-case tables that a deletion from a table may reach by cascades."""
    reached: set[str] = set()
    open_names = {table.lower()}
    while open_names:
        found = children.get(open_names.pop(), set()) - reached
        reached |= found
        open_names |= found
    return reached


def existing(connection: BaseDatabaseWrapper) -> Iterator[Found]:
    """Yield all our triggers."""
    for name, table, event, timing, body in fetch_rows(connection, EXISTING):
        removal = f"DROP TRIGGER IF EXISTS {connection.ops.quote_name(name)}"
        yield Found(Installed(name, table, (event, timing, body)), table.lower(), True, removal)


def leftovers(connection: BaseDatabaseWrapper) -> list[str]:
    """Return statements that remove what triggers have left: none here."""
    return []
