"""Read the project's settings for its caches, with the defaults.

Every other module may import it; it imports only ``locations`` and
``implied_layers``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, cast

from django.conf import settings
from django.core.cache import DEFAULT_CACHE_ALIAS
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.db import DEFAULT_DB_ALIAS
from django.utils.module_loading import import_string

from cachelayers.durations import as_seconds
from cachelayers.implied_layers import BUS_OF_TABLE, ImpliedLayer, complete_options, implied_layers
from cachelayers.locations import Kind, is_file, location_of

DAY_SECONDS = 24 * 60 * 60

OWN_TABLES = "cachelayers_"  # how the names of the app's tables begin

EVERYTHING = "*"  # in TRACK: all models, without those that only keep the site's books

LOG_AS_BUS = BUS_OF_TABLE  # the value of BUS that makes the log of invalidations the bus


@dataclass(frozen=True, slots=True)
class PackageSettings:
    """The settings in settings.CACHELAYERS, with defaults."""

    TRACK: tuple[str, ...] = (EVERYTHING,)  # app labels and models; none: nothing invalidates
    # Whether recall(), @cached and fragments look up and store; if not, everything is computed.
    ENABLED: bool = True
    ALIAS: str = DEFAULT_CACHE_ALIAS
    TIMEOUT: float | None = 300  # seconds
    # Seconds for which a process need not read the log again; 0: it does in each unit of work.
    FRESHNESS: float = 0
    # MySQL and MariaDB only: how long a transaction may stay open after it has written.
    LATE_COMMIT_SECONDS: float = 10
    LONGEST_TIMEOUT: float = 30 * DAY_SECONDS  # the log and all entries are kept no longer
    LOG_SECONDS: float = 2  # of one statement on the log; slower ones fail, and values are computed
    LEASE_SECONDS: float = 10  # then a computing process counts as dead
    # Change it to render all fragments again, as for changed code outside of tag libraries.
    DEPLOY_SALT: str = ""
    STRICT: bool = False  # raise for a static file without an id, instead of a marker in its URL
    STATIC_DEV_MODE: bool | None = None  # check static files at each use; None: as DEBUG
    STATIC_LOG: bool = False  # log a line for each static file that is hashed
    # The queue of `warm_cache --enqueue`: "django", "celery"; None: the one that the project uses.
    TASK_QUEUE: str | None = None
    STATIC_RECHECK_SECONDS: float | None = None  # check files again in production; None: never
    STATS_SECONDS: float | None = 10  # between two writes of a process's counts; None: never
    STATS_DAYS: float = 7
    ADVISE_SAMPLE: float = 0.0  # the share of queries, functions and pages that is timed, 0 to 1


SETTING_NAMES = tuple(field.name for field in fields(PackageSettings))
TIMES = {
    "TIMEOUT",
    "FRESHNESS",
    "LONGEST_TIMEOUT",
    *(one for one in SETTING_NAMES if one.endswith("_SECONDS")),
}


@lru_cache(maxsize=1)
def package_settings() -> PackageSettings:
    """Return settings.CACHELAYERS with the defaults filled in. The checks report invalid values."""
    found = getattr(settings, "CACHELAYERS", {})
    if not isinstance(found, Mapping):
        raise ImproperlyConfigured(
            "CACHELAYERS is not a dictionary. Make it one: {'TIMEOUT': 600}."
        )
    known = {name: value for name, value in found.items() if name in SETTING_NAMES}
    track = known.get("TRACK", EVERYTHING)
    given = {name: as_seconds(known[name]) for name in TIMES & known.keys()}
    if not is_freshness(given.get("FRESHNESS", 0)):
        given["FRESHNESS"] = 0
    return PackageSettings(
        **{**known, **given, "TRACK": (track,) if isinstance(track, str) else tuple(track)}
    )


def is_freshness(seconds: object) -> bool:
    """Return whether a value is a number of seconds that FRESHNESS may be."""
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    return is_number and 0 <= cast(float, seconds) < float("inf")


def forget_settings(*, setting: str, **kwargs: Any) -> None:
    """Receive setting_changed, which tests send."""
    if setting in {"CACHELAYERS", "CACHES"}:
        package_settings.cache_clear()


setting_changed.connect(forget_settings, dispatch_uid="cachelayers.conf.forget_settings")


def backend_of(params: Mapping[str, Any]) -> type | None:
    """Return the class that a cache's settings name, or None if it cannot be imported."""
    try:
        backend: type = import_string(params.get("BACKEND", ""))
    except ImportError:
        return None  # Django reports it, with the alias, when the cache is first used
    return backend


def is_layered(params: Mapping[str, Any]) -> bool:
    """Return whether settings are those of a LayeredCache."""
    # A flag instead of issubclass(): this module must not import the backends.
    return bool(getattr(backend_of(params), "has_layers", False))


def layers_implied() -> Iterator[ImpliedLayer]:
    """Yield the layers that the LOCATION of each LayeredCache stands for."""
    for alias, params in settings.CACHES.items():
        if params.get("LOCATION") and is_layered(params):
            yield from implied_layers(alias, params)


def implied_layer(alias: str) -> ImpliedLayer | None:
    """Return the layer of an alias that is not in CACHES, or None."""
    if alias in settings.CACHES:
        return None
    return next((layer for layer in layers_implied() if layer.alias == alias), None)


def all_caches() -> dict[str, dict[str, Any]]:
    """Return the settings of the caches in CACHES and of implied layers, by alias."""
    implied = {layer.alias: layer.params for layer in layers_implied()}
    return {**settings.CACHES, **implied, **settings.CACHES}


def cache_settings(alias: str) -> dict[str, Any]:
    """Return the settings of an alias of CACHES or of an implied layer; {}: there is none."""
    layer = implied_layer(alias)
    found: dict[str, Any] = layer.params if layer else settings.CACHES.get(alias, {})
    return found


def layer_name(alias: str) -> str:
    """Return the name of a layer for people: its alias, if it is in CACHES."""
    layer = implied_layer(alias)
    return layer.name if layer else alias


def table_alias(alias: str) -> str:
    """Return the alias with which the rows of a table begin: of an implied layer, its cache's.

    A file that is moved keeps its entries.
    """
    layer = implied_layer(alias)
    return layer.cache if layer else alias


def layers_of(cache: str) -> list[str]:
    """Return the aliases of the layers of a cache; [] if it is no LayeredCache."""
    params = settings.CACHES.get(cache, {})
    if not is_layered(params):
        return []
    layers = complete_options(cache, params).get("LAYERS", ())
    return list(layers) if isinstance(layers, list | tuple) else []


def database_caches() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield alias and settings of every cache or layer that stores its entries in our table."""
    for alias, params in all_caches().items():
        # A flag instead of issubclass(): this module must not import the backends.
        if getattr(backend_of(params), "keeps_entries_in_table", False):
            yield alias, params


def table_database_of(params: Mapping[str, Any]) -> str:
    """Return the DATABASES alias that a DatabaseCache's settings name, or the path of its file."""
    named = params.get("LOCATION") or DEFAULT_DB_ALIAS
    found = location_of(named)
    return found.name if found and found.kind is Kind.FILE else named


def table_databases() -> list[str]:
    """Return the aliases and paths that the settings of DatabaseCaches name, without duplicates."""
    named = (table_database_of(params) for _, params in database_caches())
    # Other values are an error that a check reports.
    return list(dict.fromkeys(name for name in named if isinstance(name, str)))


def cache_databases() -> list[str]:
    """Return the DATABASES aliases that hold the table of a DatabaseCache, without duplicates."""
    return [name for name in table_databases() if not is_file(name)]


def cache_files() -> list[str]:
    """Return the paths of the caches' own files that LOCATION names, without duplicates."""
    return list(filter(is_file, table_databases()))


def is_own_database(database: str) -> bool:
    """Return whether a database with the table is the cache's own: any one but "default"."""
    return database != DEFAULT_DB_ALIAS and database in cache_databases()


def statistics_database() -> str:
    """Return the DATABASES alias of the statistics: the cache's own database, if there is one."""
    return next(filter(is_own_database, cache_databases()), DEFAULT_DB_ALIAS)


def aliases_configured_as(backend: type, location: str, params: Mapping[str, Any]) -> list[str]:
    """Return the aliases of caches that have exactly this backend and these settings.

    Django does not pass a backend its alias; the settings mostly identify it.
    """
    return [
        alias
        for alias, configured in settings.CACHES.items()
        if backend_of(configured) is backend
        and configured.get("LOCATION", "") == location
        and {key: value for key, value in configured.items() if key not in {"BACKEND", "LOCATION"}}
        == params
    ]


def shares_its_file(database: str) -> bool:
    """Return whether the SQLite file of a DATABASES alias also holds other tables than ours."""
    names = [str(configured["NAME"]) for configured in settings.DATABASES.values()]
    return (
        not is_own_database(database) or names.count(str(settings.DATABASES[database]["NAME"])) > 1
    )
