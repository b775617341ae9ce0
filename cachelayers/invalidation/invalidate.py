"""Invalidate by hand: words, rows and whole tables, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from asgiref.sync import sync_to_async
from django.db import connections, router
from django.db.models import Model

from cachelayers.invalidation.log import write_tags
from cachelayers.invalidation.sql.analysis import database_of, key_text
from cachelayers.invalidation.tags import (
    SCHEMA_TAG,
    all_rows_tag,
    row_tag,
    table_tag,
    user_tag,
    warn_of_misspelt_tag,
)
from cachelayers.invalidation.tracked import (
    TrackedTable,
    concrete_models,
    log_database,
    tracked_tables,
)
from cachelayers.invalidation.transactions import transaction_of
from cachelayers.invalidation.units import living_unit

Target = str | Model | type[Model]


def invalidate(*targets: Target, using: str | None = None) -> None:
    """Make invalid what was made from words, from instances' rows, or from models' tables.

    Takes effect with the caller's transaction, or at once where there is none. ``using``: an alias
    of DATABASES, where it is not the one that the router and the instance name.
    Raises TypeError or ValueError for what is none of these, or not tracked; then nothing is done.
    """
    if not targets:
        raise TypeError("invalidate() names nothing. Give words, instances or models.")
    tags: dict[str, list[str]] = {}
    for target in targets:
        for database, tag in tags_of(target, using):
            tags.setdefault(database, []).append(tag)
    for target in targets:
        if isinstance(target, str):
            warn_of_misspelt_tag(target)
    write_invalidations(tags)


async def ainvalidate(*targets: Target, using: str | None = None) -> None:
    """Do as invalidate() does, in async code."""
    await sync_to_async(invalidate)(*targets, using=using)


def write_invalidations(tags: Mapping[str, Iterable[str]]) -> None:
    """Log tags in each database, and have the unit read them before its next recall."""
    for database, some in tags.items():
        connection = connections[database]
        write_tags(connection, list(dict.fromkeys(some)))
        transaction_of(connection).mark_dirty()
        if unit := living_unit():
            unit.note_write(connection)


def tags_of(target: Target, using: str | None) -> Iterable[tuple[str, str]]:
    """Return pairs of database and tag."""
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
    raise TypeError(
        f"invalidate() was given {target!r}. Give a word, an instance of a model, or a model."
    )


def tags_of_instance(instance: Model, using: str | None) -> Iterable[tuple[str, str]]:
    """Return the tags of an instance's row, in its own table and in its parents'."""
    if instance.pk is None:
        raise ValueError(f"{instance!r} is not saved: it has no row to invalidate.")
    model = type(instance)
    database = using or instance._state.db or router.db_for_write(model, instance=instance)
    found = []
    for part in concrete_models(model):
        table = table_of(part, database)
        found.append((database, table_tag(table.name)))
        text = key_text_of(instance, part, table, database)
        found.append(
            (database, all_rows_tag(table.name) if text is None else row_tag(table.name, text))
        )
    return found


def tables_of(model: type[Model], database: str) -> list[TrackedTable]:
    """Return the tracked tables of a model and its parents."""
    return [table_of(part, database) for part in concrete_models(model)]


def table_of(model: type[Model], database: str) -> TrackedTable:
    """Return a model's tracked table; ValueError where it is not tracked."""
    table = tracked_tables(database).get(model._meta.db_table)
    if table is None:
        raise ValueError(
            f"{model._meta.label} is not tracked in DATABASES[{database!r}]. Add"
            f" {model._meta.label!r} or {model._meta.app_label!r} to CACHELAYERS['TRACK']."
        )
    return table


def tags_of_row(instance: Model) -> dict[str, list[str]]:
    """Return what something made of an instance depends on, by database: its tracked rows.

    Of a model whose table is a view these are the tables that it shows.
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
        if table is None:  # newer code may track it, and finds the entry
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
    """Return the text of an instance's key in a table, None where its rows have no tags.

    As triggers and statements write it: a field may give Python another value than the database.
    """
    key = part._meta.pk
    if key is None or table.key_kind is None:
        return None
    value = key.get_db_prep_value(key.value_from_object(instance), connections[database])
    return key_text(table, value)
