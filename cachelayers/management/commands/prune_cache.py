"""The command ``prune_cache``, for cron: deletes old log rows, expired entries, old statistics."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connections

from cachelayers.backends import table_cache
from cachelayers.conf import database_caches, package_settings, statistics_database
from cachelayers.exceptions import CacheUnavailable
from cachelayers.invalidation import LOG, is_replica, prune
from cachelayers.statistics import STATISTICS, delete_old


class Command(BaseCommand):
    """Deletes old log rows, expired entries and old statistics."""

    help = (
        "Delete expired entries of every cache in a database table, and the rows of the log of "
        "invalidations that newer ones make redundant or that are older than any entry, and "
        "statistics older than CACHELAYERS['STATS_DAYS']. Run it from cron; nobody has to wait for "
        "it."
    )

    def handle(self, **options: Any) -> None:
        """Prune everything; continue after a failure, and report it at the end."""
        self._is_silent = options["verbosity"] == 0
        failures = [*self._prune_logs(), *self._prune_entries(), *self._prune_statistics()]
        if failures:
            raise CommandError("\n".join(failures))

    def _prune_logs(self) -> list[str]:
        failures = []
        for database in connections:
            if is_replica(connections[database]):
                continue
            try:
                if LOG not in connections[database].introspection.table_names():
                    continue
                pruned = prune(database)
            except DatabaseError as error:
                failures.append(f"{database}: its log was not pruned: {error}")
                continue
            self._say(
                f"{database}: {pruned.redundant} redundant and {pruned.old} old rows of the log"
            )
        return failures

    def _prune_entries(self) -> list[str]:
        failures = []
        for alias, _ in database_caches():
            try:
                count = table_cache(alias).delete_expired()
            except (CacheUnavailable, DatabaseError) as error:
                failures.append(f"{alias}: its entries were not pruned: {error}")
                continue
            self._say(f"{alias}: {count} expired entries")
        return failures

    def _prune_statistics(self) -> list[str]:
        database, days = statistics_database(), package_settings().STATS_DAYS
        try:
            if STATISTICS not in connections[database].introspection.table_names():
                return []
            count = delete_old(connections[database])
        except DatabaseError as error:
            return [f"{database}: its statistics were not pruned: {error}"]
        self._say(f"{database}: {count} rows of statistics older than {days:g} days")
        return []

    def _say(self, line: str) -> None:
        if not self._is_silent:
            self.stdout.write(line)
