"""Report what a recall survives. Used by steps."""

from __future__ import annotations

import logging
import time

import django.db
from django.db import connections

from cachelayers.lookup.policy import Policy
from cachelayers.masking import without_secrets
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
            without_secrets(str(error)),
        )


def report_failed_refresh(policy: Policy, error: Exception) -> None:
    """Count and log an exception of the user's code, while its stale value is served on."""
    counts.add(policy.alias, "failed_refreshes")
    logger.error("recall(%r): its refresh failed.", policy.key, exc_info=error)


def has_lost_transaction(error: Exception) -> bool:
    """Tell whether a statement failed in the caller's transaction, which cannot go on then."""
    return isinstance(error, django.db.Error) and any(
        connection.in_atomic_block for connection in connections.all(initialized_only=True)
    )
