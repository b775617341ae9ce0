"""Whose log an entry is checked with: of the database that its reader would read now.

A copy that follows its original lags behind it. A router that sends a user to the original, since
he has just written, is not to find him what was made from the copy before. Both have one log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from django.db import DatabaseError, connections, router

from cachelayers.invalidation.incarnations import mirrored_by
from cachelayers.invalidation.log import log_of
from cachelayers.invalidation.tags import all_rows_tag, table_tag
from cachelayers.invalidation.tracked import Model, tracked_models
from cachelayers.invalidation.units import Unit
from cachelayers.routers import CacheRouter


def are_there_routers() -> bool:
    """Tell whether the project chooses among databases."""
    if len(connections.settings) > 1:
        for one in router.routers:  # no any(): every hit of recall asks
            if not isinstance(one, CacheRouter):
                return True
    return False


def database_to_ask(unit: Unit, database: str, incarnation: str, tags: Iterable[str]) -> str | None:
    """Return the alias whose log is to vouch for an entry that was made from ``database``.

    None: the original cannot be asked, or the copy has another log, which says nothing of it.
    Code that names an alias by itself, with `using()`, is checked with the log of that alias where
    the two are not copies of each other.
    """
    model = model_of(tags)
    if model is None:
        return database
    chosen = router.db_for_read(model)
    if chosen in {database, None} or chosen != router.db_for_write(model):
        return database
    try:
        unit.refresh(chosen)
    except DatabaseError:
        return None
    known = log_of(chosen).known
    if known is not None and known.incarnation == incarnation:
        return chosen
    return None if mirrored_by(connections[database]) == chosen else database


def model_of(tags: Iterable[str]) -> Model | None:
    """Return a model whose table is among tags."""
    by_tag = models_by_tag(tracked_models())
    return next((by_tag[tag] for tag in tags if tag in by_tag), None)


@lru_cache(maxsize=4)
def models_by_tag(models: frozenset[Model]) -> Mapping[str, Model]:
    """Return the models by the tags that every read of their tables has."""
    return {
        tag(model._meta.db_table): model for model in models for tag in (table_tag, all_rows_tag)
    }
