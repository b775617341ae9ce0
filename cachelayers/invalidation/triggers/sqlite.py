"""Triggers on SQLite. They run per row; `installing` creates them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.invalidation.dialects import LOG, NOW_MS
from cachelayers.invalidation.own_statements import fetch_rows
from cachelayers.invalidation.tags import all_rows_tag, row_tag, table_tag
from cachelayers.invalidation.tracked import KeyKind, TrackedTable
from cachelayers.invalidation.triggers.definitions import (
    Found,
    Installed,
    TableLocation,
    Trigger,
    fit_key,
    literal,
    name_for,
)

ROWS_OF_EVENT = {"insert": ("NEW",), "update": ("NEW", "OLD"), "delete": ("OLD",)}
KEYS = """
SELECT m.name, k.name FROM sqlite_master m JOIN pragma_table_info(m.name) k ON k.pk > 0
WHERE m.type = 'table'
"""
# The column of an expression has no name.
UNIQUES = """
SELECT m.name, i.name, c.name, c.coll FROM sqlite_master m
JOIN pragma_index_list(m.name) i ON i."unique" AND i.origin <> 'pk'
JOIN pragma_index_xinfo(i.name) c ON c.key
WHERE m.type = 'table' ORDER BY m.name, i.name, c.seqno
"""
TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL %'"
EXISTING = """
SELECT name, tbl_name, sql FROM sqlite_master
WHERE type = 'trigger' AND substr(name, 1, 12) = 'cachelayers_'
"""


class UniqueColumn(NamedTuple):
    """A column of a unique index, with its collation."""

    name: str | None
    collation: str


def locations_of(
    connection: BaseDatabaseWrapper, tables: Iterable[TrackedTable], *, everywhere: bool
) -> Iterator[TableLocation]:
    """Yield the tables that hold rows of tracked tables."""
    keys: dict[str, set[str]] = {}
    for table, column in fetch_rows(connection, KEYS):
        keys.setdefault(table.lower(), set()).add(column)
    there = {name.lower(): name for (name,) in fetch_rows(connection, TABLES)}
    for table in tables:
        lower = table.name.strip('"').lower()
        if (name := there.get(lower)) is not None:
            fitting = fit_key(table, keys.get(lower, ()))
            yield TableLocation(fitting, name, connection.ops.quote_name(name), name.lower())


def triggers_for(
    connection: BaseDatabaseWrapper, locations: Iterable[TableLocation]
) -> Iterator[Trigger]:
    """Yield the triggers that tables need."""
    uniques = read_uniques(connection)
    for location in locations:
        yield from triggers_of(location, uniques.get(location.name, ()), connection.ops.quote_name)


def triggers_of(
    location: TableLocation, uniques: Iterable[Sequence[UniqueColumn]], quote: Callable[[str], str]
) -> Iterator[Trigger]:
    """Yield the triggers of one table."""
    for event, rows in ROWS_OF_EVENT.items():
        body = " ".join(log_tag(tag) for tag in tags_of(location.table, rows))
        yield trigger(
            event, f"AFTER {event.upper()} ON {location.sql} FOR EACH ROW", body, location
        )
    named = [columns for columns in uniques if all(column.name for column in columns)]
    if location.table.key_column is None or not named:
        return
    body = log_replaced_row(location.table, location.sql, named)
    columns = ", ".join(
        sorted({quote(str(column.name)) for columns in named for column in columns})
    )
    yield trigger("inway", f"BEFORE INSERT ON {location.sql} FOR EACH ROW", body, location)
    yield trigger(
        "upway", f"BEFORE UPDATE OF {columns} ON {location.sql} FOR EACH ROW", body, location
    )


def trigger(event: str, moment: str, body: str, location: TableLocation) -> Trigger:
    """Return a trigger. SQLite stores the statement unchanged."""
    name = name_for(event, location.table.name, body)
    creation = f'CREATE TRIGGER "{name}" {moment} BEGIN {body} END'
    installed = Installed(name, location.name, (creation,))
    return Trigger(installed, location, (creation,))


def tags_of(table: TrackedTable, rows: Sequence[str]) -> Iterator[str]:
    """Yield the expressions of the tags that a change of one row logs. NULL logs nothing."""
    yield literal(table_tag(table.name))
    if table.key_column is None:
        yield literal(all_rows_tag(table.name))
        return
    first, *others = [f'{row}."{table.key_column}"' for row in rows]
    yield row_expression(table, first)
    for other in others:  # a changed key: both the old and the new row
        yield f"CASE WHEN {other} IS NOT {first} THEN {row_expression(table, other)} END"


def row_expression(table: TrackedTable, column: str) -> str:
    """Return the expression of a row's tag."""
    text = f"lower(replace({column}, '-', ''))" if table.key_kind is KeyKind.UUID else column
    return f"{literal(row_tag(table.name, ''))} || {text}"


def log_replaced_row(
    table: TrackedTable, sql: str, uniques: Iterable[Sequence[UniqueColumn]]
) -> str:
    """Return the statement that logs the rows which REPLACE may delete.

    REPLACE deletes them without a trigger. A row with the same primary key is logged as the new
    row.
    """
    conditions = " OR ".join(
        "("
        + " AND ".join(f'o."{one.name}" = NEW."{one.name}" COLLATE {one.collation}' for one in some)
        + ")"
        for some in uniques
    )
    key = f'"{table.key_column}"'
    return (
        f"INSERT INTO {LOG} (tag, at) SELECT {row_expression(table, f'o.{key}')},"
        f" {NOW_MS['sqlite']} FROM {sql} AS o WHERE ({conditions}) AND o.{key} IS NOT NEW.{key};"
    )


def log_tag(tag: str) -> str:
    """Return the statement that logs the tag of an expression, unless it is NULL."""
    return (
        f"INSERT INTO {LOG} (tag, at) SELECT t, {NOW_MS['sqlite']} FROM (SELECT {tag} AS t)"
        " WHERE t IS NOT NULL;"
    )


def read_uniques(connection: BaseDatabaseWrapper) -> Mapping[str, list[list[UniqueColumn]]]:
    """Return the columns of each unique index except the primary key's, by table."""
    found: dict[str, dict[str, list[UniqueColumn]]] = {}
    for table, index, column, collation in fetch_rows(connection, UNIQUES):
        columns = found.setdefault(table, {}).setdefault(index, [])
        columns.append(UniqueColumn(column, collation))
    return {table: list(indexes.values()) for table, indexes in found.items()}


def existing(connection: BaseDatabaseWrapper) -> Iterator[Found]:
    """Yield all our triggers."""
    for name, table, sql in fetch_rows(connection, EXISTING):
        installed = Installed(name, table, (sql,))
        yield Found(installed, table.lower(), True, f'DROP TRIGGER IF EXISTS "{name}"')


def leftovers(connection: BaseDatabaseWrapper) -> list[str]:
    """Return statements that remove what triggers have left: none here."""
    return []
