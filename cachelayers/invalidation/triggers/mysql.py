"""Triggers on MySQL and MariaDB: one row at a time, and not for what InnoDB's cascades do.

So the trigger of a row that others hang on by ON DELETE or ON UPDATE logs those tables as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.invalidation.dialects import LOG, NOW_MS
from cachelayers.invalidation.driver import rows_of
from cachelayers.invalidation.tags import all_rows_tag, row_tag, table_tag
from cachelayers.invalidation.tracked import KeyKind, TrackedTable, tracked_tables
from cachelayers.invalidation.triggers.definitions import Trigger, mysql_literal, name_for

ROWS_OF_EVENT = {"insert": ("NEW",), "update": ("OLD", "NEW"), "delete": ("OLD",)}
CASCADES = """
SELECT referenced_table_name, table_name FROM information_schema.referential_constraints
WHERE constraint_schema = DATABASE()
  AND (delete_rule NOT IN ('RESTRICT', 'NO ACTION') OR update_rule NOT IN ('RESTRICT', 'NO ACTION'))
"""


def triggers_for(
    connection: BaseDatabaseWrapper, tables: Iterable[TrackedTable]
) -> Iterable[Trigger]:
    """Yield the triggers that tables are to have."""
    children = read_cascades(connection)
    tracked = tracked_tables(connection.alias)
    for table in tables:
        reached = tables_swept_with(children, table.name)
        swept = [name for name in sorted(tracked) if name.lower() in reached]
        yield from triggers_of(table, swept, connection.ops.quote_name)


def triggers_of(
    table: TrackedTable, swept: Iterable[str], quote: Callable[[str], str]
) -> Iterable[Trigger]:
    """Yield the triggers of one table, which log the tables swept with it too."""
    for event, rows in ROWS_OF_EVENT.items():
        tags = list(tags_of(table, rows, quote("x")[0]))
        if event != "insert":
            for other in swept:
                tags += [mysql_literal(table_tag(other)), mysql_literal(all_rows_tag(other))]
        values = ", ".join(f"({tag}, {NOW_MS['mysql']})" for tag in tags)
        body = f"INSERT INTO {quote(LOG)} (tag, at) VALUES {values}"
        name = name_for(event, table.name, body)
        creation = (
            f"CREATE TRIGGER {quote(name)} AFTER {event.upper()} ON {quote(table.name)}"
            f" FOR EACH ROW {body}"
        )
        yield Trigger(name, table.name, (creation,))


def tags_of(table: TrackedTable, rows: Iterable[str], mark: str) -> Iterable[str]:
    """Yield the expressions of the tags that a change of one row logs."""
    yield mysql_literal(table_tag(table.name))
    if table.key_column is not None:
        for row in rows:
            column = f"{row}.{mark}{table.key_column}{mark}"
            is_uuid = table.key_kind is KeyKind.UUID
            text = f"LOWER(REPLACE({column}, '-', ''))" if is_uuid else column
            yield f"CONCAT({mysql_literal(row_tag(table.name, ''))}, {text})"


def read_cascades(connection: BaseDatabaseWrapper) -> dict[str, set[str]]:
    """Return the tables that InnoDB itself writes to, by the table that they refer to."""
    children: dict[str, set[str]] = {}
    for parent, child in rows_of(connection, CASCADES):
        children.setdefault(parent.lower(), set()).add(child.lower())
    return children


def tables_swept_with(children: Mapping[str, set[str]], table: str) -> set[str]:
    """Return the tables, in lower case, that a deletion from a table may reach by cascades."""
    reached: set[str] = set()
    open_names = {table.lower()}
    while open_names:
        found = children.get(open_names.pop(), set()) - reached
        reached |= found
        open_names |= found
    return reached


def existing(connection: BaseDatabaseWrapper) -> list[tuple[str, str]]:
    """Return name and table of every trigger of ours."""
    statement = (
        "SELECT trigger_name, event_object_table FROM information_schema.triggers"
        " WHERE trigger_schema = DATABASE() AND LEFT(trigger_name, 12) = 'cachelayers_'"
    )
    return [(name, table) for name, table in rows_of(connection, statement)]


def drop(connection: BaseDatabaseWrapper, name: str, table: str) -> list[str]:
    """Return the statements that drop a trigger."""
    return [f"DROP TRIGGER IF EXISTS {connection.ops.quote_name(name)}"]
