"""System checks: errors and warnings about settings and databases, each with a hint."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags
from django.core.management import find_commands, get_commands
from django.db import DEFAULT_DB_ALIAS, connections, router
from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.backends import (
    WITHOUT_BUS_SECONDS,
    ConfiguredCache,
    LayeredCache,
    is_local_alias,
    is_number,
    may_be_sqlite,
)
from cachelayers.conf import (
    EVERYTHING,
    LOG_AS_BUS,
    SETTING_NAMES,
    backend_of,
    cache_databases,
    cache_files,
    database_caches,
    is_freshness,
    is_own_database,
    package_settings,
    shares_its_file,
    table_database_of,
)
from cachelayers.durations import HOW_TO_WRITE, as_seconds
from cachelayers.implied_layers import complete_options
from cachelayers.invalidation import (
    FILLED_LOG_HINT,
    LOG,
    TRIGGER_VENDORS,
    UnknownTarget,
    declaring_models,
    filled_log,
    has_triggers,
    models_known_by,
    models_named,
    read_guard,
    tracked_models,
)
from cachelayers.locations import is_file, place_of
from cachelayers.models import Entry, Invalidation

# The settings of CACHELAYERS by type. TRACK and ALIAS have their own rules.
SECONDS = ("TIMEOUT", "LATE_COMMIT_SECONDS", "LONGEST_TIMEOUT", "LOG_SECONDS", "LEASE_SECONDS")
FLAGS = ("ENABLED", "STRICT", "STATIC_DEV_MODE", "STATIC_LOG")
LONGEST_FRESHNESS = 60  # seconds; a higher number may be meant as milliseconds
CLOSE = 0.85  # of difflib: CACHELAYER is as close as 0.95, CHANNEL_LAYERS as 0.75
OLDEST_SQLITE = (3, 35, 0)  # the first with RETURNING
ROUTER = "cachelayers.routers.CacheRouter"
DOCS = "See docs/database_cache.md."


def register_all() -> None:
    checks.register(check_caches, Tags.caches)
    checks.register(check_package_settings)
    checks.register(check_declared_tags, Tags.models)
    checks.register(check_databases)
    checks.register(check_triggers, Tags.database)
    checks.register(check_tables, Tags.database)
    checks.register(check_logs, Tags.database)
    checks.register(check_shared_files, Tags.database)


def check_caches(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check our caches in CACHES and the databases that hold their tables."""
    return [*cache_messages(), *database_messages(), *file_messages()]


def cache_messages() -> Iterator[CheckMessage]:
    """Yield errors in each cache's own settings."""
    for alias, params in settings.CACHES.items():
        backend = backend_of(params)
        if backend is None or not issubclass(backend, ConfiguredCache):
            continue
        others = {key: value for key, value in params.items() if key not in {"BACKEND", "LOCATION"}}
        where = f"CACHES[{alias!r}]"
        for problem in backend.find_problems(where, params.get("LOCATION", ""), others):
            yield Error(problem.text, hint=problem.cure, id=problem.id)
        options = others.get("OPTIONS", {})
        if isinstance(options, Mapping) and options.get("UNLOGGED"):
            yield from unlogged_messages(where, table_database_of(params))
        if backend is LayeredCache and isinstance(options, Mapping):
            yield from bus_messages(where, complete_options(alias, params))


def bus_messages(where: str, options: Mapping[str, Any]) -> Iterator[CheckMessage]:
    """Yield a warning if processes do not learn of each other's writes, with the maximum delay."""
    layers = options.get("LAYERS", ())
    if options.get("BUS") == LOG_AS_BUS and not holds_a_table(layers):
        yield checks.Warning(
            f"{where} has the log as BUS and no DatabaseCache among its LAYERS: each write of the"
            f" cache writes a row into DATABASES[{DEFAULT_DB_ALIAS!r}], and waits for those who"
            " write there.",
            hint="Set BUS to the alias of a Redis, or add a DatabaseCache to LAYERS: the log of its"
            " database is the bus then.",
            id="cachelayers.W051",
        )
    if options.get("BUS") == LOG_AS_BUS:
        yield from far_bus_messages(where, layers)
    if options.get("BUS") is not None or not isinstance(layers, (list, tuple)):
        return
    local = [alias for alias in layers if is_local_alias(alias)]
    if local and len(local) < len(layers):
        seconds = as_seconds(options.get("MEMORY_TIMEOUT")) or WITHOUT_BUS_SECONDS
        yield checks.Warning(
            f"{where} has no BUS: what one process writes or deletes, others may still read from"
            f" their memory for {seconds} seconds.",
            hint="Set BUS to the alias of a Redis, or to 'log'. Where that time is all right, and"
            " for what only recall, @cached and fragments keep, silence this.",
            id="cachelayers.W006",
        )


def far_bus_messages(where: str, layers: Any) -> Iterator[CheckMessage]:
    """Yield a warning if the table is on a server and the events go to another database.

    The events of an SQLite file are stored in it too, and need no warning.
    """
    for alias, params in database_caches():
        database = table_database_of(params)
        if not isinstance(layers, (list, tuple)) or alias not in layers:
            continue
        if database in settings.DATABASES and is_on_another_server(database):
            yield checks.Warning(
                f"{where} has the log as BUS, and its table CACHES[{alias!r}] is in"
                f" DATABASES[{database!r}]: each write of the cache writes a row into"
                f" DATABASES[{DEFAULT_DB_ALIAS!r}] too.",
                hint="Set BUS to the alias of a Redis, or keep the table in"
                f" DATABASES[{DEFAULT_DB_ALIAS!r}]. If these writes do no harm, silence this.",
                id="cachelayers.W054",
            )


def is_on_another_server(database: str) -> bool:
    """Return whether an alias leads to a server's database other than the default one."""
    default, own = (connections.settings[alias] for alias in (DEFAULT_DB_ALIAS, database))
    return connections[database].vendor != "sqlite" and any(
        own[name] != default[name] for name in ("ENGINE", "HOST", "PORT", "NAME")
    )


def holds_a_table(layers: Any) -> bool:
    """Return whether any of the aliases in LAYERS is a DatabaseCache."""
    tables = {alias for alias, _ in database_caches()}
    return isinstance(layers, (list, tuple)) and any(alias in tables for alias in layers)


def unlogged_messages(where: str, database: str) -> Iterator[CheckMessage]:
    """Yield a warning if UNLOGGED has no effect."""
    is_known = isinstance(database, str) and database in settings.DATABASES
    is_postgres = is_known and connections[database].vendor == "postgresql"
    if (is_known and not is_postgres) or is_file(str(database)):
        yield checks.Warning(
            f"{where} OPTIONS UNLOGGED is True, and {place_of(database)} is not PostgreSQL.",
            hint="It has no effect there: leave it out.",
            id="cachelayers.W004",
        )


def database_messages() -> Iterator[CheckMessage]:
    """Yield warnings about the databases that hold the table."""
    for database in cache_databases():
        if database not in settings.DATABASES:
            continue  # another check reports it
        if connections[database].vendor == "sqlite":
            yield from sqlite_messages()
        else:
            yield from atomic_requests_messages(database)
        if is_own_database(database) and ROUTER not in settings.DATABASE_ROUTERS:
            yield checks.Warning(
                f"DATABASES[{database!r}] is a cache's own, and DATABASE_ROUTERS does not keep"
                " other tables out of it.",
                hint=f'Add "{ROUTER}" to DATABASE_ROUTERS.',
                id="cachelayers.W002",
            )


def file_messages() -> Iterator[CheckMessage]:
    """Yield errors and warnings about the files that LOCATION names."""
    if cache_files():
        yield from sqlite_messages()
    for path in cache_files():
        if problem := problem_on_disk(path):
            yield checks.Warning(
                f"The cache's file {path!r} cannot be used: {problem}. Reads are misses, and writes"
                " are skipped.",
                hint="Make its folder, and let the user of the site's processes write to the folder"
                " and to the file. The cache makes the file by itself, for itself alone.",
                id="cachelayers.W055",
            )
        elif kind := network_file_system(Path(path)):
            yield checks.Warning(
                f"The cache's file {path!r} is on a network file system ({kind}), where SQLite's"
                " locks and its write-ahead log do not work: the file may become corrupt.",
                hint="Give the path of a file on a local disk. Several hosts share a cache in a"
                " database of DATABASES, or in a Redis.",
                id="cachelayers.W056",
            )


def problem_on_disk(path: str) -> str | None:
    """Return why this process could not use a file, or None."""
    folder, file = Path(path).parent, Path(path)
    if not folder.is_dir():
        return f"there is no folder {str(folder)!r}"
    if file.exists() and not file.is_file():
        return "it is no file"
    # SQLite makes files beside it.
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"this process may not write to the folder {str(folder)!r}"
    if file.exists() and not os.access(file, os.R_OK | os.W_OK):
        return "this process may not read or write it"
    if file.exists() and not may_be_sqlite(path):
        return "it is not an SQLite file, so it is not the cache's"
    return None


MOUNTS = Path("/proc/self/mounts")  # of Linux
NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "9p", "ceph", "glusterfs", "fuse.sshfs", "afs")


def network_file_system(path: Path, mounts: Path = MOUNTS) -> str | None:
    """Return the kind of the network file system that a path is on; None: no such, or unknown."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    folders = {str(folder) for folder in path.resolve().parents}
    # The last mount of the longest folder hides the others.
    found = [
        (len(fields[1]), fields[2]) for line in lines if (fields := line.split())[1] in folders
    ]
    kind = max(reversed(found), key=lambda mount: mount[0], default=(0, ""))[1]
    return kind if kind.startswith(NETWORK_FILE_SYSTEMS) else None


def atomic_requests_messages(database: str) -> Iterator[CheckMessage]:
    """Yield a warning if a request that fails takes the entries that it has stored with it."""
    if connections[database].settings_dict.get("ATOMIC_REQUESTS"):
        yield checks.Warning(
            f"DATABASES[{database!r}] has ATOMIC_REQUESTS, and {names_of_caches_in(database)} keep"
            " their entries in it: a request that fails undoes the entries that it has stored, and"
            " counters and locks too.",
            hint="Give the cache a DATABASES alias of its own for the same server, without"
            f" ATOMIC_REQUESTS. If values may be lost, silence this. {DOCS}",
            id="cachelayers.W059",
        )


def sqlite_messages() -> Iterator[CheckMessage]:
    """Yield an error if SQLite is too old."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        yield Error(
            f"SQLite is {sqlite3.sqlite_version}, and DatabaseCache needs 3.35 for RETURNING.",
            hint="Use a Python that is built with a newer SQLite.",
            id="cachelayers.E005",
        )


def check_shared_files(
    app_configs: Sequence[AppConfig] | None,
    databases: Sequence[str] | None = None,
    **kwargs: Any,
) -> list[CheckMessage]:
    """Check that SQLite files of the application do not hold entries too.

    It runs with the database checks, as in `migrate`: it is advice, and other packages' tests
    compare the list of the other messages with what they expect.
    """
    return [
        message
        for database in cache_databases()
        if database in (databases or ())
        for message in shared_file_messages(database)
    ]


def shared_file_messages(database: str) -> Iterator[CheckMessage]:
    """Yield a warning if the application's SQLite file also holds entries."""
    if connections[database].vendor == "sqlite" and shares_its_file(database):
        yield checks.Warning(
            f"DATABASES[{database!r}] is an SQLite file that holds the application's tables and a"
            " DatabaseCache. SQLite lets one connection write at a time, so pages and cache wait"
            " for each other.",
            hint="Give the path of a file for the cache alone as LOCATION, such as"
            f" BASE_DIR / 'cache.sqlite3'. {DOCS}",
            id="cachelayers.W001",
        )


def check_package_settings(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    configured = getattr(settings, "CACHELAYERS", {})
    if not isinstance(configured, Mapping):
        return [
            Error(
                f"CACHELAYERS is {configured!r}, which is not a dictionary.",
                hint="Make it one, such as {'TRACK': ['shop']}.",
                id="cachelayers.E006",
            )
        ]
    return [
        *misspelt_setting_messages(configured),
        *unknown_setting_messages(configured),
        *seconds_messages(configured),
        *freshness_messages(configured),
        *flag_messages(configured),
        *recheck_messages(configured),
        *salt_messages(configured),
        *task_queue_messages(configured),
        *alias_messages(configured),
        *statistics_messages(configured),
        *track_messages(configured.get("TRACK", EVERYTHING)),
        *tenant_messages(),
        *command_messages(),
    ]


def misspelt_setting_messages(configured: Mapping[str, Any]) -> Iterator[CheckMessage]:
    """Yield an error for each setting that seems to mean CACHELAYERS, or a key of it.

    Django ignores unknown settings. A project may have CACHELAYERS_TIMEOUT to compute the key with,
    and CACHE_LAYERS as a list of aliases.
    """
    for name in dir(settings):
        plain = name.replace("_", "")
        if name == "CACHELAYERS" or not name.isupper():
            continue
        if get_close_matches(plain, ["CACHELAYERS"], cutoff=CLOSE):
            if isinstance(getattr(settings, name), Mapping):
                yield misspelt(name, "Rename it to CACHELAYERS, or merge it into that.")
        elif plain.startswith("CACHELAYERS"):
            wanted = name.replace("CACHE_LAYERS", "CACHELAYERS").removeprefix("CACHELAYERS_")
            for key in get_close_matches(wanted, SETTING_NAMES, n=1, cutoff=CLOSE):
                if key not in configured:
                    yield misspelt(name, f"Set CACHELAYERS[{key!r}] instead.")


def misspelt(name: str, hint: str) -> CheckMessage:
    """Return the error about a setting that nobody reads."""
    return Error(
        f"The setting {name} is not one of cachelayers, which reads CACHELAYERS alone: what is in"
        f" {name} has no effect.",
        hint=f"{hint} If another package reads it, silence this.",
        id="cachelayers.E046",
    )


def unknown_setting_messages(configured: Mapping[str, Any]) -> Iterator[CheckMessage]:
    """Yield an error for each unknown key."""
    for key in sorted(set(configured) - set(SETTING_NAMES), key=str):
        yield Error(
            f"CACHELAYERS has the unknown key {key!r}.",
            hint=f"Known keys: {', '.join(SETTING_NAMES)}.",
            id="cachelayers.E007",
        )


def seconds_messages(configured: Mapping[str, Any]) -> Iterator[CheckMessage]:
    """Yield an error for each time that is not a number of seconds."""
    for name in SECONDS:
        value = configured.get(name, 1)
        if value is None and name == "TIMEOUT":
            continue
        seconds = as_seconds(value)
        if not is_number(seconds) or seconds < 0 or (seconds == 0 and name != "TIMEOUT"):
            yield Error(
                f"CACHELAYERS[{name!r}] is {value!r}.",
                hint=f"{HOW_TO_WRITE}, above zero"
                + (", 0, or None for no end." if name == "TIMEOUT" else "."),
                id="cachelayers.E008",
            )


def freshness_messages(configured: Mapping[str, Any]) -> Iterator[CheckMessage]:
    """Yield an error if FRESHNESS is not a number of seconds, or a warning if it is very long."""
    value = configured.get("FRESHNESS", 0)
    seconds = as_seconds(value)
    if not is_freshness(seconds):
        yield Error(
            f"CACHELAYERS['FRESHNESS'] is {value!r}.",
            hint=f"{HOW_TO_WRITE}, such as '500ms'; 0: processes see each other's changes at once.",
            id="cachelayers.E048",
        )
    elif seconds > LONGEST_FRESHNESS:
        yield checks.Warning(
            f"CACHELAYERS['FRESHNESS'] is {value!r}: each process may serve values for"
            f" {seconds:g} seconds that another process's change has ended.",
            hint="It is a number of seconds: for half a second, give 0.5 or '500ms'. If that time"
            " is all right everywhere, silence this.",
            id="cachelayers.W060",
        )


def flag_messages(configured: Mapping[str, Any]) -> Iterator[CheckMessage]:
    """Yield an error for each flag that is not a bool."""
    for name in FLAGS:
        value = configured.get(name, False)
        if isinstance(value, bool) or (value is None and name == "STATIC_DEV_MODE"):
            continue
        yield Error(
            f"CACHELAYERS[{name!r}] is {value!r}.",
            hint="Give True or False"
            + (", or None for what DEBUG is." if name == "STATIC_DEV_MODE" else "."),
            id="cachelayers.E014",
        )


def recheck_messages(configured: Mapping[str, Any]) -> Iterator[CheckMessage]:
    """Yield an error if STATIC_RECHECK_SECONDS is not a number of seconds."""
    value = configured.get("STATIC_RECHECK_SECONDS")
    seconds = as_seconds(value)
    if value is not None and not (is_number(seconds) and seconds >= 0):
        yield Error(
            f"CACHELAYERS['STATIC_RECHECK_SECONDS'] is {value!r}.",
            hint="Give a number of seconds, 0 to look at each use, or None to look once.",
            id="cachelayers.E015",
        )


def statistics_messages(configured: Mapping[str, Any]) -> Iterator[CheckMessage]:
    """Yield errors and warnings about the settings of statistics and samples."""
    seconds = as_seconds(configured.get("STATS_SECONDS", 1))
    days = configured.get("STATS_DAYS", 1)
    part = configured.get("ADVISE_SAMPLE", 0)
    if seconds is not None and not is_positive(seconds):
        yield Error(
            f"CACHELAYERS['STATS_SECONDS'] is {seconds!r}.",
            hint="Give a number of seconds above zero, or None to write no statistics.",
            id="cachelayers.E019",
        )
    if not is_positive(days):
        yield Error(
            f"CACHELAYERS['STATS_DAYS'] is {days!r}.",
            hint="Give a number of days above zero.",
            id="cachelayers.E020",
        )
    if part != 0 and not (is_positive(part) and part <= 1):
        yield Error(
            f"CACHELAYERS['ADVISE_SAMPLE'] is {part!r}.",
            hint="Give the part of queries and pages to be timed, from 0 (none) to 1 (all).",
            id="cachelayers.E021",
        )
    elif part != 0 and seconds is None:
        yield checks.Warning(
            f"CACHELAYERS['ADVISE_SAMPLE'] is {part!r} and STATS_SECONDS is None: what is timed is"
            " never written.",
            hint="Leave STATS_SECONDS out, or ADVISE_SAMPLE.",
            id="cachelayers.W009",
        )


def is_positive(value: Any) -> bool:
    """Return whether a value is a finite number above zero."""
    return is_number(value) and value > 0


def salt_messages(configured: Mapping[str, Any]) -> Iterator[CheckMessage]:
    """Yield an error if DEPLOY_SALT is not a string."""
    value = configured.get("DEPLOY_SALT", "")
    if not isinstance(value, str):
        yield Error(
            f"CACHELAYERS['DEPLOY_SALT'] is {value!r}.",
            hint="Give a text that changes with the code, such as the revision that is deployed.",
            id="cachelayers.E024",
        )


def task_queue_messages(configured: Mapping[str, Any]) -> Iterator[CheckMessage]:
    """Yield an error if the named queue for warmers is unknown or not installed."""
    value = configured.get("TASK_QUEUE")
    modules = {"django": "django.tasks", "celery": "celery"}
    if value is not None and (not isinstance(value, str) or value not in modules):
        yield Error(
            f"CACHELAYERS['TASK_QUEUE'] is {value!r}.",
            hint="Give 'django', 'celery', or None for what the project uses.",
            id="cachelayers.E016",
        )
    elif value is not None and find_spec(modules[value]) is None:
        yield Error(
            f"CACHELAYERS['TASK_QUEUE'] is {value!r}, and there is no module {modules[value]}.",
            hint="Install Celery." if value == "celery" else "Use Django 6.0 or later.",
            id="cachelayers.E016",
        )


def alias_messages(configured: Mapping[str, Any]) -> Iterator[CheckMessage]:
    """Yield an error if ALIAS names a cache that does not exist."""
    alias = configured.get("ALIAS", "default")
    if not isinstance(alias, str) or alias not in settings.CACHES:
        yield Error(
            f"CACHELAYERS['ALIAS'] is {alias!r}, which is not in CACHES.",
            hint=f"Name one of {', '.join(map(repr, settings.CACHES))}.",
            id="cachelayers.E009",
        )


def track_messages(track: Any) -> Iterator[CheckMessage]:
    """Yield an error for each name in TRACK that is neither an app nor a model.

    An empty list is a choice, with a warning: nothing invalidates then.
    """
    if track == EVERYTHING:
        return
    if isinstance(track, str) or not isinstance(track, (list, tuple, set, frozenset)):
        yield Error(
            f"CACHELAYERS['TRACK'] is {track!r}, which is not a list.",
            hint="Give '*', or a list of app labels and models, such as ['shop', 'pages.Page'].",
            id="cachelayers.E010",
        )
        return
    if not track:
        yield checks.Warning(
            "CACHELAYERS['TRACK'] is empty: no change of a table invalidates anything. Values may"
            " be stale until their timeout, or until invalidate() names one of their tags.",
            hint="Leave it out to track all models. If you chose this, silence this.",
            id="cachelayers.W058",
        )
    for target in track:
        try:
            models_named(target)
        except UnknownTarget:
            yield Error(
                f"CACHELAYERS['TRACK'] names {target!r}, which is no installed app or model.",
                hint="Write 'app_label', 'app_label.Model', or '*' for everything.",
                id="cachelayers.E010",
            )


def check_declared_tags(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Check that models which declare tags are tracked."""
    return [
        Error(
            f"{model._meta.label} declares tags with @invalidates, and is not tracked.",
            hint=f"Add {model._meta.label!r} to CACHELAYERS['TRACK'].",
            obj=model,
            id="cachelayers.E011",
        )
        for model in declaring_models()
        if model not in tracked_models()
    ]


def check_databases(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that changes in the databases can be tracked."""
    configured = getattr(settings, "CACHELAYERS", {})
    if not isinstance(configured, Mapping) or not configured.get("TRACK", EVERYTHING):
        return []
    return [
        checks.Warning(
            f"DATABASES[{alias!r}] is of the vendor {connections[alias].vendor!r}, whose changes"
            " cannot be tracked: values made from its tables are stored until their timeout.",
            hint="Give such values a short timeout, or silence this if none are cached.",
            id="cachelayers.W030",
        )
        for alias in connections
        if connections[alias].vendor not in {*TRIGGER_VENDORS, "unknown"}
    ]


def check_triggers(
    app_configs: Sequence[AppConfig] | None,
    databases: Sequence[str] | None = None,
    **kwargs: Any,
) -> list[CheckMessage]:
    """Check that triggers log every write to the tracked tables."""
    return [message for database in databases or () for message in trigger_messages(database)]


def check_tables(
    app_configs: Sequence[AppConfig] | None,
    databases: Sequence[str] | None = None,
    **kwargs: Any,
) -> list[CheckMessage]:
    """Check that the caches' tables exist, except in `migrate`, which creates them.

    It is a warning, because an error would stop `migrate`.
    """
    if sys.argv[1:2] == ["migrate"]:
        return []
    return [
        checks.Warning(
            f"DATABASES[{database!r}] has no table {Entry._meta.db_table!r}, in which"
            f" {names_of_caches_in(database)} keep their entries: reads are misses, and writes are"
            " skipped.",
            hint=f"Run `manage.py migrate cachelayers --database={database}`.",
            id="cachelayers.W045",
        )
        for database in databases or ()
        if database in cache_databases()
        and Entry._meta.db_table not in connections[database].introspection.table_names()
    ]


def check_logs(
    app_configs: Sequence[AppConfig] | None,
    databases: Sequence[str] | None = None,
    **kwargs: Any,
) -> list[CheckMessage]:
    """Check that bulk writes to one table have not filled the log."""
    return [message for database in databases or () for message in log_messages(database)]


def log_messages(database: str) -> Iterator[CheckMessage]:
    """Yield a warning if most rows of a long log are about one table."""
    connection = connections[database]
    if (
        connection.vendor not in TRIGGER_VENDORS
        or LOG not in connection.introspection.table_names()
    ):
        return
    if filled := filled_log(connection):
        yield checks.Warning(str(filled), hint=FILLED_LOG_HINT, id="cachelayers.W053")


def names_of_caches_in(database: str) -> str:
    """Return the names of the caches with entries in a database."""
    return ", ".join(
        f"CACHES[{alias!r}]"
        for alias, params in database_caches()
        if table_database_of(params) == database
    )


def trigger_messages(database: str) -> Iterator[CheckMessage]:
    """Yield what prevents a database from logging. Before the first migrate it has no log yet."""
    connection = connections[database]
    if connection.vendor not in TRIGGER_VENDORS:
        return
    tables = set(connection.introspection.table_names())
    if LOG not in tables:
        yield from missing_log_messages(connection, tables)
        return
    lacking = sorted(read_guard(connection).lacking)
    if lacking:
        named = ", ".join(lacking[:3]) + (" and others" if len(lacking) > 3 else "")
        yield checks.Warning(
            f"DATABASES[{database!r}]: the triggers that log writes are missing on {named}. Writes"
            " by other programs and cascades in the database are not logged, and a new row"
            " invalidates every entry that was made from single rows of its table.",
            hint="Run `manage.py migrate`. If it cannot create triggers, grant its user TRIGGER"
            " (MariaDB, MySQL) or make it the tables' owner (PostgreSQL), and run it again.",
            id="cachelayers.W005",
        )


def missing_log_messages(
    connection: BaseDatabaseWrapper, tables: Collection[str]
) -> Iterator[CheckMessage]:
    """Yield errors and warnings about a database without a log."""
    where = f"DATABASES[{connection.alias!r}]"
    if has_triggers(connection):
        yield checks.Warning(
            f"{where} has triggers of cachelayers, and no table {LOG} that they could write to."
            " On SQLite, every write to their tables fails.",
            hint="Run `manage.py migrate`, which removes them.",
            id="cachelayers.W026",
        )
    if router.allow_migrate_model(connection.alias, Invalidation):
        return
    for target in package_settings().TRACK:
        there = sorted(
            {model._meta.db_table for model in models_known_by(target)}.intersection(tables)
        )
        if there:
            kind, number = (checks.Warning, "W025") if target == EVERYTHING else (Error, "E026")
            yield kind(
                f"CACHELAYERS['TRACK'] names {target!r}, and {where} holds {there[0]} without the"
                " table of cachelayers that logs changes: values made from it may be stale.",
                hint="Let allow_migrate of DATABASE_ROUTERS answer True or None for cachelayers"
                f" there, and run `manage.py migrate cachelayers --database={connection.alias}`.",
                id=f"cachelayers.{number}",
            )


def tenant_messages() -> Iterator[CheckMessage]:
    """Yield a warning if each tenant has its own log (django-tenants)."""
    names = {"cachelayers", "cachelayers.apps.CacheLayersConfig"}
    if names.intersection(getattr(settings, "TENANT_APPS", ())):
        yield checks.Warning(
            "TENANT_APPS names cachelayers: each tenant has a log of its own. A process reads a log"
            " anew whenever the tenant changes, and a table that tenants share has triggers for"
            " each of them.",
            hint="Name cachelayers in SHARED_APPS alone: one log serves all schemas.",
            id="cachelayers.W027",
        )


def command_messages() -> Iterator[CheckMessage]:
    """Yield a warning for each of our commands that another app's command replaces."""
    known, own = get_commands(), apps.get_app_config("cachelayers")
    for name in find_commands(str(Path(own.path, "management"))):
        if (owner := known.get(name, own.name)) != own.name:
            yield checks.Warning(
                f"`manage.py {name}` runs the command of {owner!r}, not that of cachelayers.",
                hint=f"Put 'cachelayers' before {owner!r} in INSTALLED_APPS. If you want the other"
                " command, silence this.",
                id="cachelayers.W052",
            )
