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
from cachelayers.invalidation.tags import all_rows_tag, table_tag
from cachelayers.invalidation.tracked import KeyedColumn, KeyKind, TrackedTable, without_schema
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

# A statement that changes more rows, or logs more tags, logs "all rows" instead.
BULK_ROWS = 100
BULK_TAGS = 300
LONGEST_TAG = 255
ONCE = 'array_agg(DISTINCT tag COLLATE "C")'
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
        WHERE x.indrelid = f.root AND x.indisprimary),
  ARRAY(SELECT a.attname::text FROM pg_attribute a
        WHERE a.attrelid = f.oid AND a.attnum > 0 AND NOT a.attisdropped),
  c.relkind = 'r' AND c.relhassubclass
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
    for (
        name,
        is_meant,
        root,
        _,
        sql,
        bare,
        is_partition,
        is_divided,
        keys,
        columns,
        is_inherited,
    ) in rows:
        others = tuple(sorted(within.get(root, ())))
        table = fit(by_name[name], keys, columns)
        # A trigger of a table that inherits may change columns which the parent's rows lack.
        is_changed = "" if is_inherited else "*<>"
        yield TableLocation(
            table, sql, sql, bare.lower(), others, is_meant, is_partition, is_divided, is_changed
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
        some = log_tags(
            target,
            f"SELECT unnest(tags) UNION ALL {values_of([table_tag(table.name), *swept])}",
        )
        work = (
            f"{tags_changed(event, location)} IF tags IS NULL THEN RETURN NULL; END IF;"
            f" IF number > {BULK_ROWS} OR cardinality(tags) > {BULK_TAGS}"
            f" THEN {whole} ELSE {some} END IF;"
        )
    return (
        f"{'DECLARE number bigint; tags text[]; ' if is_by_row else ''}BEGIN"
        f" IF to_regclass({literal(target)}) IS NULL THEN RETURN NULL; END IF;"
        f" {work} RETURN NULL; END"
    )


def values_of(tags: Iterable[str]) -> str:
    """Return the query of some tags."""
    return f"VALUES {', '.join(f'({literal(tag)})' for tag in tags)}"


def tags_changed(event: str, location: TableLocation) -> str:
    """Return the statements that find the number of changed rows, and their tags, each once."""
    columns = list(enumerate(keyed_tags(location.table)))
    if event == "replica":  # OLD or NEW is NULL where it does not exist
        unchanged = "IF TG_OP = 'UPDATE' AND OLD *= NEW THEN RETURN NULL; END IF; "
        tags = ", ".join(
            f"({tag_expression(start, f'{row}.{quoted(column.name)}', column)})"
            for _, (start, column) in columns
            for row in ("OLD", "NEW")
        )
        return (
            f"{unchanged if location.is_changed else ''}SELECT 1, {ONCE} INTO number, tags"
            f" FROM (VALUES {tags}) AS all_tags (tag) WHERE tag IS NOT NULL;"
        )
    rows = ("o", "n") if event == "update" else ("o",)
    chosen = ", ".join(
        f"{row}.{quoted(column.name)} AS {row}{number}"
        for number, (_, column) in columns
        for row in rows
    )
    tags = ", ".join(
        f"({tag_expression(start, f'{row}{number}', column)})"
        for number, (start, column) in columns
        for row in rows
    )
    return (
        f"WITH chosen AS MATERIALIZED (SELECT {chosen} FROM {changed_rows(event, location)}"
        f" LIMIT {BULK_ROWS + 1})"
        f" SELECT (SELECT count(*) FROM chosen), {ONCE} INTO number, tags"
        f" FROM chosen CROSS JOIN LATERAL (VALUES {tags}) AS all_tags (tag) WHERE tag IS NOT NULL;"
    )


def changed_rows(event: str, location: TableLocation) -> str:
    """Return what stands after FROM, to select the changed rows.

    An UPDATE's old and new rows are joined by their key, and compared by their bytes, because not
    every type has an equality. Rows without a partner count as changed. A full join is never a
    nested loop, whose time would grow with the square of the rows.
    """
    if event != "update":
        return "changed AS o"
    key = quoted(str(location.table.key_column))
    condition = " WHERE (o.* *<> n.*) IS NOT FALSE" if location.is_changed else ""
    return f"changed AS o FULL JOIN changed_to AS n ON o.{key} = n.{key}{condition}"


def tag_expression(start: str, value: str, column: KeyedColumn) -> str:
    """Return the expression of the tag that a value in a keyed column has.

    If it does not fit into the log, no statement depends on it either.
    """
    if column.kind is KeyKind.UUID:
        return f"{literal(start)} || lower(replace({value}::text, '-', ''))"
    tag = f"{literal(start)} || {value}::text"
    return f"left({tag}, {LONGEST_TAG})" if column.kind is KeyKind.TEXT else tag


def quoted(name: str) -> str:
    """Return a name as in a statement."""
    return '"' + name.replace('"', '""') + '"'


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
