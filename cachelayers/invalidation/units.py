"""Units of work: a request, a task, a command or a block that sees the log at one position.

Used by lookup and by the wrapper that notices reads and writes. A unit is in the context, so that
async code and threads that were started with the context copied share it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from threading import get_ident
from typing import Any, NamedTuple

from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.signals import setting_changed
from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.invalidation.incarnations import LogUnreadable, is_in_snapshot
from cachelayers.invalidation.log import NEVER, Dependency, Reading, known_readings, log_of
from cachelayers.invalidation.prune import prune_now_and_then
from cachelayers.invalidation.tags import without_many_rows
from cachelayers.invalidation.transactions import Transaction, transaction_of
from cachelayers.locks import ForkSafeLock
from cachelayers.stats import pulse

NOWHERE = Reading("", NEVER)  # no log vouches for what was read there
MOST_SEEN = 500  # dependencies that a unit notes before it merges them
LONGEST_READING_SECONDS = (
    5.0  # after which a unit reads the log again: some last as long as a process
)


class Moment(NamedTuple):
    """A transaction that may not have ended yet: one that has written to tracked tables, say."""

    transaction: Transaction
    number: int

    def is_gone(self) -> bool:
        """Tell whether it has ended."""
        return self.transaction.number != self.number or not self.transaction.is_open()


class Unit:
    """What one unit of work has read of the logs, and which of them it has written to."""

    def __init__(self, parent: Unit | None = None, request: Any = None) -> None:
        """Begin; nothing is read before the first recall. ``request``: what it answers, if any."""
        self.parent = parent
        self.request: Any = request
        if request is None and parent is not None:
            self.request = parent.request
        # Nobody has noticed what was read before it.
        self.is_of_one_recall = False
        self.began = time.monotonic()
        self.reads_again_at = self.began + LONGEST_READING_SECONDS
        self._began_with = known_readings()
        self._positions: dict[str, Reading] = {}
        self.refreshed: set[str] = set()  # databases whose log was read since they were written to
        self._dirt: dict[str, Moment] = {}
        self._unreadable: dict[str, Moment] = {}
        self._seen: list[Dependency] = []
        self._caches: dict[tuple[int, str], BaseCache] = {}
        # It has read what was not committed then: nobody else may see what is made of it.
        self.has_seen_unshareable = False
        for connection in connections.all(initialized_only=True):
            transaction = transaction_of(connection)
            if transaction.is_open():
                # What it reads may be older than what is known now.
                self._began_with.pop(connection.alias, None)
            if transaction.is_dirty:
                self._dirt[connection.alias] = Moment(transaction, transaction.number)

    def cache(self, alias: str) -> BaseCache:
        """Return the cache of an alias, of which each thread has an object.

        Django's handler looks for an event loop each time, which takes longer than a hit in memory.
        """
        place = get_ident(), alias
        found = self._caches.get(place)
        if found is None:
            found = self._caches[place] = caches[alias]
        return found

    def forget_caches(self) -> None:
        """Ask Django for them again."""
        self._caches.clear()

    def needs_refresh(self, database: str) -> bool:
        """Tell whether refresh() would read the log."""
        self.forget_old_readings()
        return database not in self.refreshed

    def forget_old_readings(self) -> None:
        """Have the log read again, if it was read some seconds ago.

        A command may be a loop that works off a queue; nobody knows the names of all of them.
        """
        now = time.monotonic()
        if now >= self.reads_again_at:
            self.reads_again_at = now + LONGEST_READING_SECONDS
            self.refreshed.clear()

    def refresh(self, database: str) -> None:
        """Read the log, if that was not done yet since the unit began or wrote.

        Not within a transaction that has written: the ids of its own rows in the log may be given
        to others after a rollback, and would seem to have been read.
        """
        connection = connections[database]
        if not self.needs_refresh(database) or is_written_to(connection):
            return
        self._refuse_again(connection)
        try:
            reading = log_of(database).refresh()
        except LogUnreadable:
            if is_in_snapshot(connection):
                transaction = transaction_of(connection)
                self._unreadable[database] = Moment(transaction, transaction.number)
            raise
        self._positions.setdefault(database, reading)
        self.refreshed.add(database)
        prune_now_and_then(database)

    def _refuse_again(self, connection: BaseDatabaseWrapper) -> None:
        """Raise LogUnreadable in a transaction in which that was raised: it costs a statement."""
        moment = self._unreadable.get(connection.alias)
        if moment is not None and not moment.is_gone():
            raise LogUnreadable("It was so a moment ago, in the same transaction.")

    def position(self, database: str) -> Reading:
        """Return the position with which everything is stored that this unit reads from now on.

        It never moves: what was read before a later refresh may be older than it.
        """
        found = self._positions.get(database)
        if found is None:
            self.refresh(database)
            found = self._positions.get(database, NOWHERE)
        return found

    def positions_around(self, database: str) -> list[Reading]:
        """Return those of the units around this one, which may have read what it was given."""
        found, unit = [], self.parent
        while unit is not None:
            if (reading := unit._positions.get(database)) is not None:
                found.append(reading)
            unit = unit.parent
        return found

    def confirm(self, dependency: Dependency) -> Dependency:
        """Return what an entry that was just found valid depends on, as of this unit's position.

        Nothing that its tags name has changed in between: it would be made the same now. With its
        own older position, what is made around it would count as overtaken by the very change that
        it is made anew for, and would not be kept until the inner ones are made anew too.
        """
        reading = self._positions.get(dependency.database)
        if (
            reading is None
            or reading.incarnation != dependency.incarnation
            or reading.watermark <= dependency.position
        ):
            return dependency
        return dependency._replace(position=reading.watermark)

    def note_read(self, database: str) -> None:
        """Fix the position, because a tracked table is about to be read outside of any recall."""
        if database not in self._positions:
            if reading := self._began_with.get(database):
                self._positions.setdefault(database, reading)
                return
            with suppress(DatabaseError):  # the read itself will tell
                self.refresh(database)
            self._positions.setdefault(database, NOWHERE)  # nothing made of it can be stored

    def note_seen(self, dependencies: Iterable[Dependency], *, is_shareable: bool = True) -> None:
        """Remember what was read outside of any recall, or by an outermost one.

        What is made of it later, such as a fragment of a page, depends on it without reading again.
        """
        self._seen.extend(dependencies)
        self.has_seen_unshareable |= not is_shareable
        if len(self._seen) > MOST_SEEN:
            self.seen()

    def seen(self) -> list[Dependency]:
        """Return all that was read since the unit began, and in those around it."""
        with _merging:  # in place: what another thread adds meanwhile stands behind it
            count = len(self._seen)
            self._seen[:count] = merge(self._seen[:count])
        return [*self._seen, *(self.parent.seen() if self.parent is not None else ())]

    def has_seen_uncommitted(self) -> bool:
        """Tell whether it, or one around it, has read what was not committed then."""
        unit: Unit | None = self
        while unit is not None and not unit.has_seen_unshareable:
            unit = unit.parent
        return unit is not None

    def note_write(self, connection: BaseDatabaseWrapper) -> None:
        """Have the log read again before the next recall, and none while the transaction lasts."""
        transaction = transaction_of(connection)
        unit: Unit | None = self
        while unit is not None:
            unit.refreshed.discard(connection.alias)
            if transaction.is_open():
                unit._dirt[connection.alias] = Moment(transaction, transaction.number)
            unit = unit.parent

    def is_dirty(self) -> bool:
        """Tell whether a transaction that is still open has written to tracked tables."""
        if not self._dirt:  # as almost always
            return False
        for database, dirt in list(self._dirt.items()):
            if dirt.is_gone():
                self._dirt.pop(database, None)
        return bool(self._dirt)


_merging = ForkSafeLock()


def merge(dependencies: Iterable[Dependency]) -> list[Dependency]:
    """Return one dependency for each incarnation of a log, at the oldest position."""
    positions: dict[tuple[str, str], int] = {}
    tags: dict[tuple[str, str], dict[str, None]] = {}
    for database, incarnation, position, some in dependencies:
        log = database, incarnation
        positions[log] = min(position, positions.get(log, position))
        tags.setdefault(log, {}).update(dict.fromkeys(some))
    return [
        Dependency(*log, position, without_many_rows(list(tags[log])))
        for log, position in positions.items()
    ]


_unit: ContextVar[Unit | None] = ContextVar("cachelayers_unit", default=None)


# Return the innermost unit of work, if there is one. The method itself: every hit in memory asks.
current_unit = _unit.get


_running: dict[int, Unit] = {}


def running_units() -> list[Unit]:
    """Return the units that what a thread of no unit reads may belong to: all there are.

    A thread that was started without the context cannot be told from one that has nothing to do
    with any of them.
    """
    return list(_running.values())


def forget_caches(*, setting: str, **kwargs: Any) -> None:
    """Receive setting_changed, which tests send."""
    if setting == "CACHES":
        for unit in running_units():
            unit.forget_caches()


setting_changed.connect(forget_caches, dispatch_uid="cachelayers.invalidation.forget_caches")


@contextmanager
def unit_of_work(request: Any = None) -> Iterator[Unit]:
    """Begin a unit of work. Requests, tasks and management commands begin one by themselves.

    Everything that recall() gives within it reflects, for every tracked table it was made from,
    what had been committed before the unit began, and the unit's own writes. Long-running loops
    open one for each turn. Works around async code as well. ``request``: what it answers; that is
    for the middleware.
    """
    unit = Unit(_unit.get(), request)
    token = _unit.set(unit)
    _running[id(unit)] = unit
    try:
        yield unit
    finally:
        del _running[id(unit)]
        _unit.reset(token)
        if pulse.is_asleep:
            pulse.beat()


@contextmanager
def some_unit() -> Iterator[Unit]:
    """Give the current unit, or where there is none, one for this block."""
    unit = _unit.get()
    if unit is not None:
        yield unit
        return
    with unit_of_work() as unit:
        unit.is_of_one_recall = True
        yield unit


def is_written_to(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether a connection's open transaction has written to tracked tables."""
    return transaction_of(connection).is_dirty
