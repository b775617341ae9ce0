"""Classify the errors of caches that are down, full, slow or disconnected.

Used by ``lookup`` and LayeredCache.
"""

from __future__ import annotations

import logging

import django.db
from django.core.exceptions import ImproperlyConfigured

from cachelayers.backends.database.faults import Fault, fault_of
from cachelayers.backends.kinds import declared_errors
from cachelayers.conf import OWN_TABLES
from cachelayers.exceptions import CacheUnavailable, MissingTable, NotNow
from cachelayers.utils.rate_limit import RateLimit
from cachelayers.utils.text import without_secrets

logger = logging.getLogger("cachelayers.invalidation")


def error_text(error: BaseException) -> str:
    """Return a server's message, without passwords and without the command that redis-py quotes."""
    return without_secrets(str(error).rpartition(" caused error: ")[2])[:200].rstrip(".")


def cache_errors() -> tuple[type[BaseException], ...]:
    """Return what a cache may raise when it is down, full, slow or disconnected."""
    declared = declared_errors("cache_errors")
    return (OSError, django.db.Error, CacheUnavailable, NotNow, *declared)


def outage_errors() -> tuple[type[BaseException], ...]:
    """Return the errors of a cache that is down, or whose settings or tables are incomplete."""
    return (*cache_errors(), ImproperlyConfigured)


def refusals() -> tuple[type[BaseException], ...]:
    """Return the errors of a server that is reachable and rejects a command."""
    return (NotNow, *declared_errors("refusals"))


def raise_if_never_made(database: str, error: django.db.Error) -> None:
    """Raise MissingTable if the log's tables do not exist yet."""
    is_missing = fault_of(error) is Fault.MISSING_TABLE
    if is_missing and OWN_TABLES in str(error):
        raise MissingTable(
            f"The log of invalidations is not in DATABASES[{database!r}] yet."
            f" Create it with: python manage.py migrate cachelayers --database={database}"
        ) from error


unreadable_logs = RateLimit()


def report_unreadable_log(database: str, error: django.db.Error) -> None:
    """Log, at most once a minute, that the log could not be read."""
    if not unreadable_logs.is_due(database):
        return
    description = f"{type(error).__name__}: {error_text(error)}"
    try:
        raise_if_never_made(database, error)
    except MissingTable as missing:
        description = str(missing)
    logger.error(
        "The log of invalidations in DATABASES[%r] could not be read. Until it can be, values"
        " made from its tables are computed without the cache: %s",
        database,
        description,
    )
