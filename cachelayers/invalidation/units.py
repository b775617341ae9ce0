"""Units of work: a request, task, command or block that reads the log at one position.

The execute wrapper and recalls use the current unit. It is in the context, so that async code and
threads that were started with a copy of the context share it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from threading import get_ident
from typing import Any, NamedTuple

from django.core.cache.backends.base import BaseCache
from django.core.signals import setting_changed
from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.asyncio import async_unsafe

from cachelayers.invalidation.incarnations import LogUnreadable, is_in_snapshot
from cachelayers.invalidation.log import NEVER, Dependency, Reading, known_readings, log_of
from cachelayers.invalidation.pruning import prune_occasionally
from cachelayers.invalidation.tags import without_many_rows
from cachelayers.invalidation.transactions import Transaction, transaction_of
from cachelayers.utils.counters import heartbeat
from cachelayers.utils.locks import ForkSafeLock, cache_of

UNKNOWN_POSITION = Reading("", NEVER)  # no log can confirm such a read
MOST_DEPENDENCIES = 500  # so many dependencies, then they are merged
# Then a unit reads the log again: some units last as long as a process.
LONGEST_READING_SECONDS = 5.0
OLD_POSITION_SECONDS = 1.0  # then the position is too old for a response that is still streamed


class Moment(NamedTuple):
    """A transaction, such as one that has written to tracked tables, which may have ended since."""

    transaction: Transaction
    number: int

    def is_gone(self) -> bool:
        """Return whether it has ended."""
        return self.transaction.number != self.number or not self.transaction.is_open()


class Unit:
    """What one unit of work has read of the logs, and which databases it has written to."""

    # It is a request or a task, so no computation in another thread can have begun it.
    is_independent = False
    # It has ended, but a thread or task that it started may still have it in its context.
    has_ended = False
    # Its position is too old: each recall within it is a unit of its own, and reads the log.
    is_outdated = False

    def __init__(self, parent: Unit | None = None, request: Any = None) -> None:
        """``request``: the request that this unit answers, if any."""
        self.parent = parent
        self.request: Any = request
        if request is None and parent is not None:
            self.request = parent.request
        self.is_independent |= request is not None or (parent is not None and parent.is_independent)
        # It was begun for one recall: reads before it were not tracked.
        self.is_of_one_recall = False
        self.began = time.monotonic()  # looks at the bus before this time are too old
        self.reads_again_at = time.monotonic() + LONGEST_READING_SECONDS
        self._began_with = known_readings()
        self._positions: dict[str, Reading] = {}
        self.refreshed: set[str] = set()  # databases whose log was read after the last write
        self._dirty_transactions: dict[str, Moment] = {}
        self._unreadable: dict[str, tuple[Moment, str]] = {}  # with the reason
        self._dependencies: list[Dependency] = []
        # By database: the number of the transaction in which the unit began, and the tags that were
        # read in it before the log was.
        self._transactions_before: dict[str, int] = {}
        self._unpositioned_tags: dict[str, dict[str, None]] = {}
        self._caches: dict[tuple[int, str], BaseCache] = {}
        # It has read uncommitted data: values made from that must not be shared.
        self.has_read_unshareable = False
        # Outside of any recall it has run a statement that could not be analysed.
        self.has_read_unknown = False
        for connection in connections.all(initialized_only=True):
            transaction = transaction_of(connection)
            if transaction.is_open():
                # Its reads may be older than the known position.
                self._began_with.pop(connection.alias, None)
                if not transaction.is_of_test:
                    self._transactions_before[connection.alias] = transaction.number
                if transaction.is_dirty:
                    moment = Moment(transaction, transaction.number)
                    self._dirty_transactions[connection.alias] = moment

    def cache(self, alias: str) -> BaseCache:
        """Return this thread's cache object of an alias.

        Django's handler looks for an event loop each time, which takes longer than a hit in memory.
        """
        place = get_ident(), alias
        found = self._caches.get(place)
        if found is None:
            found = self._caches[place] = cache_of(alias)
        return found

    def forget_caches(self) -> None:
        self._caches.clear()

    def end(self) -> None:
        self.has_ended = True
        self.mark_outdated()

    def mark_outdated(self) -> None:
        """Make each later recall within this unit a unit of its own."""
        self.is_outdated = True
        self.began = math.inf

    def needs_refresh(self, database: str) -> bool:
        """Return whether refresh() would read the log."""
        self.forget_old_readings()
        return self.is_outdated or database not in self.refreshed

    def may_skip_refresh(self, database: str, seconds: float) -> bool:
        """Return whether hits may be checked against a reading of the last ``seconds``.

        Only if fix_earlier_position() can say afterwards how old the values may be: not if the unit
        has begun before this process first read the log, or in a transaction.
        """
        if not log_of(database).is_recent(seconds):
            return False
        if database not in self._positions and database not in self._began_with:
            return False
        return self.parent is None or not any(
            database in unit._transactions_before and database not in unit._positions
            for unit in self._outer_units()
        )

    def fix_earlier_position(self, database: str) -> None:
        """After a hit that was checked without reading the log: fix the position.

        The value, and the rows in it, may be as old as what this process had read when the unit
        began. What is computed from them here, or in a unit around this one, is stored with that
        position, although the log may be read meanwhile.
        """
        began_with = self._began_with.get(database, UNKNOWN_POSITION)
        reading = self._positions.setdefault(database, began_with)
        for unit in self._outer_units():
            unit._positions.setdefault(database, unit._began_with.get(database, reading))

    def _outer_units(self) -> Iterator[Unit]:
        unit = self.parent
        while unit is not None:
            yield unit
            unit = unit.parent

    def forget_old_readings(self) -> None:
        """Have the log read again after a few seconds.

        A command may be a loop that works off a queue, and such commands cannot be listed by name.
        """
        now = time.monotonic()
        if now >= self.reads_again_at:
            self.reads_again_at = now + LONGEST_READING_SECONDS
            self.refreshed.clear()

    def refresh(self, database: str) -> None:
        """Read the log, unless that was done since the unit began or last wrote.

        Not within a transaction that has written: after a rollback, other rows may get the ids of
        its rows in the log, and these would count as read.
        """
        if self.needs_refresh(database) and not is_written_to(connections[database]):
            self._read_log(database)

    @async_unsafe  # the event loop has other connections than the code that reads the data
    def _read_log(self, database: str) -> None:
        connection = connections[database]
        self._refuse_again(connection)
        log = log_of(database)
        try:
            reading = log.refresh()
        except LogUnreadable as error:
            if is_in_snapshot(connection):
                transaction = transaction_of(connection)
                self._unreadable[database] = Moment(transaction, transaction.number), str(error)
            raise
        if database in self._unpositioned_tags:
            reading = self._position_of_earlier_reads(database, reading)
        self._positions.setdefault(database, reading)
        self.refreshed.add(database)
        if log.may_be_pruned:
            prune_occasionally(database)

    def _refuse_again(self, connection: BaseDatabaseWrapper) -> None:
        """Raise LogUnreadable again, without a statement, in a transaction that has raised it."""
        moment, reason = self._unreadable.get(connection.alias, (None, ""))
        if moment is not None and not moment.is_gone():
            raise LogUnreadable(reason)

    def position(self, database: str) -> Reading:
        """Return the position with which everything that this unit reads is stored.

        It never moves: data that was read before a later refresh may be older than that.
        """
        found = self._positions.get(database)
        if found is None:
            self.refresh(database)
            found = self._positions.get(database, UNKNOWN_POSITION)
        return found

    def positions_around(self, database: str) -> list[Reading]:
        """Return the positions of the outer units, which may have read what this one was passed."""
        readings = (unit._positions.get(database) for unit in self._outer_units())
        return [reading for reading in readings if reading is not None]

    def confirm(self, dependency: Dependency) -> Dependency:
        """Return a valid entry's dependency at this unit's position.

        None of its tags has changed in between. With its own older position, an outer value would
        count as invalid because of the change for which it is computed again, and would not be
        stored until the inner entries are computed again too.
        """
        reading = self._positions.get(dependency.database)
        if (
            reading is None
            or reading.incarnation != dependency.incarnation
            or reading.watermark <= dependency.position
        ):
            return dependency
        return dependency._replace(position=reading.watermark)

    def note_read(self, connection: BaseDatabaseWrapper, tags: Sequence[str]) -> None:
        """Before a read of tracked tables outside of any recall: remember its tags.

        If the unit began within a transaction, as in every test, the log is not read now. It is
        read when a value that depends on the read is computed, which is rare.
        """
        database = connection.alias
        self.has_read_unshareable |= is_written_to(connection)
        if database in self._positions:
            self.add_dependencies([Dependency(database, *self._positions[database], tags)])
        elif database in self._transactions_before:
            self._unpositioned_tags.setdefault(database, {}).update(dict.fromkeys(tags))
        else:
            self._fix_position_before_read(database)
            self.add_dependencies([Dependency(database, *self.position(database), tags)])

    def _fix_position_before_read(self, database: str) -> None:
        if reading := self._began_with.get(database):
            self._positions.setdefault(database, reading)
            return
        with suppress(DatabaseError):  # the read itself will raise it
            self.refresh(database)
        # Values made from it cannot be stored.
        self._positions.setdefault(database, UNKNOWN_POSITION)

    def _position_of_earlier_reads(self, database: str, reading: Reading) -> Reading:
        """Return the position of reads that preceded the log's reading.

        Within one transaction of SQLite, all reads see the same state, also that of the log.
        """
        connection = connections[database]
        began_in = self._transactions_before[database]
        if connection.vendor == "sqlite" and transaction_of(connection).is_still(began_in):
            return reading
        return UNKNOWN_POSITION

    def add_dependencies(
        self, dependencies: Iterable[Dependency], *, is_shareable: bool = True
    ) -> None:
        """Remember what was read outside of any recall, or by an outermost one.

        A value that is computed later, such as a fragment, depends on it although it does not read
        it again.
        """
        self._dependencies.extend(dependencies)
        self.has_read_unshareable |= not is_shareable
        if len(self._dependencies) > MOST_DEPENDENCIES:
            self._merge_dependencies()

    def dependencies(self) -> list[Dependency]:
        """Return what this unit and the outer ones have read."""
        for database, tags in list(self._unpositioned_tags.items()):
            self._dependencies.append(Dependency(database, *self.position(database), list(tags)))
            tags.clear()
        self._merge_dependencies()
        return [
            *self._dependencies,
            *(self.parent.dependencies() if self.parent is not None else ()),
        ]

    def _merge_dependencies(self) -> None:
        with _merging:  # in place: other threads append meanwhile
            count = len(self._dependencies)
            self._dependencies[:count] = merge(self._dependencies[:count])

    def has_read_uncommitted(self) -> bool:
        """Return whether this unit or an outer one has read uncommitted data."""
        unit: Unit | None = self
        while unit is not None and not unit.has_read_unshareable:
            unit = unit.parent
        return unit is not None

    def may_depend_on_unknown(self) -> bool:
        """Return whether this unit or an outer one has run a statement that was not analysed."""
        unit: Unit | None = self
        while unit is not None and not unit.has_read_unknown:
            unit = unit.parent
        return unit is not None

    def note_write(self, connection: BaseDatabaseWrapper) -> None:
        """Have the log read again before the next recall, and not while the transaction is open."""
        transaction = transaction_of(connection)
        unit: Unit | None = self
        while unit is not None:
            unit.refreshed.discard(connection.alias)
            if transaction.is_open():
                unit._dirty_transactions[connection.alias] = Moment(transaction, transaction.number)
            unit = unit.parent

    def is_dirty(self) -> bool:
        """Return whether a transaction that is still open has written to tracked tables."""
        if not self._dirty_transactions:  # as almost always
            return False
        for database, moment in list(self._dirty_transactions.items()):
            if moment.is_gone() or not moment.transaction.is_dirty:
                self._dirty_transactions.pop(database, None)
        return bool(self._dirty_transactions)


class OwnUnit(Unit):
    """The unit of a task: no computation elsewhere has begun it."""

    is_independent = True


class CommandUnit(OwnUnit):
    """The unit of a command, which may be a worker that runs tasks for days.

    Such commands cannot be listed. So each recall within this unit is a unit of its own, and this
    one only remembers what was read.
    """

    is_outdated = True

    def __init__(self, parent: Unit | None = None, request: Any = None) -> None:
        """Begin; earlier looks at the bus never count."""
        super().__init__(parent, request)
        self.began = math.inf


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


# The innermost unit of work, or None. The method itself, because every hit in memory calls it.
current_unit = _unit.get


_running: dict[int, Unit] = {}


def running_units() -> list[Unit]:
    """Return all units to which a read in a thread without a unit may belong: all of them.

    A thread that was started without the context may work for any of them.
    """
    return list(_running.values())


def forget_caches(*, setting: str, **kwargs: Any) -> None:
    """Receive setting_changed, which tests send."""
    if setting == "CACHES":
        for unit in running_units():
            unit.forget_caches()


setting_changed.connect(forget_caches, dispatch_uid="cachelayers.invalidation.forget_caches")


def active_unit() -> Unit | None:
    """Return the innermost unit of work that has not ended, or None."""
    unit = _unit.get()
    return None if unit is None or unit.has_ended else unit


@contextmanager
def unit_of_work(request: Any = None, *, kind: type[Unit] = Unit) -> Iterator[Unit]:
    """Begin a unit of work. Requests, tasks and management commands begin one automatically.

    Every value that recall() returns within it reflects, for every tracked table, what was
    committed before the unit began, and the unit's own writes. Long-running loops open one for each
    turn. It also works around async code. ``request`` (the one that is answered) and ``kind`` (the
    class of unit) are for code that begins units automatically.
    """
    unit = begin_unit(request, kind)
    try:
        with within_unit(unit):
            yield unit
    finally:
        end_unit(unit)


def begin_unit(request: Any = None, kind: type[Unit] = Unit) -> Unit:
    """Begin a unit that end_unit() ends elsewhere."""
    unit = kind(_unit.get(), request)
    _running[id(unit)] = unit
    return unit


@contextmanager
def within_unit(unit: Unit) -> Iterator[None]:
    """Run the block within a unit that has begun."""
    token = _unit.set(unit)
    try:
        yield
    finally:
        _unit.reset(token)


def end_unit(unit: Unit) -> None:
    """End a unit. Further calls do nothing."""
    if _running.pop(id(unit), None) is not None:
        unit.end()
        if heartbeat.is_asleep:
            heartbeat.beat()


@contextmanager
def outside_units() -> Iterator[None]:
    """Run the block as if no unit of this thread or task had begun."""
    unit, hidden = _unit.get(), []
    token = _unit.set(None)
    while unit is not None:
        if _running.pop(id(unit), None) is not None:
            hidden.append(unit)
        unit = unit.parent
    try:
        yield
    finally:
        _running.update((id(one), one) for one in hidden)
        _unit.reset(token)


@contextmanager
def ensure_unit() -> Iterator[Unit]:
    """Yield the current unit, or a new one for the block if there is none or it is too old."""
    unit = _unit.get()
    if unit is not None and not unit.is_outdated:
        yield unit
        return
    is_noticed = unit is not None and not unit.has_ended
    with unit_of_work() as unit:
        unit.is_of_one_recall = not is_noticed
        yield unit


def is_written_to(connection: BaseDatabaseWrapper) -> bool:
    """Return whether a connection's open transaction has written to tracked tables."""
    return transaction_of(connection).is_dirty
