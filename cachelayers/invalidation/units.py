"""Units of work: a request, a task, a command or a block that sees the log at one position.

Used by lookup and by the wrapper that notices reads and writes. A unit is in the context, so that
async code and threads that were started with the context copied share it.
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
from cachelayers.invalidation.prune import prune_occasionally
from cachelayers.invalidation.tags import without_many_rows
from cachelayers.invalidation.transactions import Transaction, transaction_of
from cachelayers.utils.counters import heartbeat
from cachelayers.utils.locks import ForkSafeLock, cache_of

NOWHERE = Reading("", NEVER)  # no log vouches for what was read there
MOST_DEPENDENCIES = 500  # dependencies that a unit notes before it merges them
# After which a unit reads the log again: some last as long as a process.
LONGEST_READING_SECONDS = 5.0
AGE_SECONDS = 1.0  # after which a response that is streamed is too old for its unit's position


class Moment(NamedTuple):
    """A transaction that may not have ended yet: one that has written to tracked tables, say."""

    transaction: Transaction
    number: int

    def is_gone(self) -> bool:
        """Tell whether it has ended."""
        return self.transaction.number != self.number or not self.transaction.is_open()


class Unit:
    """What one unit of work has read of the logs, and which of them it has written to."""

    # No compute of another thread can have begun it: a request is one, or a task.
    is_independent = False
    # It has ended, though a thread or task that it started still has it in its context.
    has_ended = False
    # Its position is too old: each recall within it is a unit of its own, and reads the log.
    is_over = False

    def __init__(self, parent: Unit | None = None, request: Any = None) -> None:
        """Begin; nothing is read before the first recall. ``request``: what it answers, if any."""
        self.parent = parent
        self.request: Any = request
        if request is None and parent is not None:
            self.request = parent.request
        self.is_independent |= request is not None or (parent is not None and parent.is_independent)
        # Nobody has noticed what was read before it.
        self.is_of_one_recall = False
        self.began = time.monotonic()  # what was looked at before does not count
        self.reads_again_at = time.monotonic() + LONGEST_READING_SECONDS
        self._began_with = known_readings()
        self._positions: dict[str, Reading] = {}
        self.refreshed: set[str] = set()  # databases whose log was read since they were written to
        self._dirt: dict[str, Moment] = {}
        self._unreadable: dict[str, tuple[Moment, str]] = {}  # and why
        self._dependencies: list[Dependency] = []
        # By database: the number of the transaction that it began in, and tags that were read there
        # when the log was not.
        self._transactions_before: dict[str, int] = {}
        self._unpositioned_tags: dict[str, dict[str, None]] = {}
        self._caches: dict[tuple[int, str], BaseCache] = {}
        # It has read what was not committed then: nobody else may see what is made of it.
        self.has_read_unshareable = False
        # Outside of any recall it has run what is not understood: what is shown may be of it.
        self.has_read_unknown = False
        for connection in connections.all(initialized_only=True):
            transaction = transaction_of(connection)
            if transaction.is_open():
                # What it reads may be older than what is known now.
                self._began_with.pop(connection.alias, None)
                self._transactions_before[connection.alias] = transaction.number
            if transaction.is_dirty:
                self._dirt[connection.alias] = Moment(transaction, transaction.number)

    def cache(self, alias: str) -> BaseCache:
        """Return the cache of an alias, of which each thread has an object.

        Django's handler looks for an event loop each time, which takes longer than a hit in memory.
        """
        place = get_ident(), alias
        found = self._caches.get(place)
        if found is None:
            found = self._caches[place] = cache_of(alias)
        return found

    def forget_caches(self) -> None:
        """Ask Django for them again."""
        self._caches.clear()

    def end(self) -> None:
        """Answer nothing any more."""
        self.has_ended = True
        self.grow_old()

    def grow_old(self) -> None:
        """Be of no use any more to what goes on within it for long."""
        self.is_over = True
        self.began = math.inf

    def needs_refresh(self, database: str) -> bool:
        """Tell whether refresh() would read the log."""
        self.forget_old_readings()
        return self.is_over or database not in self.refreshed

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
        if self.needs_refresh(database) and not is_written_to(connections[database]):
            self._read_log(database)

    @async_unsafe  # the loop's connections tell nothing of the transactions in which data is read
    def _read_log(self, database: str) -> None:
        connection = connections[database]
        self._refuse_again(connection)
        try:
            reading = log_of(database).refresh()
        except LogUnreadable as error:
            if is_in_snapshot(connection):
                transaction = transaction_of(connection)
                self._unreadable[database] = Moment(transaction, transaction.number), str(error)
            raise
        if database in self._unpositioned_tags:
            reading = self._position_of_earlier_reads(database, reading)
        self._positions.setdefault(database, reading)
        self.refreshed.add(database)
        prune_occasionally(database)

    def _refuse_again(self, connection: BaseDatabaseWrapper) -> None:
        """Raise LogUnreadable in a transaction in which that was raised: it costs a statement."""
        moment, reason = self._unreadable.get(connection.alias, (None, ""))
        if moment is not None and not moment.is_gone():
            raise LogUnreadable(reason)

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

    def note_read(self, connection: BaseDatabaseWrapper, tags: Sequence[str]) -> None:
        """Before a read of tracked tables outside of any recall: what is made of it depends on it.

        Reads no log where the unit began within a transaction, as each does in a test: mostly
        nothing is ever made of it. The log is read when something is.
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
        with suppress(DatabaseError):  # the read itself will tell
            self.refresh(database)
        self._positions.setdefault(database, NOWHERE)  # nothing made of it can be stored

    def _position_of_earlier_reads(self, database: str, reading: Reading) -> Reading:
        """Return the position of what was read before the log was.

        Within one transaction of SQLite all that is read is of one moment, the log too.
        """
        connection = connections[database]
        began_in = self._transactions_before[database]
        if connection.vendor == "sqlite" and transaction_of(connection).is_still(began_in):
            return reading
        return NOWHERE

    def add_dependencies(
        self, dependencies: Iterable[Dependency], *, is_shareable: bool = True
    ) -> None:
        """Remember what was read outside of any recall, or by an outermost one.

        What is made of it later, such as a fragment of a page, depends on it without reading again.
        """
        self._dependencies.extend(dependencies)
        self.has_read_unshareable |= not is_shareable
        if len(self._dependencies) > MOST_DEPENDENCIES:
            self._merge_dependencies()

    def dependencies(self) -> list[Dependency]:
        """Return all that was read since the unit began, and in those around it."""
        for database, tags in list(self._unpositioned_tags.items()):
            self._dependencies.append(Dependency(database, *self.position(database), list(tags)))
            tags.clear()
        self._merge_dependencies()
        return [
            *self._dependencies,
            *(self.parent.dependencies() if self.parent is not None else ()),
        ]

    def _merge_dependencies(self) -> None:
        with _merging:  # in place: what another thread adds meanwhile stands behind it
            count = len(self._dependencies)
            self._dependencies[:count] = merge(self._dependencies[:count])

    def has_read_uncommitted(self) -> bool:
        """Tell whether it, or one around it, has read what was not committed then."""
        unit: Unit | None = self
        while unit is not None and not unit.has_read_unshareable:
            unit = unit.parent
        return unit is not None

    def may_depend_on_unknown(self) -> bool:
        """Tell whether it, or one around it, has read what nobody can tell changes of."""
        unit: Unit | None = self
        while unit is not None and not unit.has_read_unknown:
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


class OwnUnit(Unit):
    """The unit of a task: nothing that goes on elsewhere has begun it."""

    is_independent = True


class CommandUnit(OwnUnit):
    """The unit of a command, which may be a worker that takes one task after the other for days.

    Nobody can list the commands that do. So each recall within one is a unit of its own, and this
    one only remembers what was read.
    """

    is_over = True

    def __init__(self, parent: Unit | None = None, request: Any = None) -> None:
        """Begin; what was looked at before never counts."""
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


def living_unit() -> Unit | None:
    """Return the innermost unit of work, if there is one that has not ended."""
    unit = _unit.get()
    return None if unit is None or unit.has_ended else unit


@contextmanager
def unit_of_work(request: Any = None, *, kind: type[Unit] = Unit) -> Iterator[Unit]:
    """Begin a unit of work. Requests, tasks and management commands begin one by themselves.

    Everything that recall() gives within it reflects, for every tracked table it was made from,
    what had been committed before the unit began, and the unit's own writes. Long-running loops
    open one for each turn. Works around async code as well. ``request``: what it answers, and
    ``kind``: of unit; both are for those who begin one by themselves.
    """
    unit = begin_unit(request, kind)
    try:
        with within_unit(unit):
            yield unit
    finally:
        end_unit(unit)


def begin_unit(request: Any = None, kind: type[Unit] = Unit) -> Unit:
    """Begin a unit that ends elsewhere than it begins, by end_unit()."""
    unit = kind(_unit.get(), request)
    _running[id(unit)] = unit
    return unit


@contextmanager
def within_unit(unit: Unit) -> Iterator[None]:
    """Work within a unit that has begun."""
    token = _unit.set(unit)
    try:
        yield
    finally:
        _unit.reset(token)


def end_unit(unit: Unit) -> None:
    """End a unit; once is enough."""
    if _running.pop(id(unit), None) is not None:
        unit.end()
        if heartbeat.is_asleep:
            heartbeat.beat()


@contextmanager
def some_unit() -> Iterator[Unit]:
    """Give the current unit, or where there is none of use, one for this block."""
    unit = _unit.get()
    if unit is not None and not unit.is_over:
        yield unit
        return
    is_noticed = unit is not None and not unit.has_ended
    with unit_of_work() as unit:
        unit.is_of_one_recall = not is_noticed
        yield unit


def is_written_to(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether a connection's open transaction has written to tracked tables."""
    return transaction_of(connection).is_dirty
