"""The checked options of one recall, and the reports of errors that it survives.

Every recall makes one; the flow and its steps read it.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast

import django.db
from asgiref.sync import iscoroutinefunction
from django.core.cache.backends.base import BaseCache
from django.db import connections, router

from cachelayers.conf import package_settings
from cachelayers.durations import HOW_TO_WRITE, Duration, as_seconds
from cachelayers.entries import LEASE_SUFFIX
from cachelayers.invalidation import (
    key_tag,
    log_database,
    models_declaring,
    table_tag,
    tracked_tables,
    user_tags,
)
from cachelayers.utils.counters import counts
from cachelayers.utils.locks import cache_of
from cachelayers.utils.rate_limit import RateLimit
from cachelayers.utils.text import without_secrets


class Unset(Enum):
    """An enumeration with one member, for type checkers."""

    UNSET = auto()


UNSET: Final = Unset.UNSET  # "not passed", where None means "no end"
# A duration, None, or a function that gets the value and returns one of them.
Timeout = Duration | Callable[[Any], Duration | None] | None | Unset


class Timing(NamedTuple):
    """What few recalls have: the parts of the timeout by which it varies and is refreshed early."""

    jitter: float = 0.0
    refresh_ahead: float = 0.0
    timeout_of: Callable[[Any], Duration | None] | None = None  # of a value


USUAL_TIMING: Final = Timing()


@dataclass(slots=True)  # never changed, but not frozen: that costs a tenth of a hit
class Policy:
    """Where an entry is stored, for how long, and its dependencies beside the captured ones."""

    alias: str
    key: str
    timeout: float | None  # seconds
    stale: float  # seconds after the timeout during which it may be served stale
    user_tags: tuple[str, ...]
    collects: bool
    # Whether the caller can use a valid value; None: always.
    accepts: Callable[[Any], bool] | None = None
    timing: Timing = USUAL_TIMING
    # Whether a value only leads to another entry, which holds what was computed; None: none does.
    is_marker: Callable[[Any], bool] | None = None
    freshness: float = 0.0  # seconds for which the log need not be read again
    # The database and tag whose change has ended the entry; not there before that is found.
    ended_by: tuple[str, str | None] = field(init=False, repr=False, compare=False)

    @property
    def cache(self) -> BaseCache:
        """Return this thread's cache object."""
        return cache_of(self.alias)

    @property
    def name(self) -> tuple[str, str]:
        """Return what identifies the entry within this process."""
        return self.alias, self.key

    @property
    def lease_key(self) -> str:
        """Return the key of the lease."""
        return f"{self.key}{LEASE_SUFFIX}"

    def dependencies(self) -> list[tuple[str, list[str]]]:
        """Return the tags that do not depend on reads, by database: key, tags, tags' tables."""
        found = {log_database(): [key_tag(self.alias, self.key), *self.user_tags]}
        for tag in self.user_tags:
            for model in models_declaring(tag):
                database, table = router.db_for_write(model), model._meta.db_table
                if table in tracked_tables(database):
                    found.setdefault(database, []).append(table_tag(table))
        return list(found.items())

    def lifetime(self) -> float | None:
        """Return for how many seconds the cache keeps the entry."""
        return None if self.timeout is None else self.timeout + self.stale

    def note_ended(self, database: str, tag: str | None) -> None:
        """Note that a change has ended the entry. The first that is found counts."""
        if self.what_ended() is None:
            self.ended_by = database, tag

    def what_ended(self) -> tuple[str, str | None] | None:
        """Return the database and tag whose change has ended the entry, if it was ended."""
        return getattr(self, "ended_by", None)  # a hit does not pay for setting it

    def of_value(self, value: Any) -> Policy:
        """Return the policy with the timeout of a value. Raises as make_policy() does."""
        timeout_of = self.timing.timeout_of
        if timeout_of is None:
            return self
        timeout = cap_timeout(f"recall({self.key!r})", timeout_of(value), self.stale)
        changed = replace(self, timeout=timeout, timing=self.timing._replace(timeout_of=None))
        if (ended := self.what_ended()) is not None:
            changed.note_ended(*ended)
        return changed

    def times_of(self, began: float) -> tuple[float | None, float | None]:
        """Return until when an entry is fresh, and until when it may be served.

        An entry that is refreshed early becomes stale then: one caller refreshes it, and the others
        get it as it is.
        """
        if self.timeout is None:
            return None, None
        timeout = self.timeout
        if self.timing is not USUAL_TIMING:
            timeout *= 1 - random.random() * self.timing.jitter  # noqa: S311 - not a secret
        fresh = timeout * (1 - self.timing.refresh_ahead)
        return began + fresh, began + timeout + self.stale


def make_policy(
    key: str,
    compute: Callable[..., Any],
    timeout: Timeout,
    stale: Duration,
    tags: Iterable[str],
    using: str | None,
    capture: bool,
    jitter: float = 0.0,
    refresh_ahead: float = 0.0,
    freshness: Duration | Unset = UNSET,
) -> Policy:
    """Check the arguments of recall(). TypeErrors and ValueErrors name the key."""
    if not isinstance(key, str) or not key:
        raise TypeError(f"A key is a string that is not empty, not {key!r}.")
    if not callable(compute):
        raise TypeError(
            f"recall({key!r}): compute is {compute!r}, which cannot be called. Pass a function"
            " without arguments, such as a lambda."
        )
    timing = USUAL_TIMING
    if jitter or refresh_ahead or callable(timeout):
        timing = timing_of(f"recall({key!r})", timeout, jitter, refresh_ahead)
        timeout = UNSET if callable(timeout) else timeout
    seconds = stale if type(stale) is int else as_seconds(stale)
    settings = package_settings()
    fresh = settings.FRESHNESS
    if freshness is not UNSET:
        fresh = freshness_of(f"recall({key!r})", freshness)
    return Policy(
        settings.ALIAS if using is None else using,
        key,
        cap_timeout(f"recall({key!r})", timeout, seconds),
        seconds,
        cached_user_tags(tags) if isinstance(tags, tuple) else tuple(user_tags(tags)),
        capture,
        None,
        timing,
        None,
        fresh,
    )


def timing_of(where: str, timeout: object, jitter: object, refresh_ahead: object) -> Timing:
    """Check options that few recalls have. ``where`` begins an error's message."""
    for name, part in (("jitter", jitter), ("refresh_ahead", refresh_ahead)):
        if isinstance(part, bool) or not isinstance(part, (int, float)):
            raise TypeError(f"{where}: {name} is {part!r}. Give a part of the timeout, as 0.1.")
        if not 0 <= part < 1:
            raise ValueError(f"{where}: {name} is {part!r}. Give 0 or more, and less than 1.")
        if part and timeout is None:
            raise ValueError(
                f"{where}: {name} is {part!r}, and the timeout None, of which there is no part."
                f" Give a timeout, or leave {name} out."
            )
    if iscoroutinefunction(timeout):
        raise TypeError(f"{where}: timeout is an async function. Give a plain one.")
    timeout_of = timeout if callable(timeout) else None
    return Timing(cast(float, jitter), cast(float, refresh_ahead), timeout_of)


def freshness_of(where: str, freshness: Duration | Unset) -> float:
    """Return a freshness in seconds. ``where`` begins an error's message."""
    if freshness is UNSET:
        return package_settings().FRESHNESS
    seconds: Any = as_seconds(freshness)
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{where}: freshness is {freshness!r}. {HOW_TO_WRITE}.")
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"{where}: freshness is {freshness!r}. Give 0 seconds or more.")
    return seconds


def cap_timeout(where: str, timeout: Timeout, stale: float) -> float | None:
    """Return how long an entry is fresh. ``where`` begins an error's message."""
    settings = package_settings()
    chosen: Any = settings.TIMEOUT if timeout is UNSET else timeout
    if type(chosen) is not int:
        chosen = as_seconds(chosen)
    check_times(where, chosen, stale)
    return min(chosen, settings.LONGEST_TIMEOUT) if chosen is not None else None


@lru_cache(maxsize=1024)
def cached_user_tags(tags: tuple[str, ...]) -> tuple[str, ...]:
    """Return the stored form of tags; most calls pass the same ones."""
    return tuple(user_tags(tags))


def check_times(where: str, timeout: float | None, stale: float) -> None:
    """Raise TypeError or ValueError for invalid times. ``where`` begins the message."""
    for name, seconds in (("timeout", timeout), ("stale", stale)):
        if seconds is None and name == "timeout":
            continue
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
            raise TypeError(f"{where}: {name} is {seconds!r}. {HOW_TO_WRITE}.")
        if not 0 <= seconds < float("inf"):
            raise ValueError(f"{where}: {name} is {seconds!r}. Give 0 seconds or more.")
    if stale and timeout is None:
        raise ValueError(
            f"{where}: stale is {stale!r}, and the timeout None: such an entry never becomes stale."
            " Give a timeout, or leave stale out."
        )


logger = logging.getLogger("cachelayers.lookup")

failures = RateLimit()


def report(alias: str, operation: str, error: BaseException) -> None:
    """Count a cache's failure, and log it at most once a minute."""
    counts.add(alias, "errors")
    if failures.is_due(alias):
        logger.error(
            "CACHES[%r]: %s failed: %s: %s. Values are computed until it works again.",
            alias,
            operation,
            type(error).__name__,
            without_secrets(str(error)),
        )


def report_failed_refresh(policy: Policy, error: Exception) -> None:
    """Count and log an exception of the user's code. The stale value is served."""
    counts.add(policy.alias, "failed_refreshes")
    logger.error("recall(%r): its refresh failed.", policy.key, exc_info=error)


def has_lost_transaction(error: Exception) -> bool:
    """Return whether a statement failed in the caller's transaction, which cannot go on then."""
    return isinstance(error, django.db.Error) and any(
        connection.in_atomic_block for connection in connections.all(initialized_only=True)
    )
