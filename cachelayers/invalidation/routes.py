"""Choose the database whose log decides whether an entry is valid: the one its reader would read.

A replica lags behind its primary, and has the same log. A router may send users who have just
written to the primary: they must not get an entry that was made from the replica before.

Keys do not contain a router's choice, such as one database per tenant. So each entry stores that
choice, and is valid only for readers for whom the router chooses the same database.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache

from django.db import DatabaseError, connections, router

from cachelayers.invalidation.incarnations import mirrored_by
from cachelayers.invalidation.log import Dependency, log_of
from cachelayers.invalidation.reports import warn_of_other_route_once
from cachelayers.invalidation.tags import ROUTE, all_rows_tag, route_tag, table_tag
from cachelayers.invalidation.tracked import Model, tracked_models
from cachelayers.invalidation.units import Unit
from cachelayers.routers import CacheRouter


def are_there_routers() -> bool:
    """Return whether the project chooses among databases."""
    if len(connections.settings) > 1:
        for one in router.routers:  # no any(): every hit runs this
            if not isinstance(one, CacheRouter):
                return True
    return False


def chosen_to_read(model: Model) -> str | None:
    """Return the alias that routers choose to read from, or None if a router raises."""
    # A router may raise anything if no tenant is active. There, code names the alias itself.
    with suppress(Exception):
        return router.db_for_read(model)
    return None


def chosen_to_write(model: Model) -> str | None:
    """Return the alias that routers choose to write to, or None if a router raises."""
    with suppress(Exception):
        return router.db_for_write(model)
    return None


def with_routes(dependencies: Sequence[Dependency]) -> Sequence[Dependency]:
    """Add the databases that routers have chosen for the dependencies' tables."""
    if not are_there_routers():
        return dependencies
    return [one._replace(tags=with_route_tags(one.database, one.tags)) for one in dependencies]


def with_route_tags(database: str, tags: Sequence[str]) -> Sequence[str]:
    """Return the tags, followed by route tags: where routers send writes to their tables.

    A table has no route tag if routers would not have chosen ``database``: the code has named it.
    """
    routes = {tag: None for tag in tags if tag.startswith(ROUTE)}
    by_tag, connection = models_by_tag(tracked_models()), connections[database]
    for model in dict.fromkeys(by_tag[tag] for tag in tags if tag in by_tag):
        routed_to = chosen_to_write(model)
        if routed_to is None:
            continue
        if database in {routed_to, chosen_to_read(model)} or mirrored_by(connection) == routed_to:
            routes[route_tag(model._meta.db_table, routed_to)] = None
    return [*(tag for tag in tags if tag not in routes), *routes]


def routes_in(tags: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield pairs of table and the alias that routers have chosen for it."""
    for tag in reversed(tags):  # with_route_tags() has put them last
        if not tag.startswith(ROUTE):
            return
        table, _, routed_to = tag.removeprefix(ROUTE).rpartition(":")
        yield table, routed_to


def is_routed_the_same(unit: Unit, incarnation: str, tags: Sequence[str]) -> bool:
    """Return whether routers choose for the reader of an entry what they chose for its writer."""
    by_tag = models_by_tag(tracked_models())
    for table, routed_to in routes_in(tags):
        model = by_tag.get(table_tag(table))
        if model is None:
            continue
        chosen = chosen_to_write(model)
        if chosen is None:
            return False
        if chosen != routed_to and not has_log(unit, chosen, incarnation):
            warn_of_other_route_once(table, routed_to, chosen)
            return False
    return True


def has_log(unit: Unit, database: str, incarnation: str) -> bool:
    """Return whether a database has a log of this incarnation. Database errors are raised."""
    unit.refresh(database)
    known = log_of(database).known
    return known is not None and known.incarnation == incarnation


def database_to_check(
    unit: Unit, database: str, incarnation: str, tags: Sequence[str]
) -> str | None:
    """Return the alias whose log decides whether an entry made from ``database`` is valid.

    None: the primary cannot be read, or has another log, or routers send the reader to other data.
    If code names an alias with `using()` and the two databases are not copies of each other, it is
    that alias.
    """
    model = model_of(tags)
    if model is None:
        return database
    try:
        if not is_routed_the_same(unit, incarnation, tags):
            return None
        chosen = chosen_to_read(model)
        if chosen is None or chosen == database or chosen != chosen_to_write(model):
            return database
        if has_log(unit, chosen, incarnation):
            return chosen
    except DatabaseError:
        return None
    return None if mirrored_by(connections[database]) == chosen else database


def model_of(tags: Iterable[str]) -> Model | None:
    """Return a model whose table is among the tags."""
    by_tag = models_by_tag(tracked_models())
    return next((by_tag[tag] for tag in tags if tag in by_tag), None)


@lru_cache(maxsize=4)
def models_by_tag(models: frozenset[Model]) -> Mapping[str, Model]:
    """Return models by the tags that every read of their tables has."""
    return {
        tag(model._meta.db_table): model for model in models for tag in (table_tag, all_rows_tag)
    }
