"""Triggers on SQLite: one row at a time. Called by installing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.invalidation.dialects import LOG, NOW_MS
from cachelayers.invalidation.driver import rows_of
from cachelayers.invalidation.tags import row_tag, table_tag
from cachelayers.invalidation.tracked import KeyKind, TrackedTable
from cachelayers.invalidation.triggers.definitions import Trigger, literal, name_for

ROWS_OF_EVENT = {"insert": ("NEW",), "update": ("NEW", "OLD"), "delete": ("OLD",)}


def triggers_for(
    connection: BaseDatabaseWrapper, tables: Iterable[TrackedTable]
) -> Iterable[Trigger]:
    """Yield the triggers that tables are to have."""
    for table in tables:
        yield from triggers_of(table, connection.ops.quote_name)


def triggers_of(table: TrackedTable, quote: Callable[[str], str]) -> Iterable[Trigger]:
    """Yield the triggers of one table."""
    for event, rows in ROWS_OF_EVENT.items():
        body = " ".join(log_tag(tag) for tag in tags_of(table, rows))
        name = name_for(event, table.name, body)
        creation = (
            f"CREATE TRIGGER {quote(name)} AFTER {event.upper()} ON {quote(table.name)}"
            f" FOR EACH ROW BEGIN {body} END"
        )
        yield Trigger(name, table.name, (creation,))


def tags_of(table: TrackedTable, rows: Sequence[str]) -> Iterable[str]:
    """Yield the expressions of the tags that a change of one row logs; NULL logs nothing."""
    yield literal(table_tag(table.name))
    if table.key_column is None:
        return
    first, *others = [f'{row}."{table.key_column}"' for row in rows]
    yield row_expression(table, first)
    for other in others:  # a key that was changed: the row was there, and is here
        yield f"CASE WHEN {other} IS NOT {first} THEN {row_expression(table, other)} END"


def row_expression(table: TrackedTable, column: str) -> str:
    """Return the expression of a row's tag."""
    text = f"lower(replace({column}, '-', ''))" if table.key_kind is KeyKind.UUID else column
    return f"{literal(row_tag(table.name, ''))} || {text}"


def log_tag(tag: str) -> str:
    """Return the statement that logs the tag of an expression; none where it is NULL."""
    return (
        f"INSERT INTO {LOG} (tag, at) SELECT t, {NOW_MS['sqlite']} FROM (SELECT {tag} AS t)"
        " WHERE t IS NOT NULL;"
    )


def existing(connection: BaseDatabaseWrapper) -> list[tuple[str, str]]:
    """Return name and table of every trigger of ours."""
    statement = (
        "SELECT name, tbl_name FROM sqlite_master"
        " WHERE type = 'trigger' AND substr(name, 1, 12) = 'cachelayers_'"
    )
    return [(name, table) for name, table in rows_of(connection, statement)]


def drop(connection: BaseDatabaseWrapper, name: str, table: str) -> list[str]:
    """Return the statements that drop a trigger."""
    return [f"DROP TRIGGER IF EXISTS {connection.ops.quote_name(name)}"]
