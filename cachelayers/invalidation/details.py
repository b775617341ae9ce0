"""Ask a database what the text of a statement cannot tell: what is in views and functions, which
rows a role may see, which tables are temporary, and how keys are compared.

Loaded by footprints together with the catalogue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import django.db
from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.answers import Undo, is_in_transaction, undone_at_failure
from cachelayers.invalidation.driver import rows_of
from cachelayers.invalidation.functions import PURE_ON_SQLITE
from cachelayers.invalidation.tokens import read_tokens
from cachelayers.invalidation.tracked import KeyKind, TrackedTable
from cachelayers.invalidation.triggers.definitions import literal
from cachelayers.limits import Limit, has_psycopg3, limit_alone, limit_in_transaction


@dataclass(frozen=True, slots=True)
class Details:
    """What a database's names have in them; names in lower case."""

    views: Mapping[str, str] = field(default_factory=dict)  # their definitions
    unread: frozenset[str] = frozenset()  # views whose definition could not be had in time
    # The users' functions and procedures; None where the body cannot be read, or is no SQL.
    functions: Mapping[str, str | None] = field(default_factory=dict)
    # Functions that are not the users', and not known to return the same each time.
    impure: frozenset[str] = frozenset()
    temporary: frozenset[str] = frozenset()
    secured: frozenset[str] = frozenset()  # tables with row-level security
    secured_now: frozenset[str] = frozenset()  # those where it applies to the present role
    # Tracked tables whose key column compares values otherwise than by what they are written as.
    odd_keys: frozenset[str] = frozenset()


def load_details(connection: BaseDatabaseWrapper, tables: Iterable[TrackedTable]) -> Details:
    """Return the present ones."""
    load = {"sqlite": load_sqlite, "postgresql": load_postgres, "mysql": load_mysql}
    keyed = [table for table in tables if table.key_column is not None]
    return load[connection.vendor](connection, keyed)


Rows = Mapping[str, list[tuple[str, str | None]]]


def rows_by_kind(connection: BaseDatabaseWrapper, statement: str) -> Rows:
    """Return what a statement finds, by its first column."""
    found: dict[str, list[tuple[str, str | None]]] = {}
    for kind, name, text in rows_of(connection, statement):
        found.setdefault(kind, []).append((name.lower(), text))
    return found


def names_among(rows: Rows, kind: str) -> frozenset[str]:
    """Return the names of one kind."""
    return frozenset(name for name, _ in rows.get(kind, []))


def bodies_among(rows: Rows) -> dict[str, str | None]:
    """Return the bodies of functions; of several with one name all, or None."""
    found: dict[str, str | None] = {}
    for name, body in rows.get("function", []):
        known = found.get(name, "")
        found[name] = None if known is None or not body else f"{known};{body}"
    return found


# SQLite

SQLITE = """
SELECT type, name, sql FROM sqlite_master WHERE type IN ('table', 'view')
UNION ALL SELECT 'temporary', name, sql FROM sqlite_temp_master
UNION ALL SELECT 'impure', name, NULL FROM pragma_function_list
WHERE NOT builtin AND NOT flags & 0x800
"""


def load_sqlite(connection: BaseDatabaseWrapper, keyed: list[TrackedTable]) -> Details:
    """Read definitions; functions are those that Python gives to the connection."""
    rows = rows_by_kind(connection, SQLITE)
    definitions = {name: sql or "" for name, sql in rows.get("table", [])}
    return Details(
        views={name: sql or "" for name, sql in rows.get("view", [])},
        impure=names_among(rows, "impure") - PURE_ON_SQLITE,
        temporary=names_among(rows, "temporary"),
        odd_keys=frozenset(
            table.name
            for table in keyed
            if not is_plain_on_sqlite(table, definitions.get(table.name.lower(), ""))
        ),
    )


def is_plain_on_sqlite(table: TrackedTable, definition: str) -> bool:
    """Tell whether a definition gives the key column the affinity of its kind, and no collation."""
    tokens = read_tokens(definition, "sqlite")
    words = [token.word for token in tokens]
    column = str(table.key_column).lower()
    types = [
        words[at + 1]
        for at, token in enumerate(tokens[:-1])
        if token.is_name and token.text.lower() == column and words[at - 1] in {"(", ","}
    ]
    if table.key_kind is KeyKind.UUID:
        return True
    if table.key_kind is KeyKind.INTEGER:
        return bool(types) and "int" in types[0]
    is_text = bool(types) and any(part in types[0] for part in ("char", "text", "clob"))
    return is_text and "collate" not in words


# PostgreSQL

# To show a definition, PostgreSQL locks the view and the tables in it: while a migration has one of
# them, that waits until it is over. So the lock is looked for first, and waited for briefly if it
# comes in between.
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
POSTGRES = """
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


def load_postgres(connection: BaseDatabaseWrapper, keyed: list[TrackedTable]) -> Details:
    """Read the system catalogue."""
    rows = rows_by_kind(connection, POSTGRES)
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
        odd_keys=odd_keys_on_postgres(connection, keyed),
    )


def views_on_postgres(connection: BaseDatabaseWrapper) -> list[tuple[Any, ...]]:
    """Return the views' names and definitions; None instead of one that takes too long to have."""
    limit = Limit()
    if has_psycopg3(connection):  # the other driver reads one answer of a message
        limit = (
            limit_in_transaction(connection, POSTGRES_LOCK_SECONDS)
            if is_in_transaction(connection)
            else limit_alone(connection, POSTGRES_LOCK_SECONDS, in_bulk=True)
        )
    statement = f"{limit.before}{POSTGRES_VIEWS.strip()}{limit.after}"
    try:
        with undone_at_failure(connection, Undo(limit.undo)):
            return rows_of(connection, statement, answers_before=limit.answers_before)
    except django.db.Error:
        return rows_of(connection, POSTGRES_VIEW_NAMES)


def odd_keys_on_postgres(
    connection: BaseDatabaseWrapper, keyed: list[TrackedTable]
) -> frozenset[str]:
    """Return the tables whose key column is not of a type that compares by what is written."""
    if not keyed:
        return frozenset()
    quote: Callable[[str], str] = connection.ops.quote_name
    keys = ", ".join(
        f"({number}, {literal(quote(table.name))}, {literal(str(table.key_column))})"
        for number, table in enumerate(keyed)
    )
    plain = {
        keyed[number].name
        for number, of_type, is_deterministic in rows_of(
            connection, POSTGRES_KEYS.format(keys=keys)
        )
        if keyed[number].key_kind is KeyKind.UUID
        or (is_deterministic and of_type in POSTGRES_TYPES.get(keyed[number].key_kind, ()))
    }
    return frozenset(table.name for table in keyed) - plain


# MySQL and MariaDB

MYSQL = """
SELECT 'view', table_name, view_definition FROM information_schema.views
WHERE table_schema = DATABASE()
UNION ALL
SELECT 'function', routine_name, routine_definition FROM information_schema.routines
WHERE routine_schema = DATABASE()
"""
MYSQL_KEYS = """
SELECT table_name, column_name, data_type FROM information_schema.columns
WHERE table_schema = DATABASE() AND column_key <> ''
"""
MYSQL_INTEGERS = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint"})


def load_mysql(connection: BaseDatabaseWrapper, keyed: list[TrackedTable]) -> Details:
    """Read the information schema."""
    rows = rows_by_kind(connection, MYSQL)
    types = {
        (table.lower(), column.lower()): data_type.lower()
        for table, column, data_type in rows_of(connection, MYSQL_KEYS)
    }
    return Details(
        views={name: text or "" for name, text in rows.get("view", [])},
        functions=bodies_among(rows),
        odd_keys=frozenset(
            table.name
            for table in keyed
            if table.key_kind is KeyKind.INTEGER
            and types.get((table.name.lower(), str(table.key_column).lower())) not in MYSQL_INTEGERS
        ),
    )
