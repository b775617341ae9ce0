"""Triggers on PostgreSQL: once per statement, with the rows it has changed as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.invalidation.dialects import LOG, NOW_MS
from cachelayers.invalidation.driver import rows_of
from cachelayers.invalidation.tags import all_rows_tag, row_tag, table_tag
from cachelayers.invalidation.tracked import KeyKind, TrackedTable
from cachelayers.invalidation.triggers.definitions import Trigger, literal, name_for

BULK_ROWS = 100  # one statement logs that many rows; of more it logs "all rows"
TRANSITIONS = {
    "insert": ("NEW TABLE AS changed",),
    "update": ("OLD TABLE AS changed", "NEW TABLE AS changed_to"),
    "delete": ("OLD TABLE AS changed",),
}


def triggers_for(
    connection: BaseDatabaseWrapper, tables: Iterable[TrackedTable]
) -> Iterable[Trigger]:
    """Yield the triggers that tables are to have, each with a function of its own."""
    schema = schema_of_log(connection)
    for table in tables:
        yield from triggers_of(table, schema, connection.ops.quote_name)


def triggers_of(table: TrackedTable, schema: str, quote: Callable[[str], str]) -> Iterable[Trigger]:
    """Yield the triggers of one table; the log is in a schema."""
    target = f"{quote(schema)}.{quote(LOG)}"
    for event in ("insert", "update", "delete", "truncate"):
        body = function_body(event, table, target)
        name = name_for(event, table.name, body)
        transitions = TRANSITIONS.get(event)
        referencing = f" REFERENCING {' '.join(transitions)}" if transitions else ""
        function = f"{quote(schema)}.{quote(name)}"
        # As its owner: whoever may write the table need not be allowed to write the log.
        make_function = (
            f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql"
            f" SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS {literal(body)}"
        )
        make_trigger = (
            f"CREATE TRIGGER {quote(name)} AFTER {event.upper()} ON {quote(table.name)}"
            f"{referencing} FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
        )
        yield Trigger(name, table.name, (make_function, make_trigger))


def function_body(event: str, table: TrackedTable, target: str) -> str:
    """Return the function that one kind of statement runs after it."""
    everything = f"({literal(table_tag(table.name))}), ({literal(all_rows_tag(table.name))})"
    whole = log_tags(target, f"VALUES {everything}")
    if event == "truncate":
        return f"BEGIN {whole} RETURN NULL; END"
    only_table = log_tags(target, f"VALUES ({literal(table_tag(table.name))})")
    if table.key_column is None:
        return f"BEGIN IF EXISTS (SELECT 1 FROM changed) THEN {only_table} END IF; RETURN NULL; END"
    keys = keys_changed(event, table)
    rows = log_tags(
        target,
        f"SELECT {literal(row_tag(table.name, ''))} || key FROM unnest(keys) AS key"
        f" UNION ALL SELECT {literal(table_tag(table.name))}",
    )
    return (
        "DECLARE keys text[]; BEGIN"
        f" SELECT array_agg(key) INTO keys FROM ({keys} LIMIT {BULK_ROWS + 1}) AS chosen;"
        " IF keys IS NULL THEN RETURN NULL; END IF;"
        f" IF cardinality(keys) > {BULK_ROWS} THEN {whole} ELSE {rows} END IF;"
        " RETURN NULL; END"
    )


def keys_changed(event: str, table: TrackedTable) -> str:
    """Return the query of the keys of the rows that a statement has changed, each once."""
    column = '"' + str(table.key_column).replace('"', '""') + '"'
    text = f"{column}::text"
    if table.key_kind is KeyKind.UUID:
        text = f"lower(replace({text}, '-', ''))"
    parts = [f"SELECT {text} AS key FROM changed"]
    if event == "update":
        parts.append(f"SELECT {text} FROM changed_to")
    return (
        " UNION ".join(parts) if len(parts) > 1 else f"SELECT DISTINCT {text} AS key FROM changed"
    )


def log_tags(target: str, query: str) -> str:
    """Return the statement that logs the tags of a query, once per transaction."""
    return (
        f"INSERT INTO {target} (position, tag, at)"
        f" SELECT pg_current_xact_id()::text::bigint, tag, {NOW_MS['postgresql']}"
        f" FROM ({query}) AS tags (tag) ON CONFLICT (position, tag) DO NOTHING;"
    )


def schema_of_log(connection: BaseDatabaseWrapper) -> str:
    """Return the schema in which the log is."""
    statement = (
        "SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        f" WHERE c.oid = to_regclass('{LOG}')"
    )
    [(schema,)] = rows_of(connection, statement)
    return str(schema)


def existing(connection: BaseDatabaseWrapper) -> list[tuple[str, str]]:
    """Return name and table of every trigger of ours that is enabled."""
    statement = (
        "SELECT t.tgname, c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
        " WHERE NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')"
        " AND left(t.tgname, 12) = 'cachelayers_' AND pg_table_is_visible(c.oid)"
    )
    return [(name, table) for name, table in rows_of(connection, statement)]


def drop(connection: BaseDatabaseWrapper, name: str, table: str) -> list[str]:
    """Return the statements that drop a trigger and its function."""
    quote = connection.ops.quote_name
    return [
        f"DROP TRIGGER IF EXISTS {quote(name)} ON {quote(table)}",
        f"DROP FUNCTION IF EXISTS {quote(schema_of_log(connection))}.{quote(name)}()",
    ]
