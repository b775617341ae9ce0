"""Find the tables whose writes invalidate: those of the models in CACHELAYERS['TRACK'].

Triggers, the SQL analysis, explicit invalidation and the checks use it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from typing import Any, cast

from django.apps import apps
from django.core.signals import setting_changed
from django.db import DEFAULT_DB_ALIAS, connections, models, router

from cachelayers.conf import EVERYTHING, package_settings
from cachelayers.invalidation.tags import (
    LONGEST_COLUMN,
    LONGEST_KEY_TEXT,
    LONGEST_SLICED_TABLE,
    table_tag,
)

LOGGED_VENDORS = frozenset({"sqlite", "postgresql", "mysql"})  # databases that can have a log
# Apps whose tables are written in many requests and shown in hardly any page.
BOOKKEEPING = frozenset({"admin", "sessions", "cachelayers"})

TEXT_FIELDS = frozenset({"CharField", "SlugField"})

TABLE_TAG = table_tag("")  # how the tag of a whole table begins

Model = type[models.Model]


class KeyKind(Enum):
    """How the tag of a row or slice writes its value."""

    INTEGER = "integer"  # decimal
    TEXT = "text"  # as it is
    UUID = "uuid"  # 32 lower-case hexadecimal digits


@dataclass(frozen=True, slots=True)
class KeyedColumn:
    """A column whose values have tags: each stands for the slice of rows that have it."""

    name: str
    kind: KeyKind


@dataclass(frozen=True, slots=True)
class TrackedTable:
    """A table whose writes are logged. Without a key kind, its rows have no tags of their own."""

    name: str
    key_column: str | None
    key_kind: KeyKind | None
    columns: tuple[KeyedColumn, ...] = ()  # beside the key, by name; none without a key

    @property
    def keyed(self) -> tuple[KeyedColumn, ...]:
        """The key, if it is known, and the other keyed columns."""
        if self.key_column is None or self.key_kind is None:
            return self.columns
        return (KeyedColumn(self.key_column, self.key_kind), *self.columns)


class UnknownTarget(LookupError):
    """A name in TRACK that is neither an app nor a model."""


NO_TABLES: Mapping[str, TrackedTable] = {}


def tracked_models() -> frozenset[Model]:
    """Return the concrete models that TRACK names, with their parents and many-to-many tables."""
    return _tracked_models(package_settings().TRACK)


def tracked_tables(database: str) -> Mapping[str, TrackedTable]:
    """Return the tables whose writes are logged in a database, by name.

    They do not depend on allow_migrate of routers: the tables of a tenant, a replica or another
    team's database change although this project does not migrate them.
    """
    return _tracked_tables(package_settings().TRACK, database)


def tracked_databases() -> list[str]:
    """Return the aliases of DATABASES for which routers allow tracked tables."""
    return [
        database
        for database in connections
        if any(router.allow_migrate_model(database, model) for model in tracked_models())
    ]


def log_database() -> str:
    """Return the alias of the database whose log holds user tags and keys."""
    return DEFAULT_DB_ALIAS


def models_named(target: str) -> list[Model]:
    """Return the models that one name in TRACK stands for. Raise UnknownTarget if there are none.

    This includes apps that a test has removed from INSTALLED_APPS: their tables still change.
    """
    if target == EVERYTHING:
        return list(all_but_bookkeeping())
    label, _, name = str(target).partition(".")
    if not name and (label in apps.app_configs or label in apps.all_models):
        return models_of_app(label)
    model = apps.all_models.get(label, {}).get(name.lower())
    if model is None:
        raise UnknownTarget(target)
    through = [cast(Any, field.remote_field).through for field in model._meta.local_many_to_many]
    return [model, *(other for other in through if other._meta.auto_created)]


def all_but_bookkeeping() -> Iterator[Model]:
    """Yield the models for which "*" stands. Models of sessions may be the project's own."""
    # Imported late: abstract models, too, need the list of apps.
    from django.contrib.sessions.base_session import AbstractBaseSession

    for label in apps.all_models:
        if label not in BOOKKEEPING:
            yield from (
                one for one in models_of_app(label) if not issubclass(one, AbstractBaseSession)
            )


def models_of_app(label: str) -> list[Model]:
    """Return all models of an app, with the tables of their many-to-many fields."""
    return list(apps.all_models.get(label, {}).values())


@lru_cache(maxsize=8)
def _tracked_models(track: tuple[str, ...]) -> frozenset[Model]:
    return frozenset(
        part
        for target in track
        for model in models_known_by(target)
        for part in concrete_models(model)
        if part._meta.app_label != "cachelayers"
    )


def models_known_by(target: str) -> list[Model]:
    """Return the models that one name in TRACK stands for. A check reports unknown names."""
    try:
        return models_named(target)
    except UnknownTarget:
        return []


def concrete_models(model: Model) -> Iterator[Model]:
    """Yield the model that owns the table, and its parents, which a read joins."""
    concrete = model._meta.concrete_model
    if concrete is not None and not concrete._meta.swapped:
        yield concrete
        for parent in concrete._meta.get_parent_list():
            if not parent._meta.proxy:
                yield parent


def untracked_tables_in(database: str, tags: Iterable[str]) -> list[str]:
    """Return the tables among tags whose changes do not invalidate."""
    if database not in connections.settings:
        return []
    tracked = set(map(table_tag, tracked_tables(database)))
    found = {tag for tag in tags if tag.startswith(TABLE_TAG)} - tracked
    return sorted(tag.removeprefix(TABLE_TAG) for tag in found)


def track_with(label: str) -> str:
    """Return what to do so that a model is tracked too: "*" must not be lost."""
    track = [*package_settings().TRACK, label]
    return f"set CACHELAYERS['TRACK'] to {track!r}, and run `migrate`."


def label_of(table: str) -> str:
    """Return the label of the model that has a table, as TRACK names it; "": none has."""
    of_all = (model for label in apps.all_models for model in models_of_app(label))
    return next((model._meta.label for model in of_all if model._meta.db_table == table), "")


@lru_cache(maxsize=1)
def tables_of_all_models() -> Mapping[str, str]:
    """Return the tables of all models, tracked or not, by lower-case name without a schema."""
    tables = (model._meta.db_table for label in apps.all_models for model in models_of_app(label))
    return {without_schema(table).lower(): table for table in tables}


@lru_cache(maxsize=64)
def _tracked_tables(track: tuple[str, ...], database: str) -> Mapping[str, TrackedTable]:
    if database not in connections.settings:
        return NO_TABLES  # Django's connection that creates test databases
    vendor = connections[database].vendor
    if vendor not in LOGGED_VENDORS:
        return NO_TABLES
    found: dict[str, TrackedTable] = {}
    for model in sorted(_tracked_models(track), key=lambda model: model._meta.label):
        table = tracked_table_of(model, vendor)
        known = found.get(table.name)
        found[table.name] = table if known is None else shared_table(known, table)
    return dict(sorted(found.items()))


def tracked_table_of(model: Model, vendor: str) -> TrackedTable:
    """Return a model's table."""
    name, key = model._meta.db_table, model._meta.pk
    kind = kind_of(key, vendor) if key is not None else None
    if key is None or kind is None:
        return TrackedTable(name, None, None)
    return TrackedTable(name, key.column, kind, tuple(keyed_columns(model, vendor)))


def keyed_columns(model: Model, vendor: str) -> list[KeyedColumn]:
    """Return the columns by whose values rows are asked for: indexed ones, foreign keys, slugs.

    A tag is taken apart at its colons.
    """
    options = model._meta
    if len(options.db_table) > LONGEST_SLICED_TABLE or ":" in options.db_table:
        return []
    indexed = names_in_indexes(model)
    chosen = {
        str(one.column): kind
        for one in options.local_concrete_fields
        if not one.primary_key and (one.name in indexed or is_asked_for(one))
        if len(str(one.column)) <= LONGEST_COLUMN and ":" not in str(one.column)
        if (kind := kind_of(one, vendor)) is not None
    }
    return [KeyedColumn(name, kind) for name, kind in sorted(chosen.items())]


def is_asked_for(one: models.Field[Any, Any]) -> bool:
    """Return whether a field itself says that rows are asked for by its values."""
    is_reference = isinstance(one, (models.ForeignKey, models.SlugField))
    return is_reference or one.unique or bool(cast(Any, one).db_index)


def names_in_indexes(model: Model) -> set[str]:
    """Return the names of the fields in a model's indexes and unique constraints."""
    options = model._meta
    constraints = [one for one in options.constraints if isinstance(one, models.UniqueConstraint)]
    together = [*options.unique_together, *getattr(options, "index_together", ())]
    return {
        *(name for index in options.indexes for name, _ in index.fields_orders),
        *(name for constraint in constraints for name in constraint.fields),
        *(name for names in together for name in names),
    }


def shared_table(one: TrackedTable, other: TrackedTable) -> TrackedTable:
    """Return the table of two models. Without the same key in both, its rows have no tags."""
    if (one.key_column, one.key_kind) != (other.key_column, other.key_kind):
        return TrackedTable(one.name, None, None)
    kinds: dict[str, set[KeyKind]] = {}
    for column in (*one.columns, *other.columns):
        kinds.setdefault(column.name, set()).add(column.kind)
    agreed = [KeyedColumn(name, *some) for name, some in sorted(kinds.items()) if len(some) == 1]
    return replace(one, columns=tuple(agreed))


def without_schema(table: str) -> str:
    """Return a table's name without a schema that is part of it, as in `"public"."t"`.

    >>> without_schema('"public"."t"')
    't'
    """
    return table.rpartition('"."')[2].strip('"')


def kind_of(key: models.Field[Any, Any], vendor: str) -> KeyKind | None:
    """Return how tags write a column, or None if several texts may stand for the same value.

    MySQL, and some collations, compare text without case and trailing spaces.
    """
    while isinstance(key, models.ForeignKey):
        key = key.target_field
    if isinstance(key, models.UUIDField):
        return KeyKind.UUID
    if isinstance(key, models.IntegerField):
        return KeyKind.INTEGER
    is_short = key.max_length is not None and key.max_length <= LONGEST_KEY_TEXT
    is_text = isinstance(key, models.CharField) and key.get_internal_type() in TEXT_FIELDS
    if is_text and is_short and vendor != "mysql" and not cast(Any, key).db_collation:
        return KeyKind.TEXT
    return None


def forget_tables(*, setting: str, **kwargs: Any) -> None:
    """Receive setting_changed, which tests send."""
    if setting in {"CACHELAYERS", "INSTALLED_APPS", "DATABASE_ROUTERS", "CACHES", "DATABASES"}:
        _tracked_models.cache_clear()
        _tracked_tables.cache_clear()
        tables_of_all_models.cache_clear()


setting_changed.connect(forget_tables, dispatch_uid="cachelayers.invalidation.forget_tables")
