"""Triggers on PostgreSQL. They run once per statement, with the changed rows as a table.

Logical replication applies rows instead of statements, so each table also has a trigger per row for
replicating sessions. A partition, or a table that inherits from a tracked one, may be written
directly: it has triggers too, which log the tracked table.

The functions are in the log's schema, and tables of one name in several schemas share them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.invalidation.dialects import LOG, NOW_MS
from cachelayers.invalidation.own_statements import fetch_rows
from cachelayers.invalidation.tags import all_rows_tag, row_tag, table_tag
from cachelayers.invalidation.tracked import KeyKind, TrackedTable, without_schema
from cachelayers.invalidation.triggers.definitions import (
    Found,
    Installed,
    TableLocation,
    Trigger,
    fit_key,
    literal,
    name_for,
)

BULK_ROWS = 100  # a statement with more rows logs "all rows"
TRANSITIONS = {
    "insert": ("NEW TABLE AS changed",),
    "update": ("OLD TABLE AS changed", "NEW TABLE AS changed_to"),
    "delete": ("OLD TABLE AS changed",),
}
# Their pg_trigger.tgtype, and the sessions in which they run.
KINDS = {
    "insert": (4, "O"),
    "update": (16, "O"),
    "delete": (8, "O"),
    "truncate": (32, "A"),
    "replica": (1 + 4 + 8 + 16, "R"),
}
ENABLE = {"A": "ALWAYS ", "R": "REPLICA "}
SYSTEM = "('pg_catalog', 'information_schema')"
# A name means the table of to_regclass(), as in a statement of this connection. `everywhere` also
# means the tables of that name in other schemas, unless those have their own log.
PLACES = """
WITH RECURSIVE named (name, oid, is_meant) AS (
  SELECT v.name, to_regclass(v.quoted)::oid, true FROM (VALUES {names}) AS v (name, quoted, bare)
  UNION
  SELECT v.name, c.oid, false FROM (VALUES {names}) AS v (name, quoted, bare)
  JOIN pg_class c ON c.relname = v.bare::name JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE {everywhere} AND c.oid IS DISTINCT FROM to_regclass(v.quoted)::oid
    AND c.relpersistence <> 't' AND n.nspname NOT IN {system}
    AND NOT EXISTS (SELECT FROM pg_class l WHERE l.relname = '{log}'
                    AND l.relnamespace = c.relnamespace AND l.oid <> to_regclass('{log}'))
), family (name, is_meant, root, oid) AS (
  SELECT name, is_meant, oid, oid FROM named WHERE oid IS NOT NULL
  UNION
  SELECT f.name, f.is_meant, f.root, i.inhrelid
  FROM family f JOIN pg_inherits i ON i.inhparent = f.oid
)
SELECT f.name, f.is_meant, f.root, f.oid, format('%I.%I', n.nspname, c.relname),
  c.relname, c.relispartition, c.relkind = 'p' OR c.relhassubclass,
  ARRAY(SELECT a.attname::text FROM pg_index x
        JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = ANY (x.indkey)
        WHERE x.indrelid = f.root AND x.indisprimary)
FROM family f JOIN pg_class c ON c.oid = f.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
"""
EXISTING = """
SELECT t.tgname, format('%I.%I', n.nspname, c.relname), t.tgtype, t.tgenabled::text, p.prosrc,
  c.relname, pg_table_is_visible(c.oid)
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_proc p ON p.oid = t.tgfoid
LEFT JOIN pg_class l ON l.oid = to_regclass('{log}')
WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND left(t.tgname, 12) = 'cachelayers_'
  AND COALESCE(p.pronamespace = l.relnamespace, pg_table_is_visible(c.oid))
"""
LEFTOVERS = """
SELECT p.oid::regprocedure::text FROM pg_proc p
LEFT JOIN pg_class l ON l.oid = to_regclass('{log}')
WHERE p.proname ~ '^cachelayers_[a-z]+_[0-9a-f]{{16}}$'
  AND COALESCE(p.pronamespace = l.relnamespace, pg_function_is_visible(p.oid))
  AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgfoid = p.oid)
"""


def locations_of(
    connection: BaseDatabaseWrapper, tables: Iterable[TrackedTable], *, everywhere: bool
) -> Iterator[TableLocation]:
    """Yield the tables that hold rows of tracked tables, with partitions and inheriting tables."""
    by_name = {table.name: table for table in tables}
    if not by_name:
        return
    statement = PLACES.format(
        names=", ".join(
            f"({literal(name)}, {literal(connection.ops.quote_name(name))},"
            # A table whose name contains the schema has no others.
            f" {literal('' if without_schema(name) != name else name)})"
            for name in by_name
        ),
        everywhere="true" if everywhere else "false",
        system=SYSTEM,
        log=LOG,
    )
    rows = fetch_rows(connection, statement)
    roots = {oid: name for name, _, root, oid, *_ in rows if root == oid}
    within: dict[int, set[str]] = {}
    for _, _, root, oid, *_ in rows:
        if oid in roots and oid != root:
            within.setdefault(root, set()).add(roots[oid])
    for name, is_meant, root, _, sql, bare, is_partition, is_divided, keys in rows:
        table, others = fit_key(by_name[name], keys), tuple(sorted(within.get(root, ())))
        yield TableLocation(
            table, sql, sql, bare.lower(), others, is_meant, is_partition, is_divided
        )


def triggers_for(
    connection: BaseDatabaseWrapper, locations: Iterable[TableLocation]
) -> Iterator[Trigger]:
    """Yield the triggers that tables need."""
    schema = schema_of_log(connection)
    for location in locations:
        yield from triggers_of(location, schema, connection.ops.quote_name)


def triggers_of(
    location: TableLocation, schema: str, quote: Callable[[str], str]
) -> Iterator[Trigger]:
    """Yield the triggers of one table. The log is in a schema."""
    target = f"{quote(schema)}.{quote(LOG)}"
    for event, (kind, mode) in KINDS.items():
        if event == "replica" and location.is_partition:
            continue  # PostgreSQL itself gives it the partitioned table's row trigger
        body = function_body(event, location, target)
        name = name_for(event, location.table.name, body)
        transitions = TRANSITIONS.get(event)
        referencing = f" REFERENCING {' '.join(transitions)}" if transitions else ""
        function = f"{quote(schema)}.{quote(name)}"
        moment = (
            f"AFTER INSERT OR UPDATE OR DELETE ON {location.sql} FOR EACH ROW"
            if event == "replica"
            else f"AFTER {event.upper()} ON {location.sql}{referencing} FOR EACH STATEMENT"
        )
        # With the owner's rights: a role that may write the table need not be allowed to write the
        # log.
        make_function = (
            f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql"
            f" SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS {literal(body)}"
        )
        make_trigger = f"CREATE TRIGGER {quote(name)} {moment} EXECUTE FUNCTION {function}()"
        creation = [make_function, make_trigger]
        if mode in ENABLE:
            creation.append(
                f"ALTER TABLE {location.sql} ENABLE {ENABLE[mode]}TRIGGER {quote(name)}"
            )
        installed = Installed(name, location.name, (kind, mode, body))
        yield Trigger(installed, location, tuple(creation))


def function_body(event: str, location: TableLocation, target: str) -> str:
    """Return the function that runs after one kind of statement.

    Without a log, a write goes on.
    """
    table = location.table
    swept = [tag for name in location.within for tag in (table_tag(name), all_rows_tag(name))]
    everything = [table_tag(table.name), all_rows_tag(table.name), *swept]
    whole = log_tags(target, values_of(everything))
    is_by_row = table.key_column is not None and event != "truncate"
    if event == "truncate" or (event == "replica" and not is_by_row):
        work = whole
    elif not is_by_row:
        work = f"IF EXISTS (SELECT 1 FROM changed) THEN {whole} END IF;"
    else:
        rows = log_tags(
            target,
            f"SELECT {literal(row_tag(table.name, ''))} || key FROM unnest(keys) AS key"
            f" UNION ALL {values_of([table_tag(table.name), *swept])}",
        )
        work = (
            f"SELECT array_agg(key) INTO keys FROM ({keys_changed(event, table)}) AS chosen;"
            " IF keys IS NULL THEN RETURN NULL; END IF;"
            f" IF cardinality(keys) > {BULK_ROWS} THEN {whole} ELSE {rows} END IF;"
        )
    return (
        f"{'DECLARE keys text[]; ' if is_by_row else ''}BEGIN"
        f" IF to_regclass({literal(target)}) IS NULL THEN RETURN NULL; END IF;"
        f" {work} RETURN NULL; END"
    )


def values_of(tags: Iterable[str]) -> str:
    """Return the query of some tags."""
    return f"VALUES {', '.join(f'({literal(tag)})' for tag in tags)}"


def keys_changed(event: str, table: TrackedTable) -> str:
    """Return the query of the changed rows' keys, each once."""
    column = '"' + str(table.key_column).replace('"', '""') + '"'

    def text(of: str) -> str:
        plain = f"{of}{column}::text"
        return f"lower(replace({plain}, '-', ''))" if table.key_kind is KeyKind.UUID else plain

    if event == "replica":  # OLD or NEW is NULL where it does not exist
        both = f"SELECT {text('OLD.')} AS key UNION SELECT {text('NEW.')}"
        return f"SELECT key FROM ({both}) AS changed WHERE key IS NOT NULL"
    if event == "update":
        return (
            f"SELECT {text('')} AS key FROM changed UNION SELECT {text('')} FROM changed_to"
            f" LIMIT {BULK_ROWS + 1}"
        )
    return f"SELECT DISTINCT {text('')} AS key FROM changed LIMIT {BULK_ROWS + 1}"


def log_tags(target: str, query: str) -> str:
    """Return the statement that logs the tags of a query, once per transaction."""
    return (
        f"INSERT INTO {target} (position, tag, at)"
        f" SELECT pg_current_xact_id()::text::bigint, tag, {NOW_MS['postgresql']}"
        f" FROM ({query}) AS tags (tag) ON CONFLICT (position, tag) DO NOTHING;"
    )


def schema_of_log(connection: BaseDatabaseWrapper) -> str:
    """Return the schema of the log."""
    statement = (
        "SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        f" WHERE c.oid = to_regclass('{LOG}')"
    )
    [(schema,)] = fetch_rows(connection, statement)
    return str(schema)


def existing(connection: BaseDatabaseWrapper) -> Iterator[Found]:
    """Yield every trigger that logs to this connection's log, in any schema.

    Without a log, those on the tables that its statements mean.
    """
    quote = connection.ops.quote_name
    for name, location, kind, mode, body, bare, is_in_search_path in fetch_rows(
        connection, EXISTING.format(log=LOG)
    ):
        yield Found(
            Installed(name, location, (kind, mode, body)),
            bare.lower(),
            is_in_search_path,
            f"DROP TRIGGER IF EXISTS {quote(name)} ON {location}",
        )


def leftovers(connection: BaseDatabaseWrapper) -> list[str]:
    """Return statements that remove our functions that no trigger uses any more."""
    functions = fetch_rows(connection, LEFTOVERS.format(log=LOG))
    return [f"DROP FUNCTION IF EXISTS {function}" for (function,) in functions]
