"""Name the errors of caches and databases that a recall survives. Used by steps."""

from __future__ import annotations

import logging
import time

import django.db

from cachelayers.backends.database.faults import Fault, fault_of
from cachelayers.exceptions import MissingTable
from cachelayers.invalidation.dialects import LOG
from cachelayers.stats import counts

logger = logging.getLogger("cachelayers.lookup")

REPORT_EVERY_SECONDS = 60.0
_next_report_at: dict[str, float] = {}


def report(alias: str, operation: str, error: BaseException) -> None:
    """Count a cache's failure, and log it at most once a minute."""
    counts.add(alias, "errors")
    now = time.monotonic()
    if now >= _next_report_at.get(alias, 0.0):
        _next_report_at[alias] = now + REPORT_EVERY_SECONDS
        logger.error(
            "CACHES[%r]: %s failed: %s: %s. Values are computed until it works again.",
            alias,
            operation,
            type(error).__name__,
            error,
        )


def raise_if_never_made(database: str, error: django.db.Error) -> None:
    """Raise MissingTable where the log's tables do not exist yet."""
    is_missing = fault_of(error) is Fault.MISSING_TABLE
    if is_missing and LOG.partition("_")[0] in str(error):
        raise MissingTable(
            f"The log of invalidations is not in DATABASES[{database!r}] yet."
            f" Create it with: python manage.py migrate cachelayers --database={database}"
        ) from error
