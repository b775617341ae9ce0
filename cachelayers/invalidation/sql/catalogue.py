"""Read a database's catalogue: tables, views, functions, rules, and what they read.

The SQL analysis loads it, and loads it again after changes of the schema.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise, takewhile
from typing import Any

import django.db
from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.invalidation.dialects import LOG
from cachelayers.invalidation.own_statements import fetch_rows
from cachelayers.invalidation.sql.statements import names_of
from cachelayers.invalidation.sql.tokens import PURE_ON_SQLITE, read_tokens
from cachelayers.invalidation.tracked import KeyedColumn, KeyKind, TrackedTable
from cachelayers.invalidation.triggers.definitions import literal
from cachelayers.utils.answers import Undo, is_in_transaction, undone_at_failure
from cachelayers.utils.time_limits import Limit, has_psycopg3, limit_alone, limit_in_transaction


@dataclass(frozen=True, slots=True)
class Details:
    """Lower-case names of a database, with what they contain."""

    views: Mapping[str, str] = field(default_factory=dict)  # their definitions
    unread: frozenset[str] = frozenset()  # views whose definition was not available in time
    # The users' functions and procedures; None if the body cannot be read or is not SQL.
    functions: Mapping[str, str | None] = field(default_factory=dict)
    # Other functions that are not known to return the same result each time.
    impure: frozenset[str] = frozenset()
    temporary: frozenset[str] = frozenset()
    secured: frozenset[str] = frozenset()  # tables with row-level security
    secured_now: frozenset[str] = frozenset()  # those where it applies to the current role
    # Tracked tables, and their keyed columns, that do not compare values by their text.
    odd_keys: frozenset[str] = frozenset()
    odd_columns: frozenset[tuple[str, str]] = frozenset()


def load_details(connection: BaseDatabaseWrapper, tables: Iterable[TrackedTable]) -> Details:
    load = {
        "sqlite": load_sqlite_details,
        "postgresql": load_postgres_details,
        "mysql": load_mysql_details,
    }
    tables = list(tables)
    keyed = [(table.name, column) for table in tables for column in table.keyed]
    details = load[connection.vendor](connection, keyed)
    odd = details.odd_columns
    return replace(
        details,
        odd_keys=frozenset(one.name for one in tables if (one.name, one.key_column) in odd),
    )


Rows = Mapping[str, list[tuple[str, str | None]]]
Keyed = list[tuple[str, KeyedColumn]]  # with the names of their tables


def rows_by_kind(connection: BaseDatabaseWrapper, statement: str) -> Rows:
    """Return a statement's rows by their first column."""
    found: dict[str, list[tuple[str, str | None]]] = {}
    for kind, name, text in fetch_rows(connection, statement):
        found.setdefault(kind, []).append((name.lower(), text))
    return found


def names_among(rows: Rows, kind: str) -> frozenset[str]:
    """Return the names of one kind."""
    return frozenset(name for name, _ in rows.get(kind, []))


def bodies_among(rows: Rows) -> dict[str, str | None]:
    """Return the bodies of functions, joined if several share a name, or None."""
    found: dict[str, str | None] = {}
    for name, body in rows.get("function", []):
        known = found.get(name, "")
        found[name] = None if known is None or not body else f"{known};{body}"
    return found


# SQLite

SQLITE_DETAILS = """
SELECT type, name, sql FROM sqlite_master WHERE type IN ('table', 'view')
UNION ALL SELECT 'temporary', name, sql FROM sqlite_temp_master
UNION ALL SELECT 'impure', name, NULL FROM pragma_function_list
WHERE NOT builtin AND NOT flags & 0x800
"""


def load_sqlite_details(connection: BaseDatabaseWrapper, keyed: Keyed) -> Details:
    """Read definitions, and the functions that Python gives to the connection."""
    rows = rows_by_kind(connection, SQLITE_DETAILS)
    columns = {name: columns_in(sql or "") for name, sql in rows.get("table", [])}
    return Details(
        views={name: sql or "" for name, sql in rows.get("view", [])},
        impure=names_among(rows, "impure") - PURE_ON_SQLITE,
        temporary=names_among(rows, "temporary"),
        odd_columns=frozenset(
            (table, column.name)
            for table, column in keyed
            if not is_plain_on_sqlite(column, columns.get(table.strip('"').lower(), {}))
        ),
    )


# The words after a column's type.
AFTER_TYPE = frozenset(
    {"constraint", "primary", "not", "null", "unique", "check", "default", "collate"}
    | {"references", "generated", "as", "("}
)


def is_plain_on_sqlite(column: KeyedColumn, columns: Mapping[str, list[str]]) -> bool:
    """Return whether a column has its kind's affinity, and no collation."""
    words = columns.get(column.name.lower())
    if words is None or column.kind is KeyKind.UUID:
        return words is not None
    of_type = " ".join(takewhile(lambda word: word not in AFTER_TYPE, words))
    if column.kind is KeyKind.INTEGER:
        return "int" in of_type
    is_text = "int" not in of_type and any(part in of_type for part in ("char", "text", "clob"))
    return is_text and "collate" not in words


def columns_in(definition: str) -> dict[str, list[str]]:
    """Return the lower-case words of each column's definition, by its name."""
    found: dict[str, list[str]] = {}
    depth, current, begins = 0, list[str](), False
    for token in read_tokens(definition, "sqlite"):
        depth += (token.word == "(") - (token.word == ")")
        if depth == 1 and token.word in {"(", ","}:
            begins = True
        elif begins:
            current = found.setdefault(token.text.lower(), [])
            begins = False
        elif depth:
            current.append(token.word)
    return found


# PostgreSQL

# To show a definition, PostgreSQL locks the view and its tables. While a migration holds such a
# lock, that would wait for it. So the lock is looked for first, and waited for briefly if it comes
# in between.
POSTGRES_VIEWS = """
WITH locked (relation) AS MATERIALIZED (
  SELECT l.relation FROM pg_locks l JOIN pg_database b ON b.oid = l.database
  WHERE b.datname = current_database() AND l.locktype = 'relation'
    AND l.mode = 'AccessExclusiveLock' AND l.pid <> pg_backend_pid()
)
SELECT c.relname, CASE WHEN c.oid NOT IN (SELECT relation FROM locked) AND NOT EXISTS (
    SELECT 1 FROM pg_rewrite r
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
      AND d.refclassid = 'pg_class'::regclass
    WHERE r.ev_class = c.oid AND d.refobjid IN (SELECT relation FROM locked)
  ) THEN pg_get_viewdef(c.oid) END
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'v' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                  AND d.objid = c.oid AND d.deptype = 'e')
"""
POSTGRES_VIEW_NAMES = "SELECT relname, NULL FROM pg_class WHERE relkind = 'v'"
POSTGRES_LOCK_SECONDS = 0.1
POSTGRES_DETAILS = """
SELECT CASE WHEN row_security_active(c.oid) THEN 'secured now' ELSE 'secured' END, c.relname, NULL
FROM pg_class c WHERE c.relrowsecurity
UNION ALL
SELECT 'temporary', c.relname, NULL FROM pg_class c
WHERE c.relpersistence = 't' AND c.relkind IN ('r', 'v', 'p')
UNION ALL
SELECT CASE WHEN u.is_own THEN 'impure' ELSE 'function' END, p.proname,
  CASE WHEN l.lanname IN ('sql', 'plpgsql') THEN p.prosrc END
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
JOIN pg_language l ON l.oid = p.prolang
CROSS JOIN LATERAL (SELECT n.nspname = 'pg_catalog' OR EXISTS (
    SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass
    AND d.objid = p.oid AND d.deptype = 'e')) AS u (is_own)
WHERE n.nspname <> 'information_schema' AND p.proname NOT LIKE 'cachelayers%'
  AND p.prorettype <> 'trigger'::regtype AND (NOT u.is_own OR p.provolatile = 'v')
"""
POSTGRES_KEYS = """
SELECT k.number, t.typname, COALESCE(l.collisdeterministic, TRUE) FROM (VALUES {keys})
  AS k (number, relation, name)
JOIN pg_attribute a ON a.attrelid = to_regclass(k.relation) AND a.attname = k.name
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_collation l ON l.oid = a.attcollation
"""
POSTGRES_TYPES = {
    KeyKind.INTEGER: {"int2", "int4", "int8"},
    KeyKind.TEXT: {"text", "varchar"},
    KeyKind.UUID: {"uuid", "text", "varchar", "bpchar"},
}


def load_postgres_details(connection: BaseDatabaseWrapper, keyed: Keyed) -> Details:
    rows = rows_by_kind(connection, POSTGRES_DETAILS)
    secured_now = names_among(rows, "secured now")
    views = views_on_postgres(connection)
    return Details(
        views={name.lower(): text or "" for name, text in views},
        unread=frozenset(name.lower() for name, text in views if text is None),
        functions=bodies_among(rows),
        impure=names_among(rows, "impure"),
        temporary=names_among(rows, "temporary"),
        secured=secured_now | names_among(rows, "secured"),
        secured_now=secured_now,
        odd_columns=odd_on_postgres(connection, keyed),
    )


def views_on_postgres(connection: BaseDatabaseWrapper) -> list[tuple[Any, ...]]:
    """Return the views' names and definitions, with None for a definition that takes too long."""
    limit = Limit()
    if has_psycopg3(connection):  # psycopg2 reads one answer of a message
        limit = (
            limit_in_transaction(connection, POSTGRES_LOCK_SECONDS)
            if is_in_transaction(connection)
            else limit_alone(connection, POSTGRES_LOCK_SECONDS, in_bulk=True)
        )
    statement = f"{limit.before}{POSTGRES_VIEWS.strip()}{limit.after}"
    try:
        with undone_at_failure(connection, Undo(limit.undo)):
            return fetch_rows(connection, statement, answers_before=limit.answers_before)
    except django.db.Error:
        return fetch_rows(connection, POSTGRES_VIEW_NAMES)


def odd_on_postgres(connection: BaseDatabaseWrapper, keyed: Keyed) -> frozenset[tuple[str, str]]:
    """Return the columns whose type does not compare values by their text."""
    if not keyed:
        return frozenset()
    quote: Callable[[str], str] = connection.ops.quote_name
    keys = ", ".join(
        f"({number}, {literal(quote(table))}, {literal(column.name)})"
        for number, (table, column) in enumerate(keyed)
    )
    rows = fetch_rows(connection, POSTGRES_KEYS.format(keys=keys))
    plain = {
        number
        for number, of_type, is_deterministic in rows
        if keyed[number][1].kind is KeyKind.UUID
        or (is_deterministic and of_type in POSTGRES_TYPES.get(keyed[number][1].kind, ()))
    }
    return frozenset(
        (table, column.name) for number, (table, column) in enumerate(keyed) if number not in plain
    )


# MySQL and MariaDB

MYSQL_DETAILS = """
SELECT 'view', table_name, view_definition FROM information_schema.views
WHERE table_schema = DATABASE()
UNION ALL
SELECT 'function', routine_name, routine_definition FROM information_schema.routines
WHERE routine_schema = DATABASE()
"""
MYSQL_KEYS = """
SELECT table_name, column_name, data_type FROM information_schema.columns
WHERE table_schema = DATABASE() AND LOCATE('zerofill', column_type) = 0
"""
MYSQL_INTEGERS = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint"})


def load_mysql_details(connection: BaseDatabaseWrapper, keyed: Keyed) -> Details:
    rows = rows_by_kind(connection, MYSQL_DETAILS)
    types = {
        (table.lower(), column.lower()): data_type.lower()
        for table, column, data_type in fetch_rows(connection, MYSQL_KEYS)
    }
    return Details(
        views={name: text or "" for name, text in rows.get("view", [])},
        functions=bodies_among(rows),
        odd_columns=frozenset(
            (table, column.name)
            for table, column in keyed
            if column.kind is KeyKind.INTEGER
            and types.get((table.strip("`").lower(), column.name.lower())) not in MYSQL_INTEGERS
        ),
    )


OUR_PREFIX = "cachelayers_"  # of triggers


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The lower-case names in a database, with what they stand for."""

    tables: frozenset[str]
    views: Mapping[str, frozenset[str]]  # the tables that each view reads, also through other views
    functions: frozenset[str]  # the users' functions and procedures
    # Tables whose writes change other tables, by others' triggers, rules or cascades.
    far_reaching: frozenset[str]
    has_log: bool  # tables that the connection's statements mean


def load_catalogue(connection: BaseDatabaseWrapper) -> Catalogue:
    return {"sqlite": load_sqlite, "postgresql": load_postgres, "mysql": load_mysql}[
        connection.vendor
    ](connection)


def expand(views: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """Return the tables that each view reads in the end. Circular views end the search."""
    found = {}
    for view in views:
        seen: set[str] = set()
        open_names = set(views[view])
        while open_names:
            name = open_names.pop()
            if name not in seen:
                seen.add(name)
                open_names |= views.get(name, frozenset())
        found[view] = frozenset(seen - views.keys())
    return found


# SQLite

SQLITE = """
SELECT type, name, tbl_name, sql FROM sqlite_master
UNION ALL SELECT type, name, tbl_name, sql FROM sqlite_temp_master
"""
SQLITE_INDEXES = "SELECT name, tbl_name FROM sqlite_master WHERE type = 'index'"


def tables_of_indexes(connection: BaseDatabaseWrapper, names: frozenset[str]) -> frozenset[str]:
    """Return the lower-case tables of the indexes among names, in an SQLite file."""
    rows = fetch_rows(connection, SQLITE_INDEXES)
    return frozenset(table.lower() for name, table in rows if name.lower() in names)


def load_sqlite(connection: BaseDatabaseWrapper) -> Catalogue:
    """Read sqlite_master, which holds definitions as they were written."""
    rows = fetch_rows(connection, SQLITE)
    tables = frozenset(name.lower() for kind, name, _, _ in rows if kind == "table")
    views = {name.lower(): names_of(sql, "sqlite") for kind, name, _, sql in rows if kind == "view"}
    known = tables | views.keys()
    far = {
        table.lower()
        for kind, name, table, _ in rows
        if kind == "trigger" and not name.startswith(OUR_PREFIX)
    }
    for kind, _, _, sql in rows:
        if kind == "table" and sql and has_cascade(sql):
            far |= referenced_tables(sql)
    return Catalogue(
        tables,
        expand({view: (names & known) - {view} for view, names in views.items()}),
        frozenset(),
        frozenset(far),
        LOG in tables,
    )


def has_cascade(sql: str) -> bool:
    """Return whether a table's definition has a foreign key by which the database writes to it."""
    text = " ".join(sql.lower().split())
    return any(
        f"on {event} {action}" in text
        for event in ("delete", "update")
        for action in ("cascade", "set null", "set default")
    )


def referenced_tables(sql: str) -> set[str]:
    """Return the tables to which a definition's foreign keys refer."""
    tokens = [token for token in read_tokens(sql, "sqlite") if token.is_name]
    return {
        token.text.lower()
        for before, token in pairwise(tokens)
        if before.text.lower() == "references" and not before.is_quoted
    }


# PostgreSQL

POSTGRES = f"""
SELECT c.relkind::text, c.relname, NULL
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f', 'm', 'v')
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg_toast%'
UNION ALL
SELECT 'uses', v.relname, t.relname FROM pg_class v
JOIN pg_rewrite r ON r.ev_class = v.oid
JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
  AND d.refclassid = 'pg_class'::regclass
JOIN pg_class t ON t.oid = d.refobjid AND t.oid <> v.oid
WHERE v.relkind = 'v'
UNION ALL
-- Rows of a partition, and of a table that inherits, are rows of another too.
SELECT 'uses', c.relname, p.relname FROM pg_inherits i
JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
WHERE p.relkind IN ('r', 'p')
UNION ALL
SELECT 'far', p.relname, NULL FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent
WHERE p.relkind IN ('r', 'p')
UNION ALL
SELECT 'log', '{LOG}', NULL WHERE to_regclass('{LOG}') IS NOT NULL
UNION ALL
SELECT 'function', p.proname, NULL FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND p.proname NOT LIKE 'cachelayers%'
  AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass
                  AND d.objid = p.oid AND d.deptype = 'e')
UNION ALL
SELECT 'far', c.relname, NULL FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE NOT t.tgisinternal AND t.tgname NOT LIKE 'cachelayers%'
UNION ALL
SELECT 'far', c.relname, NULL FROM pg_constraint k JOIN pg_class c ON c.oid = k.confrelid
WHERE k.contype = 'f' AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd'))
UNION ALL
SELECT 'far', c.relname, NULL FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
WHERE r.rulename <> '_RETURN' AND r.ev_type <> '1'
"""


def load_postgres(connection: BaseDatabaseWrapper) -> Catalogue:
    """Read the system catalogue, which knows what views depend on."""
    rows = fetch_rows(connection, POSTGRES)
    by_kind: dict[str, list[tuple[str, str]]] = {}
    for kind, name, used in rows:
        by_kind.setdefault(kind, []).append((name.lower(), (used or "").lower()))
    views: dict[str, frozenset[str]] = {name: frozenset() for name, _ in by_kind.get("v", [])}
    for name, used in by_kind.get("uses", []):
        views[name] = views.get(name, frozenset()) | {used}
    return Catalogue(
        frozenset(name for kind in "rpfm" for name, _ in by_kind.get(kind, [])),
        expand(views),
        frozenset(name for name, _ in by_kind.get("function", [])),
        frozenset(name for name, _ in by_kind.get("far", [])),
        "log" in by_kind,
    )


# MySQL and MariaDB

MYSQL = """
SELECT 'table', table_name, NULL FROM information_schema.tables
WHERE table_schema = DATABASE() AND table_type <> 'VIEW'
UNION ALL
SELECT 'view', table_name, view_definition FROM information_schema.views
WHERE table_schema = DATABASE()
UNION ALL
SELECT 'function', routine_name, NULL FROM information_schema.routines
WHERE routine_schema = DATABASE()
UNION ALL
SELECT 'far', event_object_table, NULL FROM information_schema.triggers
WHERE trigger_schema = DATABASE() AND trigger_name NOT LIKE 'cachelayers%'
UNION ALL
SELECT 'far', referenced_table_name, NULL FROM information_schema.referential_constraints
WHERE constraint_schema = DATABASE()
  AND (delete_rule NOT IN ('RESTRICT', 'NO ACTION') OR update_rule NOT IN ('RESTRICT', 'NO ACTION'))
"""


def load_mysql(connection: BaseDatabaseWrapper) -> Catalogue:
    """Read the information schema. A view's definition says what it reads."""
    by_kind: dict[str, list[tuple[str, str]]] = {}
    for kind, name, definition in fetch_rows(connection, MYSQL):
        by_kind.setdefault(kind, []).append((name.lower(), definition or ""))
    tables = frozenset(name for name, _ in by_kind.get("table", []))
    views = {name: names_of(definition, "mysql") for name, definition in by_kind.get("view", [])}
    known = tables | views.keys()
    return Catalogue(
        tables,
        expand({view: (names & known) - {view} for view, names in views.items()}),
        frozenset(name for name, _ in by_kind.get("function", [])),
        frozenset(name for name, _ in by_kind.get("far", [])),
        LOG in tables,
    )
