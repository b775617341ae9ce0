"""A stored value that cannot be decoded is a miss, whatever error its decoder raises.

A decoder runs code of the value's classes: a new field of a namedtuple, a removed member of an
enumeration and a changed byte all raise different errors, so no list of them is complete. The
module reads no cache.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from django.core.cache.backends.base import InvalidCacheKey
from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation

from cachelayers.utils.counters import counts
from cachelayers.utils.rate_limit import RateLimit

logger = logging.getLogger("cachelayers.backends")

# Errors of the call or the settings, independent of the stored value.
CALLERS_ERRORS = (InvalidCacheKey, ImproperlyConfigured, SynchronousOnlyOperation, Warning)

reports = RateLimit()


def raise_if_callers(error: Exception) -> None:
    """Raise an error again if the call or the settings caused it, not the stored value."""
    if isinstance(error, CALLERS_ERRORS):
        raise error


def report_unreadable(alias: str, error: BaseException) -> None:
    """Count a value that is a miss because it cannot be decoded; log it at most once a minute."""
    counts.add(alias, "undecodable")
    if reports.is_due(alias):
        logger.warning(
            "CACHES[%r]: a stored value cannot be decoded, and counts as a miss: %s: %.200s",
            alias,
            type(error).__name__,
            error,
        )


def decoded(alias: str, decode: Callable[..., Any], *arguments: Any) -> Any:
    """Return the decoder's result, or None, reported, if it fails."""
    try:
        return decode(*arguments)
    except Exception as error:  # noqa: BLE001 - see above
        report_unreadable(alias, error)
        return None
