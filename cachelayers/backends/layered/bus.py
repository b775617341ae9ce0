"""How a write of one process reaches the memory of the others: a log of changed names."""

from __future__ import annotations

import json
import os
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple
from uuid import uuid4

import django.db
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connections, transaction

from cachelayers.backends.database.raising import Event
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
from cachelayers.invalidation.incarnations import LogUnreadable, is_in_snapshot
from cachelayers.invalidation.log import ProcessLog, log_of, write_tags_in_time
from cachelayers.invalidation.tags import key_tag
from cachelayers.invalidation.tracked import log_database
from cachelayers.invalidation.transactions import transaction_of
from cachelayers.invalidation.units import Unit, current_unit, is_written_to

MOST_NAMES: Final = 1_000  # in one event; of more changes it is said that everything has changed

_token = uuid4().hex


class Events(NamedTuple):
    """What others have written since the last look."""

    names: Sequence[str] = ()
    everything: bool = False  # or it is not known what
    as_of: float | None = None  # of time.monotonic(); None: as of this look


Apply = Callable[[Events], None]


class Bus(ABC):
    """The bus of one LayeredCache. One thread at a time reads it (see Agreement.look)."""

    # Whether appending is part of the caller's transaction, which may be rolled back.
    is_transactional = False
    costs_a_write = False  # of its own, beside that of the entry

    def __init__(self, alias: str) -> None:
        """``alias``: what the breaker is called."""
        self.alias = alias
        self.breaker = breaker_of(alias)

    @abstractmethod
    def read(self, apply: Apply) -> Events:
        """Return what is new, after ``apply`` has taken it; raises what the client raises.

        The position moves last: whoever is cut off in between reads the same again.
        """

    @abstractmethod
    def append(self, event: bytes) -> bool:
        """Tell the others; return whether that cannot be rolled back any more."""

    def has_written(self) -> bool:
        """Tell whether what others hear of may depend on a transaction that has written."""
        return False

    def waits_for_commit(self) -> bool:
        """Tell whether what is read and written now is not what others see."""
        return False

    def cut(self) -> None:  # noqa: B027 - most clients see to it themselves
        """End connections on which an answer may be left, after a call that was interrupted."""

    def own_async(self, operation: str, arguments: Iterable[Any]) -> Awaitable[Any] | None:
        """Return an operation as something to await, or None where it needs a thread."""
        return None


class NoBus(Bus):
    """Nobody is told: the time limit of the memory bounds how old its values get."""

    def __init__(self) -> None:
        """Need nothing."""
        super().__init__("")

    def read(self, apply: Apply) -> Events:
        """Hear nothing."""
        return Events()

    def append(self, event: bytes) -> bool:
        """Tell nobody."""
        return True


def this_process() -> str:
    """Return what is this process's own, also after a fork."""
    return f"{_token}:{os.getpid()}"


def event_of(names: Sequence[str] | None) -> bytes:
    """Return the event that says which names have changed; None: everything."""
    said = None if names is None or len(names) > MOST_NAMES else list(names)
    return json.dumps([this_process(), said], separators=(",", ":")).encode()


def names_of(event: bytes) -> tuple[str, list[str] | None]:
    """Return whose event it is, and which names have changed; None: everything."""
    try:
        process, names = json.loads(event)
    except (ValueError, TypeError):
        return "", None
    if names is not None and not isinstance(names, list):
        return "", None
    return process, names


ROWS_READ_AT_ONCE = 10_000
ROWS_KEPT = 20_000
ONE_IN = 500  # writes delete what is more than is kept
EVERYTHING = "*"


class FileBus(Bus):
    """The events of one LayeredCache in its own SQLite file. Shared by the threads of a process."""

    costs_a_write = True

    def __init__(self, cache: str, table: EventTable) -> None:
        """``cache``: the alias of the LayeredCache."""
        super().__init__(f"{cache}: its file")
        self.cache, self.table = cache, table
        self._last: Event | None = None  # that was read; None: nothing was read yet

    def read(self, apply: Apply) -> Events:
        """Read from the last event on, itself included.

        Where it is not there any more, or another one in its place, the file is another one or it
        was deleted with the older ones: anything may have changed.
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
        """Return the newest event; the first of all is one of our own."""
        newest = self.table.newest()
        if newest is None:
            self.table.write([(self.cache, this_process(), "")])
            newest = self.table.newest()
        if newest is None:
            raise LookupError("An event that was just written is not there.")
        return newest

    def _events(self, found: Sequence[Event]) -> Events:
        mine = this_process()
        others = [one for one in found if one.cache == self.cache and one.process != mine]
        names = [one.name for one in others if one.name]
        return Events(names, EVERYTHING in names)

    def append(self, event: bytes) -> bool:
        """Tell the others."""
        process, names = names_of(event)
        if names != []:
            self.table.write([(self.cache, process, name) for name in names or [EVERYTHING]])
        if not random.randrange(ONE_IN):  # noqa: S311 - not a secret
            self.table.delete_all_but(ROWS_KEPT)
        return True


class LogBus(Bus):
    """Rows of the log that name keys of one LayeredCache.

    An event commits, and rolls back, with the caller's transaction.
    """

    is_transactional = True
    costs_a_write = True

    def __init__(self, cache: str) -> None:
        """``cache``: the alias of the LayeredCache, which the tags begin with."""
        super().__init__(f"{cache}: the log")
        self.cache = cache
        self.database = log_database()
        self._head = key_tag(cache, "")
        self._follower = log_of(self.database).follow()

    def read(self, apply: Apply) -> Events:
        """Return the names that are new in the log, this process's own among them.

        Where recall has read the log for this unit of work already, it is not read again.
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
        return Events(names, EVERYTHING in names, as_of)

    def _refresh(self, log: ProcessLog, unit: Unit | None) -> None:
        if unit is not None:
            with suppress(SynchronousOnlyOperation):  # it is used in an event loop
                unit.refresh(self.database)
                return
        log.refresh()

    def append(self, event: bytes) -> bool:
        """Log a tag for each name; what is in a transaction may be rolled back."""
        names = names_of(event)[1]
        tags = [key_tag(self.cache, name) for name in names or [EVERYTHING]]
        connection = connections[self.database]
        if not is_in_snapshot(connection):
            write_tags_in_time(connection, tags)
            return True
        try:
            # A savepoint: what fails here is not to break the caller's transaction.
            with transaction.atomic(self.database):
                write_tags_in_time(connection, tags)
        except django.db.Error as error:
            raise NotNow(f"{type(error).__name__}: {error}") from error
        transaction_of(connection).mark_dirty()  # the ids of its rows may be given to others
        return False

    def has_written(self) -> bool:
        """Tell whether an open transaction has written."""
        return transaction_of(connections[self.database]).is_dirty

    def waits_for_commit(self) -> bool:
        """Tell whether a transaction is open, in which an older state may be seen."""
        return transaction_of(connections[self.database]).is_open()


READ_AT_ONCE = 1_000
MOST_READS = 10  # in a row; who is further behind forgets everything

Entry = tuple[bytes, Mapping[bytes, bytes]]


class StreamPosition:
    """How far this process has read the stream of one LayeredCache. Shared by its threads."""

    def __init__(self, alias: str) -> None:
        """``alias``: of the Redis in CACHES. Nothing is read yet."""
        self.alias = alias
        self.last: Entry | None = None


class StreamBus(Bus):
    """The stream of one LayeredCache, through the connections of one thread."""

    def __init__(self, position: StreamPosition, stream: str, access: RedisAccess) -> None:
        """``stream``: the full key."""
        super().__init__(position.alias)
        self.position, self.stream, self.access = position, stream, access

    def read(self, apply: Apply) -> Events:
        """Read what is new."""
        events, last = self._read_new(self.access.client())
        apply(events)
        self.position.last = last
        return events

    def append(self, event: bytes) -> bool:
        """Tell the others."""
        client = self.access.client()
        client.xadd(self.stream, {"e": event}, maxlen=EVENTS_KEPT, approximate=True)
        return True

    def cut(self) -> None:
        """End the connections that nobody uses now."""
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
        """Take the last entry as position, one of our own where there is none."""
        entries = client.xrevrange(self.stream, count=1)
        if entries:
            return Events(everything=True), as_entry(entries[0])
        fields = {b"e": event_of([])}
        return Events(everything=True), (as_bytes(client.xadd(self.stream, fields)), fields)


def as_entry(entry: Any) -> Entry:
    """Return an entry in a form that can be compared, whatever the client decodes."""
    entry_id, fields = entry
    return as_bytes(entry_id), {as_bytes(name): as_bytes(value) for name, value in fields.items()}


def as_bytes(text: str | bytes) -> bytes:
    """Return what the server sent."""
    return text.encode() if isinstance(text, str) else text


def make_bus(name: str | None, cache: str, layers: Sequence[str]) -> Bus | StreamPosition:
    """Return what all threads share of the bus of a LayeredCache with these layers."""
    if name is None:
        return NoBus()
    if name == LOG_AS_BUS:
        events = events_beside(layers)
        return LogBus(cache) if events is None else FileBus(cache, events)
    return StreamPosition(name)


def events_beside(layers: Sequence[str]) -> EventTable | None:
    """Return the table of events beside that of a layer, where it is a file of the cache's own."""
    for alias, _ in database_caches():
        if alias in layers:
            layer = make_layer(alias, 0.0)
            return layer.table.events() if isinstance(layer, TableLayer) else None
    return None


def connect_bus(
    bus: Bus | StreamPosition, cache: str, layers: Sequence[Layer], limit_seconds: float
) -> Bus:
    """Return the bus with the connections of one thread, its layer's where it is one too."""
    if isinstance(bus, Bus):
        return bus
    layer = next((one for one in layers if one.alias == bus.alias), None)
    layer = layer or make_layer(bus.alias, limit_seconds)
    if not isinstance(layer, RedisLayer):
        raise LookupError(f"BUS {bus.alias!r} is no Redis.")  # a check has said so
    layer.stream = str(layer.access.key(f"{cache}:bus"))
    return StreamBus(bus, layer.stream, layer.access)


__all__ = ["Bus", "Events", "NoBus", "StreamPosition", "connect_bus", "make_bus"]
