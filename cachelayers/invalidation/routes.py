"""Whose log an entry is checked with: of the database that its reader would read now.

A copy that follows its original lags behind it. A router that sends a user to the original, since
he has just written, is not to find him what was made from the copy before. Both have one log.

A router that gives each tenant a database of its own is not seen by a key. So an entry says where
the router has sent it, and is no entry for whom the router sends elsewhere.
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
    """Tell whether the project chooses among databases."""
    if len(connections.settings) > 1:
        for one in router.routers:  # no any(): every hit of recall asks
            if not isinstance(one, CacheRouter):
                return True
    return False


def chosen_to_read(model: Model) -> str | None:
    """Return the alias that routers choose to read from; None where one of them refuses to."""
    # Where no tenant is active, a router may raise whatever it likes. Code names the alias there.
    with suppress(Exception):
        return router.db_for_read(model)
    return None


def chosen_to_write(model: Model) -> str | None:
    """Return the alias that routers choose to write to; None where one of them refuses to."""
    with suppress(Exception):
        return router.db_for_write(model)
    return None


def with_routes(dependencies: Sequence[Dependency]) -> Sequence[Dependency]:
    """Return dependencies that say which databases routers have chosen for their tables."""
    if not are_there_routers():
        return dependencies
    return [one._replace(tags=with_route_tags(one.database, one.tags)) for one in dependencies]


def with_route_tags(database: str, tags: Sequence[str]) -> Sequence[str]:
    """Return tags of a database, and behind them where routers send writes to their tables.

    But of tables for which routers would not have chosen that database: code has named it.
    """
    homes = {tag: None for tag in tags if tag.startswith(ROUTE)}
    by_tag, connection = models_by_tag(tracked_models()), connections[database]
    for model in dict.fromkeys(by_tag[tag] for tag in tags if tag in by_tag):
        home = chosen_to_write(model)
        if home is None:
            continue
        if database in {home, chosen_to_read(model)} or mirrored_by(connection) == home:
            homes[route_tag(model._meta.db_table, home)] = None
    return [*(tag for tag in tags if tag not in homes), *homes]


def routes_in(tags: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the tables whose database routers have chosen, each with that."""
    for tag in reversed(tags):  # where with_route_tags() has put them
        if not tag.startswith(ROUTE):
            return
        table, _, home = tag.removeprefix(ROUTE).rpartition(":")
        yield table, home


def is_routed_the_same(unit: Unit, incarnation: str, tags: Sequence[str]) -> bool:
    """Tell whether routers send the reader of an entry where they have sent its maker."""
    by_tag = models_by_tag(tracked_models())
    for table, home in routes_in(tags):
        model = by_tag.get(table_tag(table))
        if model is None:
            continue
        chosen = chosen_to_write(model)
        if chosen is None:
            return False
        if chosen != home and not has_log(unit, chosen, incarnation):
            warn_of_other_route_once(table, home, chosen)
            return False
    return True


def has_log(unit: Unit, database: str, incarnation: str) -> bool:
    """Tell whether a database has a certain log; DatabaseError where it cannot be asked."""
    unit.refresh(database)
    known = log_of(database).known
    return known is not None and known.incarnation == incarnation


def database_to_check(
    unit: Unit, database: str, incarnation: str, tags: Sequence[str]
) -> str | None:
    """Return the alias whose log is to vouch for an entry that was made from ``database``.

    None: the original cannot be asked, the copy has another log, which says nothing of it, or
    routers send the reader to other data.
    Code that names an alias by itself, with `using()`, is checked with the log of that alias where
    the two are not copies of each other.
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
    """Return a model whose table is among tags."""
    by_tag = models_by_tag(tracked_models())
    return next((by_tag[tag] for tag in tags if tag in by_tag), None)


@lru_cache(maxsize=4)
def models_by_tag(models: frozenset[Model]) -> Mapping[str, Model]:
    """Return the models by the tags that every read of their tables has."""
    return {
        tag(model._meta.db_table): model for model in models for tag in (table_tag, all_rows_tag)
    }
