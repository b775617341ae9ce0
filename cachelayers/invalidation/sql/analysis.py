"""Analyse a statement: which tracked tables and rows it reads or writes.

The execute wrapper calls this for every statement, so analyses are cached by text. They combine the
statement's text, the database's catalogue and the tracked tables.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any, cast

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.invalidation.dialects import LOG
from cachelayers.invalidation.log import NEVER, log_of
from cachelayers.invalidation.sql.catalogue import (
    Catalogue,
    Details,
    load_catalogue,
    load_details,
    tables_of_indexes,
)
from cachelayers.invalidation.sql.conditions import Parameter
from cachelayers.invalidation.sql.reads import (
    KeyedTable,
    ReadRows,
    Slices,
    tags_of,
    text_of_value,
)
from cachelayers.invalidation.sql.statements import Kind, Statement, parse_statement
from cachelayers.invalidation.sql.tokens import KNOWN_FUNCTIONS, Source, read_tokens
from cachelayers.invalidation.tags import CLOCK, SCHEMA_TAG, all_rows_tag, slices_tag, table_tag
from cachelayers.invalidation.tracked import (
    LOGGED_VENDORS,
    KeyKind,
    TrackedTable,
    tables_of_all_models,
    tracked_tables,
    without_schema,
)
from cachelayers.invalidation.triggers import OWN_NAME, Guard, read_guard

MOST_ANALYSES = 5_000
MOST_DATABASES = 100  # databases, or schemas of one
LONGEST_POSTGRES_NAME = 63  # bytes
LONGEST_REMEMBERED = 20_000  # characters of a statement
MOST_ROWS = 100  # of one write; with more, the table's tag is logged
# Another program may have created a view or dropped a trigger. Django's own changes are logged.
CATALOGUE_SECONDS = 60.0
FRESH_SECONDS = 1.0  # a younger catalogue is not loaded again for an unknown name
SYSTEM_TABLES = frozenset({"dual", "pg_type"})  # they hold no data, and Django reads them


class Effect(Enum):
    """The kind of a statement."""

    NONE = auto()
    READ = auto()
    WRITE = auto()
    SCHEMA = auto()
    BEGIN = auto()  # a transaction


@dataclass(frozen=True, slots=True)
class Analysis:
    """The meaning of one statement."""

    effect: Effect
    tables: tuple[TrackedTable, ...] = ()
    rows_read: ReadRows | None = None
    rows: Slices | None = None  # that a write changes, found by their keys
    is_untracked: bool = False  # a read that also uses untracked sources
    # Untracked tables that it reads: newer code may track them, and read the entry.
    untracked_tables: tuple[str, ...] = ()
    # A write: it may change tracked tables. Those in `unlogged` have no trigger that logs it.
    is_own_write: bool = False
    unlogged: tuple[TrackedTable, ...] = ()
    returns_rows: bool = False
    # A change of the schema: all names in it, the tables and views whose meaning may change, and
    # whether there is a log to tell other processes.
    changed_names: frozenset[str] = frozenset()
    renewed_names: frozenset[str] = frozenset()
    former_tables: tuple[str, ...] = ()  # named in it; only older code may track them
    is_logged_change: bool = False
    is_followed: bool = False  # a change of the schema that triggers have to follow
    is_by_schema: bool = False  # a read of tables through views

    # Why values that depend on its result cannot be stored; "": they can.
    doubt: str = ""
    is_logged: bool = False  # its database has a log
    asks_clock: bool = (
        False  # or chance: values that depend on it are stored only until their timeout
    )
    # Whether its result depends on existing rows, and whether it returns rows.
    reads: bool = True
    gives_rows: bool = True

    def read_tags(self, parameters: Any) -> list[str]:
        """Return the tags that its result depends on."""
        if self.rows_read is not None:
            tags = self.rows_read.tags(parameters)
        elif self.rows is not None:
            tags = tags_of(self.rows.table, [self.rows], parameters)
        else:
            tags = [table_tag(table.name) for table in self.tables]
        if self.is_by_schema:
            tags.append(SCHEMA_TAG)
        if self.asks_clock:
            tags.append(CLOCK)
        return tags

    def why_whole(self, tag: str) -> str:
        """Return why a read depends on a whole table, by the table's tag; "": it is not known."""
        return "unread" if self.rows_read is None else self.rows_read.why_whole(tag)

    def write_tags(self, parameters: Any, *, many: bool) -> list[str]:
        """Return the tags that a write has to log beside those that triggers log."""
        if self.is_logged_change:
            former = [tag(name) for name in self.former_tables for tag in (table_tag, all_rows_tag)]
            return [SCHEMA_TAG, *former, *self._tags_written(parameters, many=many)]
        return self._tags_written(parameters, many=many) if self.unlogged else []

    def _tags_written(self, parameters: Any, *, many: bool) -> list[str]:
        tags = [table_tag(table.name) for table in self.unlogged]
        rows = self._rows_written(parameters, many=many)
        if rows is None:
            return [*tags, *(all_rows_tag(table.name) for table in self.unlogged)]
        return [*tags, *rows, *(slices_tag(table.name) for table in self.unlogged)]

    def _rows_written(self, parameters: Any, *, many: bool) -> list[str] | None:
        """Return the tags of the rows, or None if they are unknown or many."""
        if self.rows is None or [self.rows.table] != list(self.unlogged):
            return None
        found: list[str] = []
        for one in parameters if many else [parameters]:
            tags = self.rows.tags(one)
            if tags is None or len(found) + len(tags) > MOST_ROWS:
                return None
            found += tags
        return found


NOTHING = Analysis(Effect.NONE)
BEGIN = Analysis(Effect.BEGIN)
UNTRACKED = Analysis(Effect.READ, is_untracked=True)


def key_text(table: TrackedTable, value: Any) -> str | None:
    """Return the text of a key in tags, or None if the text may not identify the key."""
    return None if table.key_kind is None else text_of_value(table.key_kind, value)


class Database:
    """What this process knows of one database, and the analyses of its statements."""

    def __init__(self) -> None:
        self._analyses: dict[str, Analysis] = {}
        self._tables: Mapping[str, TrackedTable] = {}
        self._by_name: Mapping[str, list[TrackedTable]] = {}
        self._catalogue: Catalogue | None = None
        self._details = Details()
        self._guard = NO_GUARD
        self._keyed: dict[str, KeyedTable | None] = {}
        self._load_again_at = 0.0  # of time.monotonic()
        self._loaded_for: Version = None
        # The names to which statements of this process have given a new meaning.
        self._changed_names: set[str] = set()
        # Tables that have triggers, or had before they were renamed: another table may take the
        # name.
        self._guarded_names: set[str] = set()
        # Temporary tables that statements have created, and whether one has changed the role.
        self._temporary: set[str] = set()
        self._changes_roles = False

    def forget(self) -> None:
        """Load the catalogue again before the next statement."""
        self._catalogue = None
        self._analyses = {}

    def note_change(self, names: frozenset[str]) -> None:
        """Load the catalogue again before the next statement with names whose meaning has changed.

        Not at once, because a run of migrations consists of such statements.
        """
        self._changed_names |= names
        self._analyses = {}
        if LOG in names:  # the log's existence concerns every statement
            self.forget()

    def analysis(self, connection: BaseDatabaseWrapper, text: str) -> Analysis:
        """Return the analysis of a statement."""
        if connection.vendor not in LOGGED_VENDORS:
            return UNTRACKED
        self._follow_settings(connection)
        found = self._analyses.get(text)
        # A neutral statement stays neutral, whatever the catalogue says. A site that serves hits
        # only reads the log with each request, and should not parse that statement each time.
        if found is NOTHING or (found is not None and self._is_current(connection.alias)):
            return found
        statement = parse_statement(
            text, connection.vendor, has_backslashes=reads_backslashes(connection, text)
        )
        if statement.kind is Kind.SCHEMA and connection.vendor == "sqlite":
            # SQLite drops an index by its own name, and triggers need the columns of unique
            # indexes.
            indexed = tables_of_indexes(connection, statement.names)
            statement = replace(statement, names=statement.names | indexed)
        found = self._work_out(connection, text, statement)
        if found.effect is Effect.SCHEMA:
            renewed = names_outside_parentheses(text, connection.vendor)
            found = replace(found, changed_names=statement.names, renewed_names=renewed)
        if len(text) <= LONGEST_REMEMBERED:
            if len(self._analyses) >= MOST_ANALYSES:
                self._analyses = {}
            self._analyses[text] = found
        return found

    def tables_behind(self, connection: BaseDatabaseWrapper, view: str) -> tuple[TrackedTable, ...]:
        """Return the tracked tables that a view reads, or nothing for other names."""
        self._follow_settings(connection)
        name = without_schema(view).lower()
        catalogue = self._current_catalogue(connection, frozenset({name}))
        return self._tables_named(catalogue.views.get(name, frozenset()), catalogue)

    def has_log(self, connection: BaseDatabaseWrapper) -> bool:
        """Return whether the database has a log."""
        self._follow_settings(connection)
        return self._current_catalogue(connection, frozenset()).has_log

    def is_key_odd(self, connection: BaseDatabaseWrapper, table: TrackedTable) -> bool:
        """Return whether the database compares a table's keys in another way than by their text."""
        self._follow_settings(connection)
        name = without_schema(table.name).lower()
        self._current_catalogue(connection, frozenset({name}))
        return self._has_odd_key(table)

    def _has_odd_key(self, table: TrackedTable) -> bool:
        """Do is_key_odd() with the present catalogue.

        This includes tables whose primary key is another column, as old code finds them during a
        deploy: the new code's triggers log the rows by the new key.
        """
        return table.name in self._details.odd_keys or table.name in self._guard.keyless

    def _follow_settings(self, connection: BaseDatabaseWrapper) -> None:
        tables = tracked_tables(connection.alias)
        if tables is not self._tables:
            self._tables = tables
            self._by_name = by_bare_name(tables.values(), connection.vendor)
            self.forget()

    def _work_out(
        self, connection: BaseDatabaseWrapper, text: str, statement: Statement
    ) -> Analysis:
        if statement.changes_role and not self._changes_roles:
            self._changes_roles = True  # from now on, other row-level security may apply
            self._analyses = {}
        if statement.is_own and statement.kind is not Kind.SCHEMA:
            return NOTHING
        if statement.kind is Kind.NEUTRAL:
            return BEGIN if statement.begins else neutral(statement)
        if not self._tables:
            return untracked(statement)
        if statement.kind is Kind.SCHEMA and any(map(OWN_NAME.match, statement.names)):
            # Our own triggers: the code that creates or drops them logs the change.
            return Analysis(Effect.SCHEMA, reads=False)
        return self._tracked(connection, text, statement)

    def _tracked(
        self, connection: BaseDatabaseWrapper, text: str, statement: Statement
    ) -> Analysis:
        """Return the analysis of a statement in a database with tracked tables."""
        catalogue = self._catalogue_with(connection, statement)
        if statement.temporary is not None:
            self._temporary.add(statement.temporary)
        statement = with_views(statement, catalogue, self._details, connection.vendor)
        if statement.kind is Kind.READ:
            analysis = self._read(connection.vendor, text, statement, catalogue)
        elif statement.kind is Kind.SCHEMA and not catalogue.has_log:
            analysis = Analysis(Effect.SCHEMA)
        else:
            analysis = self._write(connection.vendor, statement, catalogue)
        gives_rows = statement.kind is Kind.READ or (statement.reads and statement.returns_rows)
        return replace(
            analysis,
            doubt=self._doubt_of(statement, analysis, catalogue),
            is_logged=catalogue.has_log,
            asks_clock=Source.CLOCK in statement.sources,
            reads=statement.reads,
            gives_rows=gives_rows or bool(statement.doubt),
        )

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

    def _untracked(self, names: frozenset[str], catalogue: Catalogue) -> tuple[str, ...]:
        """Return the untracked tables among names, spelled as in their models."""
        spelt = tables_of_all_models()
        found = (names & catalogue.tables) - self._by_name.keys()
        return tuple(sorted(spelt.get(name, name) for name in found))

    def _read(self, vendor: str, text: str, statement: Statement, catalogue: Catalogue) -> Analysis:
        views = statement.names & catalogue.views.keys()
        behind = frozenset[str]().union(*(catalogue.views[view] for view in views))
        named = (statement.unqualified & (catalogue.tables | views)) - views | behind
        # The text does not show what a user's function reads, and it may write.
        calls = bool(statement.names & self._functions(catalogue))
        tables = self._tables_named(statement.names, catalogue)
        if tables:
            # Newer code may rename a table, and create a view under the old name for older code.
            renamed = self._untracked(behind, catalogue)
            tables += tuple(TrackedTable(name, None, None) for name in renamed)
        read = self._rows_read(vendor, text, tables, behind) if tables and not calls else None
        return Analysis(
            Effect.READ,
            tuple(self._tables.values()) if calls else tables,
            read,
            is_untracked=calls or bool(named - self._by_name.keys()),
            untracked_tables=self._untracked(named, catalogue),
            is_own_write=calls,
            is_by_schema=calls or bool(views),
        )

    def _write(self, vendor: str, statement: Statement, catalogue: Catalogue) -> Analysis:
        everything = tuple(self._tables.values())
        tables = self._tables_named(statement.names, catalogue)
        is_schema = statement.kind is Kind.SCHEMA
        is_far_reaching = bool(statement.names & catalogue.far_reaching)
        # The text of a call does not show what a procedure writes. A new object changes nothing.
        calls = bool(statement.names & self._functions(catalogue))
        is_unknown = calls or not (
            statement.names & (catalogue.tables | catalogue.views.keys())
            or (is_schema and "create" in statement.names)
        )
        touched = everything if is_far_reaching or is_unknown else tables
        unlogged = tuple(
            table
            for table in touched
            if catalogue.has_log and not self._has_trigger_for(vendor, statement, table)
        )
        return Analysis(
            Effect.SCHEMA if is_schema else Effect.WRITE,
            everything if calls else tables,
            rows=None if touched is everything else self._rows_of(statement, tables),
            is_own_write=bool(touched),
            unlogged=unlogged,
            returns_rows=statement.returns_rows,
            is_logged_change=is_schema,
            former_tables=self._untracked(statement.names, catalogue) if is_schema else (),
            is_followed=is_schema and not statement.names.isdisjoint(self._guarded_names),
        )

    def _functions(self, catalogue: Catalogue) -> frozenset[str]:
        return catalogue.functions | self._details.functions.keys()

    def _doubt_of(self, statement: Statement, analysis: Analysis, catalogue: Catalogue) -> str:
        """Return why values that depend on a statement cannot be stored; "": they can."""
        doubts = [*doubts_by_text(statement), *self._doubts_of_names(statement, catalogue)]
        if analysis.tables and not catalogue.has_log:
            doubts.append("its database has no log of changes: run `migrate` for it")
        return next(iter(doubts), "")

    def _doubts_of_names(self, statement: Statement, catalogue: Catalogue) -> Iterable[str]:
        details = self._details
        temporary = statement.tables_read & (details.temporary | self._temporary)
        unknown = statement.tables_read - catalogue.tables - catalogue.views.keys() - SYSTEM_TABLES
        secured = details.secured if self._changes_roles else details.secured_now
        behind_views = frozenset[str]().union(
            *(catalogue.views[name] for name in statement.names & catalogue.views.keys())
        )
        impure = (statement.calls & details.impure) - KNOWN_FUNCTIONS
        bodiless = [
            name
            for name in sorted(statement.names & self._functions(catalogue))
            if details.functions.get(name) is None
        ]
        if names := sorted(temporary):
            yield f"{names[0]} is a temporary table"
        if names := sorted(unknown - temporary):
            yield f"the catalogue shows no table or view {names[0]}"
        if names := sorted((statement.names & secured) | (behind_views & details.secured)):
            yield f"row-level security decides who may see which rows of {names[0]}"
        if names := sorted(statement.names & details.unread):
            yield f"the definition of the view {names[0]} could not be read: a table was locked"
        if names := sorted(impure) or bodiless:
            yield f"it calls {names[0]}(), whose reads are unknown"

    def _has_trigger_for(self, vendor: str, statement: Statement, table: TrackedTable) -> bool:
        """Return whether a trigger logs what this statement does to a table."""
        if table.name not in self._guard.tables or statement.kind is Kind.SCHEMA:
            return False
        if vendor == "sqlite" and statement.replaces:
            return False  # REPLACE deletes the old row without a trigger
        return not (vendor == "mysql" and statement.truncates)

    def _rows_read(
        self, vendor: str, text: str, tables: tuple[TrackedTable, ...], behind: frozenset[str]
    ) -> ReadRows:
        keyed = {
            name: found
            for table in tables
            if (name := without_schema(table.name).lower()) not in behind
            and (found := self._keyed_table(table)) is not None
        }
        return ReadRows(text, vendor, tables, keyed)

    def _keyed_table(self, table: TrackedTable) -> KeyedTable | None:
        """Return the columns by which a table's rows are logged, unless another has its name."""
        if table.name not in self._keyed:
            alike = self._by_name.get(without_schema(table.name).lower())
            kinds = dict(self._kinds_of(table)) if alike == [table] else {}
            odd = frozenset(self._odd_columns_of(table))
            self._keyed[table.name] = KeyedTable(table, kinds, odd) if kinds else None
        return self._keyed[table.name]

    def _kinds_of(self, table: TrackedTable) -> Iterable[tuple[str, tuple[str, KeyKind]]]:
        key, kind = table.key_column, table.key_kind
        if key is not None and kind is not None and not self._has_odd_key(table):
            yield key.lower(), (key, kind)
        logged = self._guard.columns.get(table.name, frozenset())
        for column in table.columns:
            is_odd = (table.name, column.name) in self._details.odd_columns
            if column.name in logged and not is_odd:
                yield column.name.lower(), (column.name, column.kind)

    def _odd_columns_of(self, table: TrackedTable) -> Iterable[str]:
        if table.key_column is not None and self._has_odd_key(table):
            yield table.key_column.lower()
        for column in table.columns:
            if (table.name, column.name) in self._details.odd_columns:
                yield column.name.lower()

    def _rows_of(self, statement: Statement, tables: tuple[TrackedTable, ...]) -> Slices | None:
        """Return the rows that a write finds by their keys, if it finds them so."""
        lookup = statement.key_lookup
        if lookup is None or len(tables) != 1 or not lookup.parameters:
            return None
        [table] = tables
        if (
            table.key_kind is None
            or table.key_column is None
            or self._has_odd_key(table)
            or lookup.table.lower() != without_schema(table.name).lower()
            or lookup.column.lower() != table.key_column.lower()
        ):
            return None
        values = tuple(map(Parameter, lookup.parameters))
        return Slices(table, table.key_column, table.key_kind, values)

    def _catalogue_with(self, connection: BaseDatabaseWrapper, statement: Statement) -> Catalogue:
        """Return the catalogue, loaded again if it lacks a table that is read."""
        catalogue = self._current_catalogue(connection, statement.names)
        is_young = self._load_again_at - time.monotonic() > CATALOGUE_SECONDS - FRESH_SECONDS
        known = catalogue.tables | catalogue.views.keys() | SYSTEM_TABLES
        if is_young or statement.tables_read <= known:
            return catalogue
        self._catalogue = None
        return self._current_catalogue(connection, statement.names)

    def _is_current(self, alias: str) -> bool:
        return time.monotonic() < self._load_again_at and self._loaded_for == version_of(alias)

    def _current_catalogue(
        self, connection: BaseDatabaseWrapper, names: frozenset[str]
    ) -> Catalogue:
        """Return a catalogue that is current for some names."""
        if (
            self._catalogue is None
            or not self._is_current(connection.alias)
            or not names.isdisjoint(self._changed_names)
        ):
            self._loaded_for = version_of(connection.alias)
            self._changed_names = set()
            self._catalogue = load_catalogue(connection)
            self._details = load_details(connection, self._tables.values())
            self._guard = read_guard(connection) if self._catalogue.has_log else NO_GUARD
            self._guarded_names |= self._guard.locations
            self._keyed = {}
            self._analyses = {}
            self._load_again_at = time.monotonic() + CATALOGUE_SECONDS
        return self._catalogue


def neutral(statement: Statement) -> Analysis:
    """Return the analysis of a statement that neither reads nor writes a table's rows."""
    return Analysis(Effect.READ, doubt=statement.doubt) if statement.doubt else NOTHING


def untracked(statement: Statement) -> Analysis:
    """Return the analysis of a statement in a database without tracked tables."""
    if statement.kind is not Kind.READ:
        return NOTHING
    return Analysis(
        Effect.READ,
        is_untracked=True,
        doubt=next(iter(doubts_by_text(statement)), ""),
        asks_clock=Source.CLOCK in statement.sources,
    )


def reads_backslashes(connection: BaseDatabaseWrapper, text: str) -> bool | None:
    """Return whether the session interprets backslashes in strings; None: not known."""
    if "\\" not in text or connection.vendor != "postgresql":
        return None
    status = connection.connection.info.parameter_status("standard_conforming_strings")
    return bool(status != "on")


def doubts_by_text(statement: Statement) -> Iterable[str]:
    """Yield the reasons in a statement's text why it is not fully understood."""
    if statement.doubt:
        yield statement.doubt
    for source in (Source.SQL, Source.SESSION):
        if source in statement.sources:
            yield f"it {source.value}"


def with_views(
    statement: Statement, catalogue: Catalogue, details: Details, vendor: str
) -> Statement:
    """Return the statement together with the contents of its views and functions."""
    calls, sources, names = statement.calls, statement.sources, statement.names
    bodies = {**details.views, **details.functions}
    open_names, seen = set(statement.names & bodies.keys()), set()
    while open_names:
        seen.add(name := open_names.pop())
        inner = parse_statement(bodies[name] or "", vendor)
        calls, sources = calls | inner.calls, sources | inner.sources
        found = inner.names & bodies.keys()
        names |= found & (details.functions.keys() | details.unread)
        open_names |= found - seen
    return replace(statement, calls=calls, sources=sources, names=names)


NO_GUARD = Guard(frozenset(), frozenset(), frozenset(), frozenset())
Version = tuple[str, int, float] | None


def version_of(alias: str) -> Version:
    """Return a value that changes when this process reads a schema change in the log.

    While older transactions may still be committed after that row, it changes with each refresh.
    """
    log = log_of(alias)
    known = log.known
    if known is None:
        return None
    last = known.last.get(SCHEMA_TAG, NEVER)
    return known.incarnation, last, 0.0 if last < known.watermark else log.refreshed_at


# Unquoted SQL keywords, which occur in other statements too.
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
    """Return the lower-case names of a statement, without those of a new table's columns.

    If another table refers to a table, deletions from it may cascade from then on.
    """
    found, depth, before = set(), 0, ""
    for token in read_tokens(text, vendor):
        depth += (token.word == "(") - (token.word == ")")
        name = token.text.lower()
        is_word = name in RESERVED and not token.is_quoted
        if token.is_name and not is_word and (depth == 0 or before == "references"):
            found.add(name)
        before = name
    return frozenset(found)


def by_bare_name(tables: Iterable[TrackedTable], vendor: str) -> dict[str, list[TrackedTable]]:
    """Return the tables by their lower-case names, as statements contain them.

    Several tables may have one name, in two schemas or by their case. PostgreSQL truncates long
    names.
    """
    found: dict[str, list[TrackedTable]] = {}
    for table in tables:
        name = without_schema(table.name)
        cut = name.encode()[:LONGEST_POSTGRES_NAME].decode(errors="ignore")
        for one in {name.lower(), cut.lower() if vendor == "postgresql" else name.lower()}:
            found.setdefault(one, []).append(table)
    return found


_databases: dict[str, Database] = {}


def database_of(connection: BaseDatabaseWrapper) -> Database:
    """Return what this process knows of the database behind a connection.

    In tests an alias may lead to another database than before. With django-tenants, it leads to
    another schema with each request.
    """
    place = identity_of(connection)
    found = _databases.get(place)
    if found is None:
        if len(_databases) >= MOST_DATABASES:
            _databases.clear()
        found = _databases.setdefault(place, Database())
    return found


def reads_only_tracked(database: str, text: str) -> bool:
    """Return whether every change of what a statement reads is logged. It is not run."""
    connection = connections[database]
    found = database_of(connection).analysis(connection, text)
    is_understood = found.effect is Effect.READ and not (found.doubt or found.is_own_write)
    return (
        is_understood
        and found.is_logged
        and bool(found.tables)
        and not (found.is_untracked or found.untracked_tables or found.asks_clock)
    )


def identity_of(connection: BaseDatabaseWrapper) -> str:
    """Return the identity of a connection's database. Cached, because each statement needs it.

    As text: a file's name may be a Path, whose hash takes longer than everything else here.
    """
    settings, schema = connection.settings_dict, getattr(connection, "schema_name", None)
    name, host, port = settings["NAME"], settings["HOST"], settings["PORT"]
    known = connection.__dict__.get("_cachelayers_place")
    if (
        known is not None
        and known[0] is name
        and known[1] is host
        and known[2] is port
        and known[3] is schema
    ):
        return str(known[4])
    place = repr((connection.alias, name, host, port, schema))
    cast(Any, connection)._cachelayers_place = (name, host, port, schema, place)
    return place


def forget_databases() -> None:
    """Load every catalogue again, after a migration."""
    for database in list(_databases.values()):
        database.forget()
