"""The bus: a log of changed names, by which processes remove outdated entries from their memory.

Coordination publishes events to it and polls it. Its kinds: an SQLite file, the invalidation log, a
Redis stream, or none.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple
from uuid import uuid4

import django.db
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connections, transaction

from cachelayers.backends.database.raising import Event, EventRows
from cachelayers.backends.database.raising import Events as EventTable
from cachelayers.backends.faults import raise_if_never_made
from cachelayers.backends.layered.circuit_breaker import breaker_of
from cachelayers.backends.layered.layers import make_layer
from cachelayers.backends.layered.layers.base import Layer
from cachelayers.backends.layered.layers.redis import (
    EVENTS_KEPT,
    RedisAccess,
    RedisLayer,
    cut_idle_connections,
)
from cachelayers.backends.layered.layers.table import TableLayer
from cachelayers.conf import LOG_AS_BUS, database_caches
from cachelayers.exceptions import NotNow
from cachelayers.invalidation import (
    LogUnreadable,
    ProcessLog,
    Unit,
    current_unit,
    is_in_snapshot,
    is_written_to,
    key_tag,
    log_database,
    log_of,
    transaction_of,
    write_tags_in_time,
)

# in one event; for more changes the event means that everything has changed
MOST_NAMES: Final = 1_000

_token = uuid4().hex


class Events(NamedTuple):
    """The changes that other processes have published since the last poll."""

    names: Sequence[str] = ()
    everything: bool = False  # or the names are unknown
    as_of: float | None = None  # of time.monotonic(); None: the beginning of this poll


Apply = Callable[[Events], None]


class Bus(ABC):
    """The bus of one LayeredCache. One thread at a time reads it (see Coordination.poll)."""

    # Whether append() is part of the caller's transaction, which may be rolled back.
    is_transactional = False
    costs_a_write = False  # in addition to the write of the entry

    def __init__(self, alias: str) -> None:
        """``alias``: the name of its circuit breaker."""
        self.alias = alias
        self.breaker = breaker_of(alias)

    @abstractmethod
    def read(self, apply: Apply) -> Events:
        """Pass new events to ``apply`` and return them; raises the client's errors.

        The position moves last: an interrupted call reads the same events again.
        """

    @abstractmethod
    def append(self, event: bytes) -> bool:
        """Publish an event; return False if it may still be rolled back."""

    def has_written(self) -> bool:
        """Return whether events may depend on a transaction that has written."""
        return False

    def waits_for_commit(self) -> bool:
        """Return whether a transaction may hide other processes' writes from this one."""
        return False

    def cut(self) -> None:  # noqa: B027 - most clients see to it themselves
        """Close connections that may have an unread answer after an interrupted call."""

    def own_async(self, operation: str, arguments: Iterable[Any]) -> Awaitable[Any] | None:
        """Return the operation as an awaitable, or None if it needs a thread."""
        return None


class NoBus(Bus):
    """No events: the time limit of the memory bounds the age of its values."""

    def __init__(self) -> None:
        super().__init__("")

    def read(self, apply: Apply) -> Events:
        return Events()

    def append(self, event: bytes) -> bool:
        return True


def this_process() -> str:
    """Return an id of this process, which a fork changes."""
    return f"{_token}:{os.getpid()}"


def event_of(names: Sequence[str] | None) -> bytes:
    """Return the event for changed names; None: everything has changed."""
    said = None if names is None or len(names) > MOST_NAMES else list(names)
    return json.dumps([this_process(), said], separators=(",", ":")).encode()


def names_of(event: bytes) -> tuple[str, list[str] | None]:
    """Return the process that published an event, and the changed names; None: everything."""
    try:
        process, names = json.loads(event)
    except (ValueError, TypeError):
        return "", None
    if names is not None and not isinstance(names, list):
        return "", None
    return process, names


ROWS_READ_AT_ONCE = 10_000
_numbers = itertools.count()
ALL_ENTRIES = "*"


class FileBus(Bus):
    """The events of one LayeredCache in its own SQLite file. Shared by the threads of a process."""

    costs_a_write = True

    def __init__(self, cache: str, table: EventTable) -> None:
        """``cache``: the alias of the LayeredCache."""
        super().__init__(f"{cache}: its file")
        self.cache, self.table = cache, table
        self._last: Event | None = None  # the last event read; None: nothing was read yet

    def read(self, apply: Apply) -> Events:
        """Read from the last event on, inclusive.

        If that event is missing or has changed, the file was replaced or the event was deleted as
        surplus: anything may have changed.
        """
        last = self._last
        found = [] if last is None else self.table.read(last.id, ROWS_READ_AT_ONCE)
        if not found or found[0] != last or len(found) == ROWS_READ_AT_ONCE:
            events, last = Events(everything=True), self._newest()
        else:
            events, last = self._events(found[1:]), found[-1]
        apply(events)
        self._last = last
        return events

    def _newest(self) -> Event:
        """Return the newest event; write one if there is none."""
        newest = self.table.newest()
        if newest is None:
            self.table.write([(self.cache, numbered(this_process()), "")])
            newest = self.table.newest()
        if newest is None:
            raise LookupError("An event that was just written is missing.")
        return newest

    def _events(self, found: Sequence[Event]) -> Events:
        mine = this_process()
        others = [
            one
            for one in found
            if one.cache == self.cache and one.process.rpartition(":")[0] != mine
        ]
        names = [one.name for one in others if one.name]
        return Events(names, ALL_ENTRIES in names)

    def append(self, event: bytes) -> bool:
        if rows := self.rows_of(event):
            self.table.write(rows)
        return True

    def rows_of(self, event: bytes) -> EventRows:
        """Return an event in the table's form."""
        process, names = names_of(event)
        if names == []:
            return []
        process = numbered(process)
        return [(self.cache, process, name) for name in names or [ALL_ENTRIES]]


def numbered(process: str) -> str:
    """Return a process with a number that it uses once.

    In a file that replaces another one, the ids of events begin again. Without the number, an event
    could be equal to the last one that was read from the old file.
    """
    return f"{process}:{next(_numbers)}"


class LogBus(Bus):
    """Rows of the invalidation log that name keys of one LayeredCache.

    An event commits, and rolls back, with the caller's transaction.
    """

    is_transactional = True
    costs_a_write = True

    def __init__(self, cache: str) -> None:
        """``cache``: the alias of the LayeredCache, with which the tags begin."""
        super().__init__(f"{cache}: the log")
        self.cache = cache
        self.database = log_database()
        self._head = key_tag(cache, "")
        self._follower = log_of(self.database).follow()

    def read(self, apply: Apply) -> Events:
        """Return the new names in the log, including this process's own.

        If recall has read the log for this unit of work already, it is not read again.
        """
        connection = connections[self.database]
        if connection.needs_rollback:
            raise NotNow("The transaction is broken.")
        try:
            return self._read_log(apply)
        except LogUnreadable as error:
            raise NotNow(str(error)) from error
        except django.db.Error as error:
            raise_if_never_made(self.database, error)
            raise

    def _read_log(self, apply: Apply) -> Events:
        log, unit = log_of(self.database), current_unit()
        peeked: Sequence[str] | None = []
        if is_written_to(connections[self.database]):
            as_of = time.monotonic()
            peeked = log.peek()
        else:
            self._refresh(log, unit)
            as_of = log.refreshed_at
        events: list[Events] = []

        def take(tags: Sequence[str] | None) -> None:
            whole = None if tags is None or peeked is None else [*tags, *peeked]
            events.append(self._events(whole, as_of))
            apply(events[0])

        log.drain(self._follower, take)
        return events[0]

    def _events(self, tags: Sequence[str] | None, as_of: float) -> Events:
        if tags is None:
            return Events(everything=True, as_of=as_of)
        names = [tag.removeprefix(self._head) for tag in tags if tag.startswith(self._head)]
        return Events(names, ALL_ENTRIES in names, as_of)

    def _refresh(self, log: ProcessLog, unit: Unit | None) -> None:
        if unit is not None:
            with suppress(SynchronousOnlyOperation):  # called in an event loop
                unit.refresh(self.database)
                return
        log.refresh()

    def append(self, event: bytes) -> bool:
        """Log a tag for each name; within a transaction they may be rolled back."""
        names = names_of(event)[1]
        tags = [key_tag(self.cache, name) for name in names or [ALL_ENTRIES]]
        connection = connections[self.database]
        if not is_in_snapshot(connection):
            write_tags_in_time(connection, tags)
            return True
        try:
            # A savepoint: an error must not break the caller's transaction.
            with transaction.atomic(self.database):
                write_tags_in_time(connection, tags)
        except django.db.Error as error:
            raise NotNow(f"{type(error).__name__}: {error}") from error
        transaction_of(connection).mark_dirty()  # after a rollback, other rows may get the same ids
        return False

    def has_written(self) -> bool:
        """Return whether an open transaction has written."""
        return transaction_of(connections[self.database]).is_dirty

    def waits_for_commit(self) -> bool:
        """Return whether a transaction is open, which may read an older state."""
        return transaction_of(connections[self.database]).is_open()


READ_AT_ONCE = 1_000
MOST_READS = 10  # in a row; a process further behind drops everything from its memory

Entry = tuple[bytes, Mapping[bytes, bytes]]


class StreamPosition:
    """The position of this process in the stream of one LayeredCache. Shared by its threads."""

    def __init__(self, alias: str) -> None:
        """``alias``: of the Redis in CACHES."""
        self.alias = alias
        self.last: Entry | None = None


class StreamBus(Bus):
    """The stream of one LayeredCache, on the connections of one thread."""

    def __init__(self, position: StreamPosition, stream: str, access: RedisAccess) -> None:
        """``stream``: the full key."""
        super().__init__(position.alias)
        self.position, self.stream, self.access = position, stream, access

    def read(self, apply: Apply) -> Events:
        events, last = self._read_new(self.access.client())
        apply(events)
        self.position.last = last
        return events

    def append(self, event: bytes) -> bool:
        client = self.access.client()
        client.xadd(self.stream, {"e": event}, maxlen=EVENTS_KEPT, approximate=True)
        return True

    def cut(self) -> None:
        """Close the idle connections."""
        cut_idle_connections(self.access)

    def _read_new(self, client: Any) -> tuple[Events, Entry]:
        last = self.position.last
        if last is None:
            return self._begin(client)
        names: list[str] = []
        everything = False
        for _ in range(MOST_READS):
            entries = client.xrange(self.stream, min=last[0], count=READ_AT_ONCE)
            if not entries or as_entry(entries[0]) != last:
                return self._begin(client)
            for entry in entries[1:]:
                process, changed = names_of(as_entry(entry)[1].get(b"e", b""))
                if process != this_process():
                    everything = everything or changed is None
                    names += changed or ()
            last = as_entry(entries[-1])
            if len(entries) < READ_AT_ONCE:
                return Events(names, everything), last
        return self._begin(client)

    def _begin(self, client: Any) -> tuple[Events, Entry]:
        """Set the position to the last entry of the stream; add an entry if there is none."""
        entries = client.xrevrange(self.stream, count=1)
        if entries:
            return Events(everything=True), as_entry(entries[0])
        fields = {b"e": event_of([])}
        return Events(everything=True), (as_bytes(client.xadd(self.stream, fields)), fields)


def as_entry(entry: Any) -> Entry:
    """Return an entry in a comparable form, whether the client decodes bytes or not."""
    entry_id, fields = entry
    return as_bytes(entry_id), {as_bytes(name): as_bytes(value) for name, value in fields.items()}


def as_bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def make_bus(name: str | None, cache: str, layers: Sequence[str]) -> Bus | StreamPosition:
    """Return the part of a LayeredCache's bus that all threads share."""
    if name is None:
        return NoBus()
    if name == LOG_AS_BUS:
        events = events_beside(layers)
        return LogBus(cache) if events is None else FileBus(cache, events)
    return StreamPosition(name)


def events_beside(layers: Sequence[str]) -> EventTable | None:
    """Return the events beside the first table layer that is an SQLite file of the cache's own."""
    for alias, _ in database_caches():
        if alias in layers:
            layer = make_layer(alias, 0.0)
            return layer.table.events() if isinstance(layer, TableLayer) else None
    return None


def connect_bus(
    bus: Bus | StreamPosition, cache: str, layers: Sequence[Layer], limit_seconds: float
) -> Bus:
    """Return the bus with one thread's connections: those of a layer, if the bus is a layer too.

    A layer on which the bus is writes events in the same step as the entries.
    """
    if isinstance(bus, FileBus):
        for table in layers:
            if isinstance(table, TableLayer) and table.table.database == bus.table.database:
                table.rows_of_event = bus.rows_of
    if isinstance(bus, Bus):
        return bus
    layer = next((one for one in layers if one.alias == bus.alias), None)
    layer = layer or make_layer(bus.alias, limit_seconds)
    if not isinstance(layer, RedisLayer):
        raise LookupError(f"BUS {bus.alias!r} is not a Redis.")  # a system check has reported it
    layer.stream = str(layer.access.key(f"{cache}:bus"))
    return StreamBus(bus, layer.stream, layer.access)


__all__ = ["Bus", "Events", "NoBus", "StreamPosition", "connect_bus", "make_bus"]
