"""Invalidate explicitly: user tags, rows, whole tables and cached functions.

The tags are written to the log in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from asgiref.sync import sync_to_async
from django.db import connections, router
from django.db.models import Model

from cachelayers.invalidation.log import log_of, write_tags
from cachelayers.invalidation.sql.analysis import database_of, key_text
from cachelayers.invalidation.tags import (
    SCHEMA_TAG,
    all_rows_tag,
    row_tag,
    slices_tag,
    table_tag,
    user_tag,
    warn_of_misspelt_tag,
)
from cachelayers.invalidation.tracked import (
    TrackedTable,
    concrete_models,
    log_database,
    track_with,
    tracked_tables,
)
from cachelayers.invalidation.transactions import transaction_of
from cachelayers.invalidation.units import active_unit


class Tagged(Protocol):
    """A cached function: all its entries have one tag."""

    invalidation_tag: str


Target = str | Model | type[Model] | Tagged


def invalidate(*targets: Target, using: str | None = None) -> None:
    """Invalidate the entries that depend on tags, instances' rows or models' tables.

    A cached function stands for all its entries.

    Takes effect when the caller's transaction commits, or at once if there is none. ``using``: an
    alias of DATABASES, instead of the one that the router or the instance names. Raises TypeError
    or ValueError for other targets and for untracked models, and then invalidates nothing.
    """
    if not targets:
        raise TypeError(
            "invalidate() names nothing. Give tags, instances, models or cached functions."
        )
    tags: dict[str, list[str]] = {}
    for target in targets:
        for database, tag in tags_of_target(target, using):
            tags.setdefault(database, []).append(tag)
    for target in targets:
        if isinstance(target, str):
            warn_of_misspelt_tag(target)
    write_invalidations(tags)


async def ainvalidate(*targets: Target, using: str | None = None) -> None:
    """Call invalidate() from async code."""
    await sync_to_async(invalidate)(*targets, using=using)


def write_invalidations(tags: Mapping[str, Iterable[str]]) -> None:
    """Log tags in each database. The unit of work reads the log again before its next recall."""
    for database, some in tags.items():
        connection, unique = connections[database], list(dict.fromkeys(some))
        if log_of(database).takes(unique):
            continue
        write_tags(connection, unique)
        transaction_of(connection).mark_dirty()
        if unit := active_unit():
            unit.note_write(connection)


def tags_of_target(target: Target, using: str | None) -> Iterable[tuple[str, str]]:
    """Return the pairs of database and tag that a target stands for."""
    if isinstance(target, str):
        return [(using or log_database(), user_tag(target))]
    if isinstance(target, Model):
        return tags_of_instance(target, using)
    if isinstance(target, type) and issubclass(target, Model):
        database = using or router.db_for_write(target)
        return [
            (database, make(table.name))
            for table in tables_of(target, database)
            for make in (table_tag, all_rows_tag)
        ]
    tag = getattr(target, "invalidation_tag", None)
    if isinstance(tag, str):
        return [(using or log_database(), user_tag(tag))]
    raise TypeError(
        f"invalidate() was given {target!r}. Give a tag, an instance of a model, a model, or a"
        " cached function."
    )


def tags_of_instance(instance: Model, using: str | None) -> Iterable[tuple[str, str]]:
    """Return the tags of an instance's row, in its own table and in its parents' tables."""
    if instance.pk is None:
        raise ValueError(f"{instance!r} is not saved: it has no row to invalidate.")
    model = type(instance)
    database = using or instance._state.db or router.db_for_write(model, instance=instance)
    found = []
    for part in concrete_models(model):
        table = table_of(part, database)
        found.append((database, table_tag(table.name)))
        text = key_text_of(instance, part, table, database)
        if text is None:
            found.append((database, all_rows_tag(table.name)))
            continue
        found.append((database, row_tag(table.name, text)))
        if table.columns:  # an instance shows neither its former values nor deferred ones
            found.append((database, slices_tag(table.name)))
    return found


def tables_of(model: type[Model], database: str) -> list[TrackedTable]:
    """Return the tracked tables of a model and its parents."""
    return [table_of(part, database) for part in concrete_models(model)]


def table_of(model: type[Model], database: str) -> TrackedTable:
    """Return a model's tracked table. Raise ValueError if it is not tracked."""
    table = tracked_tables(database).get(model._meta.db_table)
    if table is None:
        raise ValueError(
            f"{model._meta.label} is not tracked in DATABASES[{database!r}]. To track"
            f" it, {track_with(model._meta.label)}"
        )
    return table


def tags_of_row(instance: Model) -> dict[str, list[str]]:
    """Return the tags of a value made from an instance, by database.

    For a model whose table is a view, these are the tags of the tables that the view reads.
    """
    database = instance._state.db
    if database is None or instance.pk is None:
        return {}
    tracked, connection = tracked_tables(database), connections[database]
    found = []
    for part in concrete_models(type(instance)):
        behind = database_of(connection).tables_behind(connection, part._meta.db_table)
        found += [*(table_tag(table.name) for table in behind), *([SCHEMA_TAG] if behind else [])]
        table = tracked.get(part._meta.db_table)
        if table is None:  # newer code may track it, and may read this entry
            is_logged = database_of(connection).has_log(connection)
            found += [table_tag(part._meta.db_table)] if is_logged else []
            continue
        is_odd = database_of(connection).is_key_odd(connection, table)
        text = None if is_odd else key_text_of(instance, part, table, database)
        if text is None:
            found.append(table_tag(table.name))
        else:
            found += [row_tag(table.name, text), all_rows_tag(table.name)]
    return {database: found} if found else {}


def key_text_of(
    instance: Model, part: type[Model], table: TrackedTable, database: str
) -> str | None:
    """Return the text of an instance's key in a table, or None if the table's rows have no tags.

    The text is the one that triggers and statements write: a field may show Python another value.
    """
    key = part._meta.pk
    if key is None or table.key_kind is None:
        return None
    value = key.get_db_prep_value(key.value_from_object(instance), connections[database])
    return key_text(table, value)
