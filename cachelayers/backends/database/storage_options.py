"""The storage options of the cache's table on PostgreSQL. Set after each migrate."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db import connections

from cachelayers.conf import database_caches, table_database_of
from cachelayers.models import Entry

# A fifth of each page stays free, so that an overwritten row fits beside its old version and no
# index changes (a HOT update).
FILLFACTOR = 80


def apply_storage_options(sender: AppConfig, using: str, **kwargs: Any) -> None:
    """Receive post_migrate: set the storage options of one database's table."""
    connection = connections[using]
    table = Entry._meta.db_table
    if connection.vendor != "postgresql" or table not in connection.introspection.table_names():
        return
    quoted = connection.ops.quote_name(table)
    with connection.cursor() as cursor:
        # EXTERNAL: PostgreSQL's own compression would cost time, and our values are already
        # compressed.
        cursor.execute(f"ALTER TABLE {quoted} SET (fillfactor = {FILLFACTOR})")
        cursor.execute(f"ALTER TABLE {quoted} ALTER COLUMN data SET STORAGE EXTERNAL")
        cursor.execute(
            "SELECT relpersistence = 'u' FROM pg_class WHERE oid = %s::regclass", [quoted]
        )
        [(is_unlogged,)] = cursor.fetchall()
        if is_unlogged != wants_unlogged(using):
            # Rewrites the table; its rows stay.
            persistence = "UNLOGGED" if wants_unlogged(using) else "LOGGED"
            cursor.execute(f"ALTER TABLE {quoted} SET {persistence}")


def wants_unlogged(database: str) -> bool:
    """Return whether every cache in this database sets UNLOGGED."""
    wishes = [
        bool(params.get("OPTIONS", {}).get("UNLOGGED"))
        for _, params in database_caches()
        if table_database_of(params) == database
    ]
    return bool(wishes) and all(wishes)
