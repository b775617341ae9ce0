"""Ask a database what its names stand for: tables, views, functions, and what writes reach far.

Loaded by footprints once in a while; nothing here is asked per statement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.invalidation.dialects import LOG
from cachelayers.invalidation.driver import rows_of
from cachelayers.invalidation.statements import names_of
from cachelayers.invalidation.tokens import read_tokens

OUR_PREFIX = "cachelayers_"  # of triggers


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What the names in a database stand for; all in lower case."""

    tables: frozenset[str]
    views: Mapping[str, frozenset[str]]  # the tables that a view reads, through other views too
    functions: frozenset[str]  # of the users', procedures too
    # Tables a write to which changes others: by triggers that are not ours, rules, or cascades.
    far_reaching: frozenset[str]
    has_log: bool  # where the statements of the connection mean it


def load_catalogue(connection: BaseDatabaseWrapper) -> Catalogue:
    """Return the present catalogue."""
    return {"sqlite": load_sqlite, "postgresql": load_postgres, "mysql": load_mysql}[
        connection.vendor
    ](connection)


def expand(views: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """Return what each view reads in the end; views in a circle end it."""
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
    """Return the tables whose indexes are among names, in an SQLite file; all in lower case."""
    rows = rows_of(connection, SQLITE_INDEXES)
    return frozenset(table.lower() for name, table in rows if name.lower() in names)


def load_sqlite(connection: BaseDatabaseWrapper) -> Catalogue:
    """Read sqlite_master: definitions are kept as they were written."""
    rows = rows_of(connection, SQLITE)
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
    """Tell whether a table's definition has a foreign key by which the database writes to it."""
    text = " ".join(sql.lower().split())
    return any(
        f"on {event} {action}" in text
        for event in ("delete", "update")
        for action in ("cascade", "set null", "set default")
    )


def referenced_tables(sql: str) -> set[str]:
    """Return the tables that a definition's foreign keys refer to."""
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
    """Read the system catalogue: PostgreSQL knows what its views depend on."""
    rows = rows_of(connection, POSTGRES)
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
    """Read the information schema; what a view reads is in its definition."""
    by_kind: dict[str, list[tuple[str, str]]] = {}
    for kind, name, definition in rows_of(connection, MYSQL):
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
