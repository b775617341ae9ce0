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
from cachelayers.utils.switch import is_disabled, switches
from cachelayers.utils.tracing import active_traces, pop_layer


class Peeked(Enum):
    MISS = auto()
    NOT_READ = auto()  # the cache was not read


MISS: Final = Peeked.MISS
NOT_READ: Final = Peeked.NOT_READ


def peek(alias: str, key: str, *, is_shown_only: bool = False) -> tuple[Any, Any]:
    """Return the value under a key if it is fresh and valid, or MISS; and what was read.

    A stale entry, an entry older than this process's knowledge of the log, and a transaction that
    has written count as MISS: recall() handles them in more steps. ``is_shown_only``: nothing is
    stored that depends on the value, except by captures that get its tags.
    """
    unit = current_unit()
    if unit is None or unit.is_outdated or unit.is_dirty() or (switches and is_disabled()):
        return MISS, NOT_READ
    if active_traces:
        pop_layer()  # of an earlier read
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
    value = valid_value(unit, stored, is_shown_only=is_shown_only)
    if value is not MISS:
        note_peeked(alias, key, stored)
    return value, stored


def valid_value(unit: Unit, stored: Any, *, is_shown_only: bool) -> Any:
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
        if not are_valid(unit, dependencies):
            return MISS
    except (TypeError, ValueError):  # malformed
        return MISS
    if running_captures or not is_shown_only:
        found = [Dependency(*dependency) for dependency in dependencies]
        pass_on_dependencies(unit, found, is_shown_only=is_shown_only)
    return value


def are_valid(unit: Unit, dependencies: Any) -> bool:
    """Return whether an entry is valid, after one reading of the log for the unit."""
    unit.forget_old_readings()
    is_routed = are_there_routers()
    for made_from, incarnation, position, tags in dependencies:
        database = made_from
        if is_routed:
            database = database_to_check(unit, made_from, incarnation, tags)
        if database not in unit.refreshed and not refresh(unit, database):
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


def refresh(unit: Unit, database: str | None) -> bool:
    """Read the log for a unit, and return whether that was possible."""
    if database is None or database not in connections.settings:
        return False
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
