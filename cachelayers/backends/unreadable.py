"""A stored value that cannot be decoded is a miss, whatever the decoder raises. Touches no cache.

A decoder runs code of the value's classes: a field that was added to a namedtuple, a member that an
enumeration lost and a byte that was changed all raise something else. So there is no list of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from django.core.cache.backends.base import InvalidCacheKey
from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation

from cachelayers.utils.counters import counts

logger = logging.getLogger("cachelayers.backends")

REPORT_EVERY_SECONDS = 60.0
# What a cache raises because of the call or the settings; a value has nothing to do with it.
CALLERS_ERRORS = (InvalidCacheKey, ImproperlyConfigured, SynchronousOnlyOperation, Warning)

_next_report_at: dict[str, float] = {}


def raise_if_callers(error: Exception) -> None:
    """Raise an error again that the call or the settings have caused, not the stored value."""
    if isinstance(error, CALLERS_ERRORS):
        raise error


def report_unreadable(alias: str, error: BaseException) -> None:
    """Count a value that is a miss because it cannot be decoded; log it at most once a minute."""
    counts.add(alias, "undecodable")
    now = time.monotonic()
    if now >= _next_report_at.get(alias, 0.0):
        _next_report_at[alias] = now + REPORT_EVERY_SECONDS
        logger.warning(
            "CACHES[%r]: a stored value cannot be decoded, and counts as a miss: %s: %.200s",
            alias,
            type(error).__name__,
            error,
        )


def decoded(alias: str, decode: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a decoder makes of stored data; None, reported, where it cannot."""
    try:
        return decode(*arguments)
    except Exception as error:  # noqa: BLE001 - see above
        report_unreadable(alias, error)
        return None
