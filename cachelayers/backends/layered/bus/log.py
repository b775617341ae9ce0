"""The log of invalidations as bus, for sites without a Redis."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

import django.db
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connections, transaction

from cachelayers.backends.faults import raise_if_never_made
from cachelayers.backends.layered.bus.base import Apply, Bus, Events, names_of
from cachelayers.exceptions import NotNow
from cachelayers.invalidation.incarnations import LogUnreadable, is_in_snapshot
from cachelayers.invalidation.log import ProcessLog, log_of, write_tags_in_time
from cachelayers.invalidation.tags import key_tag
from cachelayers.invalidation.tracked import log_database
from cachelayers.invalidation.transactions import transaction_of
from cachelayers.invalidation.units import Unit, current_unit, is_written_to

EVERYTHING = "*"


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

        log.empty(self._follower, take)
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

    def holds_back(self) -> bool:
        """Tell whether a transaction is open, in which an older state may be seen."""
        return transaction_of(connections[self.database]).is_open()
