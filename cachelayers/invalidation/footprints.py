"""Tell what a statement means for the cache: which tracked tables it reads or writes.

Statements as text, the database's catalogue and the tracked tables come together here. Called by
noticing for every statement, so the answers are remembered by text.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any
from uuid import UUID

from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.invalidation.catalogue import Catalogue, load_catalogue
from cachelayers.invalidation.log import NEVER, log_of
from cachelayers.invalidation.statements import Kind, Statement, parse_statement, read_tokens
from cachelayers.invalidation.tags import SCHEMA_TAG, all_rows_tag, row_tag, table_tag
from cachelayers.invalidation.tracked import (
    KeyKind,
    TrackedTable,
    tracked_tables,
    without_schema,
)
from cachelayers.invalidation.triggers import OWN_NAME, Guard, read_guard

MOST_FOOTPRINTS = 5_000
MOST_DATABASES = 100  # or schemas of one
LONGEST_POSTGRES_NAME = 63  # bytes
LONGEST_REMEMBERED = 20_000  # characters of a statement
MOST_ROWS = 100  # that one write logs one by one
# Another program may have created a view or dropped a trigger; what Django does is in the log.
CATALOGUE_SECONDS = 60.0


class Effect(Enum):
    """What a statement does, as far as it matters here."""

    NONE = auto()
    READ = auto()
    WRITE = auto()
    SCHEMA = auto()


@dataclass(frozen=True, slots=True)
class RowsByKey:
    """The rows of one table that a statement chooses by parameters."""

    table: TrackedTable
    parameters: tuple[int, ...]

    def tags(self, parameters: Any) -> list[str] | None:
        """Return the tags of the rows, or None where a parameter is no plain key."""
        if not isinstance(parameters, (list, tuple)) or len(parameters) <= max(self.parameters):
            return None
        texts = [key_text(self.table, parameters[index]) for index in self.parameters]
        if any(text is None for text in texts):
            return None
        return [row_tag(self.table.name, str(text)) for text in texts]


@dataclass(frozen=True, slots=True)
class Footprint:
    """What one statement means."""

    effect: Effect
    tables: tuple[TrackedTable, ...] = ()
    rows: RowsByKey | None = None
    is_untracked: bool = False  # a read that also names what is not tracked
    # A write: may change tracked tables. Those in `unlogged` have no trigger that logs it.
    is_own_write: bool = False
    unlogged: tuple[TrackedTable, ...] = ()
    returns_rows: bool = False
    # A change of the schema: all that it names, the tables and views among it that may mean
    # something new, and whether there is a log to tell others of it.
    changed_names: frozenset[str] = frozenset()
    renewed_names: frozenset[str] = frozenset()
    is_logged_change: bool = False
    is_followed: bool = False  # a change of the schema: by triggers
    is_by_schema: bool = False  # a read of tables that views stand for

    def read_tags(self, parameters: Any) -> list[str]:
        """Return what a read depends on."""
        if self.rows is not None:
            tags = self.rows.tags(parameters)
            if tags is not None:
                return [*tags, all_rows_tag(self.rows.table.name)]
        tags = [table_tag(table.name) for table in self.tables]
        return [*tags, SCHEMA_TAG] if self.is_by_schema else tags

    def write_tags(self, parameters: Any, *, many: bool) -> list[str]:
        """Return what has to be logged for a write, apart from what triggers log."""
        if self.is_logged_change:
            return [SCHEMA_TAG, *self._tags_written(parameters, many=many)]
        return self._tags_written(parameters, many=many) if self.unlogged else []

    def _tags_written(self, parameters: Any, *, many: bool) -> list[str]:
        tags = [table_tag(table.name) for table in self.unlogged]
        rows = self._rows_written(parameters, many=many)
        if rows is None:
            return [*tags, *(all_rows_tag(table.name) for table in self.unlogged)]
        return [*tags, *rows]

    def _rows_written(self, parameters: Any, *, many: bool) -> list[str] | None:
        """Return the tags of the rows, or None where they are unknown or many."""
        if self.rows is None or [self.rows.table] != list(self.unlogged):
            return None
        found: list[str] = []
        for one in parameters if many else [parameters]:
            tags = self.rows.tags(one)
            if tags is None or len(found) + len(tags) > MOST_ROWS:
                return None
            found += tags
        return found


NOTHING = Footprint(Effect.NONE)


def key_text(table: TrackedTable, value: Any) -> str | None:
    """Return the text of a key in tags, or None for what may not be compared as it is written."""
    if table.key_kind is None:
        return None
    if table.key_kind is KeyKind.INTEGER:
        return str(int(value)) if isinstance(value, int) else None
    if table.key_kind is KeyKind.TEXT:
        return str(value) if isinstance(value, str) else None
    if isinstance(value, UUID):
        return value.hex
    try:
        return UUID(value).hex if isinstance(value, str) else None
    except ValueError:
        return None


class Database:
    """What is known of one database, and of the statements that were run in it."""

    def __init__(self) -> None:
        """Know nothing."""
        self._footprints: dict[str, Footprint] = {}
        self._tables: Mapping[str, TrackedTable] = {}
        self._by_name: Mapping[str, list[TrackedTable]] = {}
        self._catalogue: Catalogue | None = None
        self._guard = NO_GUARD
        self._load_again_at = 0.0  # of time.monotonic()
        self._loaded_for: Version = None
        # What statements of this process have given a new meaning since.
        self._changed_names: set[str] = set()
        # Tables that have triggers, or had before they were renamed: another may take the name.
        self._guarded_names: set[str] = set()

    def forget(self) -> None:
        """Look at the database again before the next statement."""
        self._catalogue = None
        self._footprints = {}

    def note_change(self, names: frozenset[str]) -> None:
        """After a change of the schema: look again before the next statement with those names.

        Not at once: a run of migrations has one such statement after the other.
        """
        self._changed_names |= names
        self._footprints = {}

    def footprint(self, connection: BaseDatabaseWrapper, text: str) -> Footprint:
        """Return what a statement means."""
        self._follow_settings(connection)
        found = self._footprints.get(text)
        # What means nothing goes on to do so, whatever the catalogue says: a site that serves hits
        # only reads the log with each request, and should not parse that statement each time.
        if found is NOTHING or (found is not None and self._is_current(connection.alias)):
            return found
        statement = parse_statement(text, connection.vendor)
        found = self._work_out(connection, statement)
        if found.effect is Effect.SCHEMA:
            renewed = names_outside_parentheses(text, connection.vendor)
            found = replace(found, changed_names=statement.names, renewed_names=renewed)
        if len(text) <= LONGEST_REMEMBERED:
            if len(self._footprints) >= MOST_FOOTPRINTS:
                self._footprints = {}
            self._footprints[text] = found
        return found

    def tables_behind(self, connection: BaseDatabaseWrapper, view: str) -> tuple[TrackedTable, ...]:
        """Return the tracked tables that a view shows; none for what is no view."""
        self._follow_settings(connection)
        name = without_schema(view).lower()
        catalogue = self._current_catalogue(connection, frozenset({name}))
        return self._tables_named(catalogue.views.get(name, frozenset()), catalogue)

    def _follow_settings(self, connection: BaseDatabaseWrapper) -> None:
        tables = tracked_tables(connection.alias)
        if tables is not self._tables:
            self._tables = tables
            self._by_name = by_bare_name(tables.values(), connection.vendor)
            self.forget()

    def _work_out(self, connection: BaseDatabaseWrapper, statement: Statement) -> Footprint:
        is_own = statement.is_own and statement.kind is not Kind.SCHEMA
        if is_own or statement.kind is Kind.NEUTRAL:
            return NOTHING
        if not self._tables:
            is_read = statement.kind is Kind.READ
            return Footprint(Effect.READ, is_untracked=True) if is_read else NOTHING
        if statement.kind is Kind.SCHEMA and any(map(OWN_NAME.match, statement.names)):
            # Triggers of ours: who makes or drops them logs what that means.
            return Footprint(Effect.SCHEMA)
        catalogue = self._current_catalogue(connection, statement.names)
        if not catalogue.has_log:
            # Not migrated yet: nothing is cached, and nothing can be said of what is read.
            self._load_again_at = 0.0
            if statement.kind is Kind.SCHEMA:
                return Footprint(Effect.SCHEMA)
            is_read = statement.kind is Kind.READ
            return Footprint(Effect.READ if is_read else Effect.NONE, is_untracked=is_read)
        tables = self._tables_named(statement.names, catalogue)
        if statement.kind is Kind.READ:
            return self._read(statement, catalogue, tables)
        return self._write(connection.vendor, statement, catalogue, tables)

    def _tables_named(
        self, found: frozenset[str], catalogue: Catalogue
    ) -> tuple[TrackedTable, ...]:
        """Return the tracked tables among names, also through views."""
        names = set(found)
        for name in found & catalogue.views.keys():
            names |= catalogue.views[name]
        return tuple(
            table for name in sorted(names & self._by_name.keys()) for table in self._by_name[name]
        )

    def _read(
        self, statement: Statement, catalogue: Catalogue, tables: tuple[TrackedTable, ...]
    ) -> Footprint:
        named = set(statement.unqualified & (catalogue.tables | catalogue.views.keys()))
        for view in statement.names & catalogue.views.keys():
            named |= catalogue.views[view]
            named.discard(view)
        calls = bool(statement.unqualified & catalogue.functions)
        return Footprint(
            Effect.READ,
            tables,
            self._rows_of(statement, tables),
            is_untracked=calls or bool(named - self._by_name.keys()),
            is_own_write=calls,  # a function may write
            is_by_schema=bool(statement.names & catalogue.views.keys()),
        )

    def _write(
        self,
        vendor: str,
        statement: Statement,
        catalogue: Catalogue,
        tables: tuple[TrackedTable, ...],
    ) -> Footprint:
        everything = tuple(self._tables.values())
        is_schema = statement.kind is Kind.SCHEMA
        is_far_reaching = bool(statement.names & catalogue.far_reaching)
        # A procedure, a block of code: what it writes is not in its text.
        # Something new beside what there is changes nothing.
        is_unknown = bool(statement.names & catalogue.functions) or not (
            statement.names & (catalogue.tables | catalogue.views.keys())
            or (is_schema and "create" in statement.names)
        )
        touched = everything if is_far_reaching or is_unknown else tables
        return Footprint(
            Effect.SCHEMA if is_schema else Effect.WRITE,
            tables,
            None if touched is everything else self._rows_of(statement, tables),
            is_own_write=bool(touched),
            unlogged=tuple(
                table for table in touched if not self._has_trigger_for(vendor, statement, table)
            ),
            returns_rows=statement.returns_rows,
            is_logged_change=is_schema,
            is_followed=is_schema and not statement.names.isdisjoint(self._guarded_names),
        )

    def _has_trigger_for(self, vendor: str, statement: Statement, table: TrackedTable) -> bool:
        """Tell whether the database itself logs what this statement does to a table."""
        if table.name not in self._guard.tables or statement.kind is Kind.SCHEMA:
            return False
        if vendor == "sqlite" and statement.replaces:
            return False  # the row that gives way to the new one is deleted without a trigger
        return not (vendor == "mysql" and statement.truncates)

    def _rows_of(self, statement: Statement, tables: tuple[TrackedTable, ...]) -> RowsByKey | None:
        lookup = statement.key_lookup
        if lookup is None or len(tables) != 1 or not lookup.parameters:
            return None
        [table] = tables
        is_key = (
            table.key_kind is not None
            and table.key_column is not None
            and lookup.table.lower() == without_schema(table.name).lower()
            and lookup.column.lower() == table.key_column.lower()
        )
        return RowsByKey(table, tuple(lookup.parameters)) if is_key else None

    def _is_current(self, alias: str) -> bool:
        return time.monotonic() < self._load_again_at and self._loaded_for == version_of(alias)

    def _current_catalogue(
        self, connection: BaseDatabaseWrapper, names: frozenset[str]
    ) -> Catalogue:
        """Return the catalogue as it is now, as far as some names are concerned."""
        if (
            self._catalogue is None
            or not self._is_current(connection.alias)
            or not names.isdisjoint(self._changed_names)
        ):
            self._loaded_for = version_of(connection.alias)
            self._changed_names = set()
            self._catalogue = load_catalogue(connection)
            self._guard = read_guard(connection) if self._catalogue.has_log else NO_GUARD
            self._guarded_names |= self._guard.places
            self._footprints = {}
            self._load_again_at = time.monotonic() + CATALOGUE_SECONDS
        return self._catalogue


NO_GUARD = Guard(frozenset(), frozenset(), frozenset())
Version = tuple[str, int, float] | None


def version_of(alias: str) -> Version:
    """Return what changes when this process reads in the log that a schema was changed.

    As long as older transactions may still be committed after that row, with each look at the log.
    """
    log = log_of(alias)
    known = log.known
    if known is None:
        return None
    last = known.last.get(SCHEMA_TAG, NEVER)
    return known.incarnation, last, 0.0 if last < known.watermark else log.refreshed_at


# Words of SQL that name nothing without quotes, and are in other statements too.
RESERVED = frozenset(
    [
        "add",
        "all",
        "alter",
        "and",
        "as",
        "asc",
        "by",
        "cascade",
        "check",
        "column",
        "constraint",
        "create",
        "default",
        "delete",
        "desc",
        "distinct",
        "drop",
        "exists",
        "foreign",
        "from",
        "group",
        "having",
        "in",
        "index",
        "insert",
        "into",
        "is",
        "join",
        "key",
        "limit",
        "not",
        "null",
        "on",
        "or",
        "order",
        "primary",
        "references",
        "select",
        "set",
        "table",
        "to",
        "union",
        "unique",
        "update",
        "using",
        "values",
        "where",
        "with",
    ]
)


def names_outside_parentheses(text: str, vendor: str) -> frozenset[str]:
    """Return the names of a statement but those of a new table's columns, in lower case.

    A table that others refer to is one whose deletions reach far from then on.
    """
    found, depth, before = set(), 0, ""
    for token in read_tokens(text, vendor):
        depth += (token.text == "(") - (token.text == ")")
        name = token.text.lower()
        is_word = name in RESERVED and not token.is_quoted
        if token.is_name and not is_word and (depth == 0 or before == "references"):
            found.add(name)
        before = name
    return frozenset(found)


def by_bare_name(tables: Iterable[TrackedTable], vendor: str) -> dict[str, list[TrackedTable]]:
    """Return the tables by their names in lower case, as statements have them.

    Several may have one name, in two schemas or by their case. PostgreSQL cuts names off.
    """
    found: dict[str, list[TrackedTable]] = {}
    for table in tables:
        name = without_schema(table.name)
        cut = name.encode()[:LONGEST_POSTGRES_NAME].decode(errors="ignore")
        for one in {name.lower(), cut.lower() if vendor == "postgresql" else name.lower()}:
            found.setdefault(one, []).append(table)
    return found


_databases: dict[tuple[object, ...], Database] = {}


def database_of(connection: BaseDatabaseWrapper) -> Database:
    """Return what this process knows of the database behind a connection.

    Tests have an alias mean another database than before; django-tenants has it mean another
    schema with each request.
    """
    settings, schema = connection.settings_dict, getattr(connection, "schema_name", None)
    place = connection.alias, settings["NAME"], settings["HOST"], settings["PORT"], schema
    found = _databases.get(place)
    if found is None:
        if len(_databases) >= MOST_DATABASES:
            _databases.clear()
        found = _databases.setdefault(place, Database())
    return found


def forget_databases() -> None:
    """Look at every database again; after a migration."""
    for database in list(_databases.values()):
        database.forget()
