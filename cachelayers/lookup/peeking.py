"""The shortest way to a fresh, valid entry: one get of the cache.

Every recall tries it first. After a miss, the flow goes on with what was read here.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from enum import Enum, auto
from typing import Any, Final

from django.db import DatabaseError, connections

from cachelayers.backends import cache_errors, raise_if_callers, report_unreadable
from cachelayers.entries import ENVELOPE_TYPES, FORMAT, LENGTH
from cachelayers.invalidation import (
    Dependency,
    Unit,
    are_there_routers,
    current_capture,
    current_unit,
    database_to_check,
    listening_captures,
    log_of,
)
from cachelayers.lookup.observing import note_peeked
from cachelayers.lookup.policy import report
from cachelayers.utils.captures import own_read, running_captures
from cachelayers.utils.freshness import allowed_age
from cachelayers.utils.switch import is_disabled, switches
from cachelayers.utils.tracing import active_traces, pop_layer


class Peeked(Enum):
    MISS = auto()
    NOT_READ = auto()  # the cache was not read


MISS: Final = Peeked.MISS
NOT_READ: Final = Peeked.NOT_READ


def peek(
    alias: str, key: str, *, is_shown_only: bool = False, freshness: float = 0.0
) -> tuple[Any, Any]:
    """Return the value under a key if it is fresh and valid, or MISS; and what was read.

    A stale entry, an entry older than this process's knowledge of the log, and a transaction that
    has written count as MISS: recall() handles them in more steps. ``is_shown_only``: nothing is
    stored that depends on the value, except by captures that get its tags. ``freshness``: the
    seconds for which the log, and the bus, need not be read again.
    """
    unit = current_unit()
    if unit is None or unit.is_outdated or unit.is_dirty() or (switches and is_disabled()):
        return MISS, NOT_READ
    if active_traces:
        pop_layer()  # of an earlier read
    if freshness:
        freshness = freshness_here(unit, freshness)
    token = allowed_age.set(freshness) if freshness else None
    try:
        if running_captures:
            with own_read():
                stored = unit.cache(alias).get(key)
        else:
            stored = unit.cache(alias).get(key)
    except cache_errors() as error:
        report(alias, "get", error)
        return MISS, None
    except Exception as error:  # noqa: BLE001 - a decoder may raise anything: a miss
        raise_if_callers(error)
        report_unreadable(alias, error)
        return MISS, None
    finally:
        if token is not None:
            allowed_age.reset(token)
    value = valid_value(unit, stored, is_shown_only=is_shown_only, freshness=freshness)
    if value is not MISS:
        note_peeked(alias, key, stored)
    return value, stored


def freshness_here(unit: Unit, freshness: float) -> float:
    """Return how old the reading of the log may be for a recall that is made here.

    No older than for the recalls around it. Outside of units of work nobody knows what was made
    from what, and a router may send this reader to another database: there, the log is read.
    """
    if unit.is_of_one_recall or are_there_routers():
        return 0.0
    if not running_captures:
        return freshness
    return min([freshness, *(capture.freshness for capture in listening_captures())])


def valid_value(unit: Unit, stored: Any, *, is_shown_only: bool, freshness: float = 0.0) -> Any:
    """Return the value of what was read if it is fresh and known to be valid; otherwise MISS."""
    # is_envelope(), inlined: a call would add a tenth to the time of this function.
    if (
        type(stored) not in ENVELOPE_TYPES
        or len(stored) != LENGTH
        or type(stored[0]) is not str
        or stored[0] != FORMAT
    ):
        return MISS
    _, value, fresh_until, _, dependencies, _, _ = stored
    try:
        if fresh_until is not None and time.time() >= fresh_until:
            return MISS
        if not are_valid(unit, dependencies, freshness):
            return MISS
    except (TypeError, ValueError):  # malformed
        return MISS
    if running_captures or not is_shown_only:
        found = [Dependency(*dependency) for dependency in dependencies]
        if freshness:
            fix_earlier_positions(unit, found)
        pass_on_dependencies(unit, found, is_shown_only=is_shown_only)
    return value


def fix_earlier_positions(unit: Unit, dependencies: Iterable[Dependency]) -> None:
    """After a hit: fix the unit's position in the logs that were not read for it."""
    for dependency in dependencies:
        if dependency.database not in unit.refreshed:
            unit.fix_earlier_position(dependency.database)


def are_valid(unit: Unit, dependencies: Any, freshness: float = 0.0) -> bool:
    """Return whether an entry is valid, after one reading of the log for the unit."""
    unit.forget_old_readings()
    is_routed = are_there_routers()
    for made_from, incarnation, position, tags in dependencies:
        database = made_from
        if is_routed:
            database = database_to_check(unit, made_from, incarnation, tags)
        if database not in unit.refreshed and not refresh(unit, database, freshness):
            return False
        known = log_of(database).known
        if (
            known is None
            or incarnation != known.incarnation
            or position < known.floor
            or not known.known_from <= position <= known.watermark
        ):
            return False
        last = known.last
        for tag in tags:
            if tag in last and last[tag] >= position:
                return False
    return True


def refresh(unit: Unit, database: str | None, freshness: float = 0.0) -> bool:
    """Read the log for a unit, if necessary, and return whether that was possible."""
    if database is None or database not in connections.settings:
        return False
    if freshness and unit.may_skip_refresh(database, freshness):
        return True
    try:
        unit.refresh(database)
    except DatabaseError:  # the flow reports it
        return False
    return database in unit.refreshed


def pass_on_dependencies(
    unit: Unit, dependencies: Iterable[Dependency], *, is_shown_only: bool = False
) -> None:
    """Add an entry's dependencies to the captures around it, and to the unit."""
    confirmed = [unit.confirm(dependency) for dependency in dependencies]
    for capture in listening_captures():
        for dependency in confirmed:
            capture.add_dependency(dependency)
    if not is_shown_only and current_capture() is None:
        unit.add_dependencies(confirmed)
