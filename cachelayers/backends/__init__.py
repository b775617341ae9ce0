"""The cache backends that CACHES may name, and their kinds of layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cachelayers.utils.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from cachelayers.backends.base import ConfiguredCache, is_number
    from cachelayers.backends.database import DatabaseCache, table_cache
    from cachelayers.backends.database.sessions import remember_database_names, renew_files_of_tests
    from cachelayers.backends.database.sqlite_file import may_be_sqlite
    from cachelayers.backends.database.storage_options import apply_storage_options
    from cachelayers.backends.database.table import NEVER_MS, ListedRow
    from cachelayers.backends.faults import cache_errors, report_unreadable_log
    from cachelayers.backends.kinds import register_layer
    from cachelayers.backends.layered import WITHOUT_BUS_SECONDS, LayeredCache, known_breakers
    from cachelayers.backends.layered.bus import ALL_ENTRIES
    from cachelayers.backends.layered.layers import is_local_alias, make_layer
    from cachelayers.backends.layered.layers.memory import MemoryLayer
    from cachelayers.backends.layered.layers.redis import RedisAccess, RedisLayer
    from cachelayers.backends.layered.layers.table import TOMBSTONE_VALUE
    from cachelayers.backends.memory import MemoryCache, drop_store, known_stores
    from cachelayers.backends.patterns import escape_pattern
    from cachelayers.backends.unreadable import raise_if_callers, report_unreadable
else:
    __getattr__ = lazy_exports(
        __name__,
        {
            "base": ["ConfiguredCache", "is_number"],
            "database": ["DatabaseCache", "table_cache"],
            "database.storage_options": ["apply_storage_options"],
            "database.sessions": ["remember_database_names", "renew_files_of_tests"],
            "database.sqlite_file": ["may_be_sqlite"],
            "database.table": ["NEVER_MS", "ListedRow"],
            "faults": ["cache_errors", "report_unreadable_log"],
            "kinds": ["register_layer"],
            "layered": ["WITHOUT_BUS_SECONDS", "LayeredCache", "known_breakers"],
            "layered.bus": ["ALL_ENTRIES"],
            "layered.layers": ["is_local_alias", "make_layer"],
            "layered.layers.memory": ["MemoryLayer"],
            "layered.layers.redis": ["RedisAccess", "RedisLayer"],
            "patterns": ["escape_pattern"],
            "layered.layers.table": ["TOMBSTONE_VALUE"],
            "memory": ["MemoryCache", "drop_store", "known_stores"],
            "unreadable": ["raise_if_callers", "report_unreadable"],
        },
    )

__all__ = [
    "ALL_ENTRIES",
    "NEVER_MS",
    "TOMBSTONE_VALUE",
    "WITHOUT_BUS_SECONDS",
    "ConfiguredCache",
    "DatabaseCache",
    "LayeredCache",
    "ListedRow",
    "MemoryCache",
    "MemoryLayer",
    "RedisAccess",
    "RedisLayer",
    "apply_storage_options",
    "cache_errors",
    "drop_store",
    "escape_pattern",
    "is_local_alias",
    "is_number",
    "known_breakers",
    "known_stores",
    "make_layer",
    "may_be_sqlite",
    "raise_if_callers",
    "register_layer",
    "remember_database_names",
    "renew_files_of_tests",
    "report_unreadable",
    "report_unreadable_log",
    "table_cache",
]
