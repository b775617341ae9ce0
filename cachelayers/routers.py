"""A database router that keeps the cache's tables and the project's tables apart.

The project adds it to DATABASE_ROUTERS.
"""

from __future__ import annotations

from typing import Any

from django.db.models import Model

from cachelayers.conf import cache_databases, is_own_database, statistics_database

APP_LABEL = "cachelayers"
ENTRY = "entry"
STATISTICS = frozenset({"statistic", "timing"})


class CacheRouter:
    """For projects in which a DatabaseCache has a database of its own."""

    def db_for_read(self, model: type[Model], **hints: Any) -> str | None:
        """Read entries from the first database that a cache names, statistics from their own."""
        if is_statistics(model._meta.app_label, model._meta.model_name):
            return statistics_database()
        if not is_entry(model._meta.app_label, model._meta.model_name):
            return None
        return next(iter(cache_databases()), None)

    def db_for_write(self, model: type[Model], **hints: Any) -> str | None:
        return self.db_for_read(model, **hints)

    def allow_migrate(
        self, db: str, app_label: str, model_name: str | None = None, **hints: Any
    ) -> bool | None:
        """Allow entries where caches name the database, and other tables not in a cache's own."""
        if is_entry(app_label, model_name):
            return db in cache_databases()
        if is_statistics(app_label, model_name):
            return db == statistics_database()
        return False if is_own_database(db) else None


def is_entry(app_label: str, model_name: str | None) -> bool:
    """Return whether the labels are those of the entries' model."""
    return app_label == APP_LABEL and model_name == ENTRY


def is_statistics(app_label: str, model_name: str | None) -> bool:
    """Return whether the labels are those of a model of statistics."""
    return app_label == APP_LABEL and model_name in STATISTICS
