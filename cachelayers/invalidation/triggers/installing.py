"""Keep a database's triggers those that its tracked tables should have."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

from django.db import DatabaseError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.invalidation.dialects import LOG
from cachelayers.invalidation.incarnations import ensure_state
from cachelayers.invalidation.log import logger, write_tags
from cachelayers.invalidation.tags import all_rows_tag, table_tag
from cachelayers.invalidation.tracked import TrackedTable, tracked_tables
from cachelayers.invalidation.triggers import mysql, postgres, sqlite
from cachelayers.invalidation.triggers.definitions import Trigger

VENDORS: dict[str, ModuleType] = {"sqlite": sqlite, "postgresql": postgres, "mysql": mysql}
LOG_MIGRATION = "0002_invalidation_log"


def install_triggers(connection: BaseDatabaseWrapper) -> list[str]:
    """Drop what should not be there, create what is missing; return what could not be done."""
    names = plain_tables(connection)
    tables = [one for one in tracked_tables(connection.alias).values() if one.name in names]
    wanted = {trigger.name: trigger for trigger in wanted_triggers(connection, tables)}
    found = dict(VENDORS[connection.vendor].existing(connection))
    for name in found.keys() - wanted.keys():
        run(connection, VENDORS[connection.vendor].drop(connection, name, found[name]))
    return list(create(connection, [wanted[name] for name in wanted if name not in found]))


def create(connection: BaseDatabaseWrapper, triggers: Iterable[Trigger]) -> Iterable[str]:
    """Create triggers; yield what went wrong, one line per table."""
    failed = set()
    for trigger in triggers:
        if trigger.table in failed:
            continue
        try:
            run(connection, trigger.creation)
        except DatabaseError as error:  # mostly a privilege that is lacking
            failed.add(trigger.table)
            yield f"{trigger.table}: {error}".strip()


def run(connection: BaseDatabaseWrapper, statements: Iterable[str]) -> None:
    """Run statements in one transaction, where the database can."""
    with transaction.atomic(connection.alias), connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def remove_triggers(connection: BaseDatabaseWrapper) -> None:
    """Drop every trigger of ours."""
    vendor = VENDORS[connection.vendor]
    for name, table in vendor.existing(connection):
        run(connection, vendor.drop(connection, name, table))


def guarded_tables(connection: BaseDatabaseWrapper) -> frozenset[str]:
    """Return the tracked tables all of whose triggers are there, and right.

    Only where the log is there: what a trigger is to be depends on where it is.
    """
    found = {name for name, _ in VENDORS[connection.vendor].existing(connection)}
    if not found:
        return frozenset()
    tables = tracked_tables(connection.alias)
    wanted = wanted_triggers(connection, tables.values())
    lacking = {trigger.table for trigger in wanted if trigger.name not in found}
    return frozenset(tables.keys() - lacking)


def wanted_triggers(
    connection: BaseDatabaseWrapper, tables: Iterable[TrackedTable]
) -> list[Trigger]:
    """Return the triggers that tables are to have."""
    return list(VENDORS[connection.vendor].triggers_for(connection, tables))


def plain_tables(connection: BaseDatabaseWrapper) -> set[str]:
    """Return the names of what is a table; a view has no triggers of ours."""
    with connection.cursor() as cursor:
        found = connection.introspection.get_table_list(cursor)
    return {table.name for table in found if table.type in {"t", "p"}}


def receive_post_migrate(sender: Any, using: str, plan: Any = (), **kwargs: Any) -> None:
    """Receive post_migrate: install, and invalidate what migrations may have changed unlogged.

    SQLite rebuilds a table to alter it, and the new one has no triggers until now.
    """
    connection = connections[using]
    tables = plain_tables(connection)
    if LOG not in tables:
        return
    ensure_state(connection)
    for problem in install_triggers(connection):
        logger.warning(
            "DATABASES[%r]: no trigger could be created for %s. Writes through Django are logged"
            " all the same; those of other programs are not.",
            using,
            problem,
        )
    if plan:
        names = [name for name in tracked_tables(using) if name in tables]
        write_tags(connection, [tag(name) for name in names for tag in (table_tag, all_rows_tag)])


def receive_pre_migrate(sender: Any, using: str, plan: Any = (), **kwargs: Any) -> None:
    """Receive pre_migrate: before the log is taken away, nothing may write to it any more."""
    for migration, is_backwards in plan:
        names = (migration.app_label, migration.name)
        if is_backwards and names == ("cachelayers", LOG_MIGRATION):
            remove_triggers(connections[using])
