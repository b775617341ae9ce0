"""Install the triggers that tracked tables need, and repair or remove wrong ones.

The migrate signals and the execute wrapper's schema changes call it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from django.db import DatabaseError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.invalidation.dialects import LOG
from cachelayers.invalidation.incarnations import ensure_state
from cachelayers.invalidation.log import logger, write_tags
from cachelayers.invalidation.tags import SCHEMA_TAG, all_rows_tag, table_tag
from cachelayers.invalidation.tracked import tracked_tables, without_schema
from cachelayers.invalidation.triggers import mysql, postgres, sqlite
from cachelayers.invalidation.triggers.definitions import Found, Trigger

TRIGGER_VENDORS: dict[str, ModuleType] = {
    "sqlite": sqlite,
    "postgresql": postgres,
    "mysql": mysql,
}
LOG_MIGRATION = "0002_invalidation_log"


@dataclass(slots=True)
class Repair:
    """What was wrong with the triggers."""

    # Tables whose changes may be unlogged, now or earlier: old code may still track them.
    tables: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)  # errors, a line per table


@dataclass(frozen=True, slots=True)
class Guard:
    """What the database logs by triggers."""

    tables: frozenset[str]  # tracked tables whose writes are all logged
    lacking: frozenset[str]  # tables where a trigger is missing, as the database names them
    # All tables with one of our triggers, in lower case and without a schema.
    locations: frozenset[str]
    keyless: frozenset[str]  # tracked tables whose key in the code is not the database's
    # By table of `tables`: the columns, beside the key, whose slices are logged in each location.
    columns: Mapping[str, frozenset[str]] = field(default_factory=dict)


def install_triggers(connection: BaseDatabaseWrapper) -> list[str]:
    """Drop wrong triggers and create missing ones. Return what failed."""
    return repair_triggers(connection).problems


def repair_triggers(
    connection: BaseDatabaseWrapper, names: Collection[str] | None = None
) -> Repair:
    """Correct the triggers of tables; of those with ``names`` (in lower case) only, if given.

    A trigger is correct if its name, table and text are: tables are renamed with their triggers,
    and columns within them.
    """
    found = list(TRIGGER_VENDORS[connection.vendor].existing(connection))
    # A statement may name a table of a schema outside the search path.
    wanted = wanted_triggers(connection, everywhere=names is not None)
    chosen = list(triggers_to_repair(wanted, found, names))
    right = {trigger.installed for trigger in wanted}
    locations = {trigger.installed.location for trigger in chosen}
    taken = {trigger.installed.name for trigger in chosen}
    former: set[str] = set()
    removals = []
    for one in found:
        # Its table was renamed, and another one needs its name.
        is_renamed = one.installed.name in taken
        is_meant = is_renamed or names is None or one.bare_location in names
        is_wrong = one.installed not in right
        if is_wrong and (
            one.installed.location in locations or (is_meant and one.is_in_search_path)
        ):
            removals.append(one.removal)
            former |= one.logged_tables
    if removals:
        run_statements(connection, removals)  # together: the tables are locked meanwhile
    there = {one.installed for one in found}
    lacking = [trigger for trigger in chosen if trigger.installed not in there]
    # A partition that another program has detached leaves no trace.
    divided = {trigger.table for trigger in chosen if trigger.location.is_divided}
    repair = Repair({trigger.table for trigger in lacking} | divided | former)
    problems = dict(create(connection, lacking))
    if problems:  # another `migrate` may do it at the same time
        there = {one.installed for one in TRIGGER_VENDORS[connection.vendor].existing(connection)}
        unmet = {one.location.name for one in lacking if one.installed not in there}
        repair.problems += [text for name, text in problems.items() if name in unmet]
    if names is None:
        run_statements(connection, TRIGGER_VENDORS[connection.vendor].leftovers(connection))
    return repair


def triggers_to_repair(
    wanted: Iterable[Trigger], found: Iterable[Found], names: Collection[str] | None
) -> Iterator[Trigger]:
    """Yield the triggers of the tables to correct."""
    known = {one.installed.location for one in found}
    for trigger in wanted:
        location = trigger.location
        is_named = (
            names is None
            or location.bare in names
            or without_schema(trigger.table).lower() in names
        )
        if is_named and (location.is_in_search_path or location.name in known):
            yield trigger


def create(
    connection: BaseDatabaseWrapper, triggers: Iterable[Trigger]
) -> Iterator[tuple[str, str]]:
    """Create triggers, those of one table together. Yield the failures."""
    statements: dict[str, list[str]] = {}
    tables = {}
    for trigger in triggers:
        tables[trigger.location.name] = trigger.table
        statements.setdefault(trigger.location.name, []).extend(trigger.creation)
    for location, some in statements.items():
        try:
            run_statements(connection, some)
        except DatabaseError as error:  # mostly a missing privilege
            yield location, f"{tables[location]}: {error}".strip()


def run_statements(connection: BaseDatabaseWrapper, statements: Iterable[str]) -> None:
    """Run statements, in one transaction if the database can."""
    with one_change(connection), connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def one_change(connection: BaseDatabaseWrapper) -> AbstractContextManager[None]:
    """Run schema changes in one transaction, if the database can."""
    return (
        transaction.atomic(connection.alias)
        if connection.features.can_rollback_ddl
        else nullcontext()
    )


@contextmanager
def room_for_change(connection: BaseDatabaseWrapper, names: Collection[str]) -> Iterator[None]:
    """Take the triggers off the tables from which SQLite is to drop a column, for the block.

    SQLite drops no column that a trigger names. The block has to create the triggers again. No
    other connection sees the tables without them.
    """
    if connection.vendor != "sqlite" or not {"alter", "drop"}.issubset(names):
        yield
        return
    with one_change(connection):
        found = list(sqlite.existing(connection))
        run_statements(connection, [one.removal for one in found if one.bare_location in names])
        yield


def remove_triggers(connection: BaseDatabaseWrapper) -> None:
    """Drop every trigger that writes to this log, and its functions."""
    vendor = TRIGGER_VENDORS[connection.vendor]
    for found in list(vendor.existing(connection)):
        run_statements(connection, [found.removal])
    run_statements(connection, vendor.leftovers(connection))


def has_triggers(connection: BaseDatabaseWrapper) -> bool:
    """Return whether a database has any of our triggers."""
    return any(True for _ in TRIGGER_VENDORS[connection.vendor].existing(connection))


def guarded_tables(connection: BaseDatabaseWrapper) -> frozenset[str]:
    """Return the tracked tables that have all their triggers, and correct ones."""
    return read_guard(connection).tables


def read_guard(connection: BaseDatabaseWrapper) -> Guard:
    """Return what the database logs by triggers.

    The log must exist: a trigger's definition depends on its schema.
    """
    found = list(TRIGGER_VENDORS[connection.vendor].existing(connection))
    there = {one.installed for one in found}
    wanted = wanted_triggers(connection, everywhere=True)
    lacking = [trigger for trigger in wanted if trigger.installed not in there]
    guarded = {trigger.table for trigger in wanted} - {trigger.table for trigger in lacking}
    columns: dict[str, frozenset[str]] = {}
    for one in wanted:
        if one.table in guarded:
            logged = frozenset(column.name for column in one.location.table.columns)
            columns[one.table] = columns.get(one.table, logged) & logged
    return Guard(
        frozenset(guarded),
        frozenset(trigger.installed.location for trigger in lacking),
        frozenset(one.bare_location for one in found),
        frozenset(one.table for one in wanted if one.location.table.key_column is None),
        columns,
    )


def wanted_triggers(connection: BaseDatabaseWrapper, *, everywhere: bool = False) -> list[Trigger]:
    """Return the triggers that the existing tracked tables need."""
    tables = tracked_tables(connection.alias).values()
    vendor = TRIGGER_VENDORS[connection.vendor]
    locations = vendor.locations_of(connection, tables, everywhere=everywhere)
    return list(vendor.triggers_for(connection, locations))


def follow_schema(connection: BaseDatabaseWrapper, names: Collection[str]) -> None:
    """After a change of the schema, correct the triggers of the tables that it names.

    This is done at once: a trigger on a column that was renamed would make every write fail.
    """
    try:
        with one_change(connection):
            repair = repair_triggers(connection, names)
            write_tags(connection, tags_of_whole_tables(repair.tables))
            problems = repair.problems
    except DatabaseError as error:
        problems = [str(error)]
    warn_of_missing(connection.alias, problems)


def tags_of_whole_tables(tables: Iterable[str]) -> list[str]:
    """Return the tags of all rows of some tables."""
    return [tag(name) for name in sorted(tables) for tag in (table_tag, all_rows_tag)]


def warn_of_missing(database: str, problems: Iterable[str]) -> None:
    """Log which triggers are missing."""
    for problem in problems:
        logger.warning(
            "DATABASES[%r]: no trigger could be created for %s. Writes through Django are logged"
            " all the same; those of other programs are not.",
            database,
            problem,
        )


def receive_post_migrate(sender: Any, using: str, plan: Any = (), **kwargs: Any) -> None:
    """Receive post_migrate: install triggers, and invalidate what may have changed unlogged.

    Changes may be unlogged because of migrations, or while a trigger was missing. If the log is
    gone, the triggers are removed, because SQLite could not write to a table that has one.
    """
    connection = connections[using]
    if connection.vendor not in TRIGGER_VENDORS:
        return
    if LOG not in connection.introspection.table_names():
        remove_triggers(connection)
        return
    ensure_state(connection)
    repair = repair_triggers(connection)
    warn_of_missing(using, repair.problems)
    tags = tags_of_whole_tables(
        repair.tables | tracked_tables(using).keys() if plan else repair.tables
    )
    write_tags(connection, [*tags, SCHEMA_TAG] if tags else [])


def receive_pre_migrate(sender: Any, using: str, plan: Any = (), **kwargs: Any) -> None:
    """Receive pre_migrate: remove the triggers before the log's table is dropped."""
    for migration, is_backwards in plan:
        names = (migration.app_label, migration.name)
        if is_backwards and names == ("cachelayers", LOG_MIGRATION):
            remove_triggers(connections[using])
