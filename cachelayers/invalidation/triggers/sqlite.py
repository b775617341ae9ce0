"""Triggers on SQLite. They run per row; `installing` creates them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.invalidation.dialects import LOG, NOW_MS
from cachelayers.invalidation.own_statements import fetch_rows
from cachelayers.invalidation.tags import all_rows_tag, table_tag
from cachelayers.invalidation.tracked import KeyedColumn, KeyKind, TrackedTable
from cachelayers.invalidation.triggers.definitions import (
    Found,
    Installed,
    TableLocation,
    Trigger,
    fit,
    keyed_tags,
    literal,
    name_for,
)

ROWS_OF_EVENT = {"insert": ("NEW",), "update": ("NEW", "OLD"), "delete": ("OLD",)}
NOW = NOW_MS["sqlite"]
# Statements that log more tags than these log "all rows" instead.
BULK_TAGS = 300
# While a statement runs, SQLite keeps here the log's highest id from before it.
ID_BEFORE = f"(SELECT seq FROM sqlite_sequence WHERE name = '{LOG}')"
IS_BULK = f"(SELECT MAX(id) FROM {LOG}) - {ID_BEFORE} >= {BULK_TAGS}"
# With generated columns, whose values triggers may read.
COLUMNS = """
SELECT m.name, m.sql, c.name, c.type, c.pk FROM sqlite_master m
JOIN pragma_table_xinfo(m.name) c
WHERE m.type = 'table' AND m.sql NOT LIKE 'CREATE VIRTUAL %'
"""
# The column of an expression has no name.
UNIQUES = """
SELECT m.name, i.name, c.name, c.coll FROM sqlite_master m
JOIN pragma_index_list(m.name) i ON i."unique"
JOIN pragma_index_xinfo(i.name) c ON c.key
WHERE m.type = 'table' ORDER BY m.name, i.name, c.seqno
"""
EXISTING = """
SELECT name, tbl_name, sql FROM sqlite_master
WHERE type = 'trigger' AND substr(name, 1, 12) = 'cachelayers_'
"""


class UniqueColumn(NamedTuple):
    """A column of a unique index, with its collation."""

    name: str | None
    collation: str


class Column(NamedTuple):
    """A column of a table."""

    name: str
    type: str
    is_key: bool


class Definition(NamedTuple):
    """A table of the file."""

    name: str
    sql: str
    columns: list[Column]


def locations_of(
    connection: BaseDatabaseWrapper, tables: Iterable[TrackedTable], *, everywhere: bool
) -> Iterator[TableLocation]:
    """Yield the tables that hold rows of tracked tables."""
    there: dict[str, Definition] = {}
    for name, sql, column, of_type, key in fetch_rows(connection, COLUMNS):
        known = there.setdefault(name.lower(), Definition(name, sql, []))
        known.columns.append(Column(column, of_type, key > 0))
    for table in tables:
        if (found := there.get(table.name.strip('"').lower())) is not None:
            keys = {column.name for column in found.columns if column.is_key}
            yield TableLocation(
                fit(table, keys, {column.name for column in found.columns}),
                found.name,
                connection.ops.quote_name(found.name),
                found.name.lower(),
                is_changed=changed_row(found),
            )


def changed_row(table: Definition) -> str:
    """Return the condition on which an UPDATE has changed a row.

    Last: the table has columns that another program has added. This is looked up only for rows
    that are unchanged otherwise.
    """
    collation = " COLLATE BINARY" if "collate" in table.sql.lower() else ""
    is_same = (
        f"SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = {literal(table.name)}"
        f" AND sql = {literal(table.sql)}"
    )
    changes = [change for column in table.columns for change in changes_of(column, collation)]
    return f"{' OR '.join(changes)} OR NOT EXISTS ({is_same})"


def changes_of(column: Column, collation: str) -> Iterator[str]:
    """Yield the conditions on which a column's value has changed.

    A column without an affinity stores 1, 1.0 and '1' as they are, and -0.0 beside 0.0.
    """
    new, old = of_row("NEW", column.name), of_row("OLD", column.name)
    yield f"{new}{collation} IS NOT {old}{collation}"
    if column.type.upper() in {"", "ANY"} or "BLOB" in column.type.upper():
        yield f"typeof({new}) IS NOT typeof({old}) OR typeof({new}) = 'real'"


def of_row(row: str, column: str) -> str:
    """Return a column of a row, as in a statement."""
    return f"{row}.{quoted(column)}"


def quoted(name: str) -> str:
    """Return a name as in a statement.

    >>> quoted('a"b')
    '"a""b"'
    """
    return '"' + name.replace('"', '""') + '"'


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
    table = location.table
    for event, rows in ROWS_OF_EVENT.items():
        conditions = (
            [f"({location.is_changed})"] if event == "update" and location.is_changed else []
        )
        conditions += [is_unlogged(table)] if table.columns else []
        when = f" WHEN {' AND '.join(conditions)}" if conditions else ""
        moment = f"AFTER {event.upper()} ON {location.sql} FOR EACH ROW{when}"
        yield trigger(event, moment, log_row(table, rows), location)
    yield from triggers_on_replacing(location, uniques)


def triggers_on_replacing(
    location: TableLocation, uniques: Iterable[Sequence[UniqueColumn]]
) -> Iterator[Trigger]:
    """Yield the triggers that log the rows which REPLACE deletes without a trigger."""
    table = location.table
    if table.key_column is None:
        return
    named = [columns for columns in uniques if all(column.name for column in columns)]
    key = [UniqueColumn(table.key_column, "BINARY")]
    if table.columns and key not in named:
        named = [key, *named]
    if all(columns == key for columns in named) and not table.columns:
        return  # it is logged as the new row
    chosen = sorted({quoted(str(column.name)) for columns in named for column in columns})
    for event, moment in (
        ("inway", "BEFORE INSERT"),
        ("upway", f"BEFORE UPDATE OF {', '.join(chosen)}"),
    ):
        body = log_replaced_row(location, named, event)
        yield trigger(event, f"{moment} ON {location.sql} FOR EACH ROW", body, location)


def trigger(event: str, moment: str, body: str, location: TableLocation) -> Trigger:
    """Return a trigger. SQLite stores the statement unchanged."""
    name = name_for(event, location.table.name, body)
    creation = f'CREATE TRIGGER "{name}" {moment} BEGIN {body} END'
    installed = Installed(name, location.name, (creation,))
    return Trigger(installed, location, (creation,))


def is_unlogged(table: TrackedTable) -> str:
    """Return the condition on which the running statement has not logged all rows of a table.

    Then they are the log's last row. A statement runs within one moment of its clock.
    """
    return (
        f"NOT EXISTS (SELECT 1 FROM {LOG} WHERE id = (SELECT MAX(id) FROM {LOG})"
        f" AND tag = {literal(all_rows_tag(table.name))} AND at = {NOW} AND id > {ID_BEFORE})"
    )


def log_row(table: TrackedTable, rows: Sequence[str]) -> str:
    """Return the statement that logs the change of one row. NULL logs nothing.

    A table with slices has many tags. In bulk it logs all rows instead: each tag stands in a pair
    with what is logged then.
    """
    tags = tags_of(table, rows)
    chosen, values = "column1", [f"({tag})" for tag in tags]
    if table.columns:
        whole = [literal(table_tag(table.name)), literal(all_rows_tag(table.name))]
        instead = [*whole, *["NULL"] * (len(tags) - len(whole))]
        chosen = f"CASE WHEN {IS_BULK} THEN column2 ELSE column1 END"
        values = [f"({tag}, {other})" for tag, other in zip(tags, instead, strict=True)]
    return (
        f"INSERT INTO {LOG} (tag, at) SELECT t, {NOW}"
        f" FROM (SELECT {chosen} AS t FROM (VALUES {', '.join(values)})) WHERE t IS NOT NULL;"
    )


def tags_of(table: TrackedTable, rows: Sequence[str]) -> list[str]:
    """Return the expressions of the tags that a change of one row logs: old and new values."""
    if table.key_column is None:
        return [literal(table_tag(table.name)), literal(all_rows_tag(table.name))]
    first, *others = rows
    found = [literal(table_tag(table.name))]
    for start, column in keyed_tags(table):
        value = of_row(first, column.name)
        found.append(tag_expression(start, value, column))
        for other in others:
            former = of_row(other, column.name)
            tag = tag_expression(start, former, column)
            found.append(
                f"CASE WHEN {former} COLLATE BINARY IS NOT {value} COLLATE BINARY THEN {tag} END"
            )
    return found


def tag_expression(start: str, value: str, column: KeyedColumn) -> str:
    """Return the expression of the tag that a value in a keyed column has."""
    text = f"lower(replace({value}, '-', ''))" if column.kind is KeyKind.UUID else value
    return f"{literal(start)} || {text}"


def log_replaced_row(
    location: TableLocation, uniques: Iterable[Sequence[UniqueColumn]], event: str
) -> str:
    """Return the statement that logs the rows which REPLACE may delete, with their slices."""
    table = location.table
    conditions = " OR ".join(
        "("
        + " AND ".join(
            f"{of_row('o', str(one.name))} = {of_row('NEW', str(one.name))} COLLATE {one.collation}"
            for one in some
        )
        + ")"
        for some in uniques
    )
    key = str(table.key_column)
    # Without slices, a row with the same key is logged as the new one.
    itself = "OLD" if event == "upway" else "NEW"
    if event == "upway" or not table.columns:
        conditions = f"({conditions}) AND {of_row('o', key)} IS NOT {of_row(itself, key)}"
    tags = [
        tag_expression(start, of_row("o", column.name), column)
        for start, column in keyed_tags(table)
    ]
    choice = " ".join(f"WHEN {number} THEN {tag}" for number, tag in enumerate(tags))
    numbers = ", ".join(f"({number})" for number in range(len(tags)))
    return (
        f"INSERT INTO {LOG} (tag, at) SELECT t, {NOW} FROM (SELECT CASE k.column1 {choice} END AS t"
        f" FROM {location.sql} AS o CROSS JOIN (VALUES {numbers}) AS k WHERE {conditions})"
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
