"""Triggers on MySQL and MariaDB. They run per row, and not for InnoDB's cascades.

So the trigger of a row to which others refer by ON DELETE or ON UPDATE logs their tables too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.invalidation.dialects import LOG, NOW_MS
from cachelayers.invalidation.own_statements import fetch_rows
from cachelayers.invalidation.tags import all_rows_tag, row_tag, table_tag
from cachelayers.invalidation.tracked import KeyKind, TrackedTable, tracked_tables
from cachelayers.invalidation.triggers.definitions import (
    Found,
    Installed,
    TableLocation,
    Trigger,
    fit_key,
    mysql_literal,
    name_for,
)

ROWS_OF_EVENT = {"insert": ("NEW",), "update": ("OLD", "NEW"), "delete": ("OLD",)}
# Without a log, a write goes on.
WITHOUT_LOG = "DECLARE CONTINUE HANDLER FOR 1146 BEGIN END;"
CASCADES = """
SELECT referenced_table_name, table_name FROM information_schema.referential_constraints
WHERE constraint_schema = DATABASE()
  AND (delete_rule NOT IN ('RESTRICT', 'NO ACTION') OR update_rule NOT IN ('RESTRICT', 'NO ACTION'))
"""
TABLES = """
SELECT t.table_name, c.column_name, @@lower_case_table_names FROM information_schema.tables t
LEFT JOIN information_schema.columns c ON c.table_schema = t.table_schema
  AND c.table_name = t.table_name AND c.column_key = 'PRI'
WHERE t.table_schema = DATABASE() AND t.table_type = 'BASE TABLE'
"""
EXISTING = """
SELECT trigger_name, event_object_table, event_manipulation, action_timing, action_statement
FROM information_schema.triggers
WHERE trigger_schema = DATABASE() AND LEFT(trigger_name, 12) = 'cachelayers_'
"""


def locations_of(
    connection: BaseDatabaseWrapper, tables: Iterable[TrackedTable], *, everywhere: bool
) -> Iterator[TableLocation]:
    """Yield the tables that hold rows of tracked tables.

    This does not use Django's features, which would run a statement and so call this again.
    """
    keys: dict[str, set[str]] = {}
    ignores_case = False
    for name, column, lower_case in fetch_rows(connection, TABLES):
        keys.setdefault(name, set()).add(column)
        ignores_case = bool(lower_case)
    there = {name.lower() if ignores_case else name: name for name in keys}
    for table in tables:
        plain = table.name.strip("`")
        name = there.get(plain.lower() if ignores_case else plain)
        if name is not None:
            sql = connection.ops.quote_name(name)
            yield TableLocation(fit_key(table, keys[name]), name, sql, name.lower())


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
        tags = list(tags_of(table, rows, quote("x")[0]))
        if event != "insert":
            for other in swept:
                tags += [mysql_literal(table_tag(other)), mysql_literal(all_rows_tag(other))]
        values = ", ".join(f"({tag}, {NOW_MS['mysql']})" for tag in tags)
        body = f"BEGIN {WITHOUT_LOG} INSERT INTO {quote(LOG)} (tag, at) VALUES {values}; END"
        name = name_for(event, table.name, body)
        creation = (
            f"CREATE TRIGGER {quote(name)} AFTER {event.upper()} ON {location.sql}"
            f" FOR EACH ROW {body}"
        )
        installed = Installed(name, location.name, (event.upper(), "AFTER", body))
        yield Trigger(installed, location, (creation,))


def tags_of(table: TrackedTable, rows: Iterable[str], mark: str) -> Iterator[str]:
    """Yield the expressions of the tags that a change of one row logs."""
    yield mysql_literal(table_tag(table.name))
    if table.key_column is None:
        yield mysql_literal(all_rows_tag(table.name))
        return
    for row in rows:
        column = f"{row}.{mark}{table.key_column}{mark}"
        is_uuid = table.key_kind is KeyKind.UUID
        text = f"LOWER(REPLACE({column}, '-', ''))" if is_uuid else column
        yield f"CONCAT({mysql_literal(row_tag(table.name, ''))}, {text})"


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
