"""Run one statement where it belongs: in Django's connection, or in SQLite ones of our own.

Used by table. Both kinds of session have the same two methods, ``fetch`` and ``write``.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple, Protocol, TypeVar, cast

from django.db import DataError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.utils.functional import cached_property

from cachelayers.backends.database.faults import DATABASE_ERRORS, Fault, fault_of
from cachelayers.backends.database.limits import (
    Limited,
    largest_packet_bytes,
    limit_alone,
    limit_in_transaction,
    packet_bytes,
)
from cachelayers.backends.database.sqlite_file import FileConnection, FileIdentity
from cachelayers.backends.database.statements import Statements, statements_for
from cachelayers.conf import shares_its_file
from cachelayers.models import Entry

ATTEMPTS = 5  # of a statement that meets deadlocks, outside a transaction
LONGEST_PAUSE_SECONDS = 0.02
SMALLEST_PACKET_BYTES = 2**19  # half of the smallest max_allowed_packet: what it has escaped

Answer = TypeVar("Answer")


class Written(NamedTuple):
    """What a write reports: rows touched, and MySQL's insert id (a signed 64-bit number)."""

    rows: int
    insert_id: int = 0


class Session(Protocol):
    """Where statements run, and how they are spelled there."""

    @property
    def sql(self) -> Statements:
        """Return the statements in the form that the driver takes."""

    def fetch(
        self, statement: str, parameters: Sequence[Any], *, in_bulk: bool = False
    ) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows; ``in_bulk`` lifts the limit on its own time."""

    def write(self, statement: str, parameters: Sequence[Any], *, in_bulk: bool = False) -> Written:
        """Run a statement and return what it did; ``in_bulk`` as above."""


class Held(NamedTuple):
    """What one thread uses: Django's connection, its settings then, and the sessions on it."""

    connection: BaseDatabaseWrapper
    configured: Mapping[str, Any]
    name: str
    alone: Session
    joined: Session


class Sessions:
    """The sessions on one DATABASES alias."""

    def __init__(self, database: str, busy_seconds: float) -> None:
        """Connect to nothing yet."""
        self.database = database
        self.busy_seconds = busy_seconds
        self._local = threading.local()

    def current(self) -> Session:
        """Return where the next statement of this thread belongs."""
        try:
            held: Held = self._local.held
        except AttributeError:
            return self._hold(connections[self.database])
        # Asked each time: tests point an alias elsewhere and back.
        configured = connections.settings[self.database]
        if configured is not held.configured or configured["NAME"] != held.name:
            return self._hold(connections[self.database])
        return held.joined if held.connection.in_atomic_block else held.alone

    def _hold(self, connection: BaseDatabaseWrapper) -> Session:
        """Keep what this thread needs: looking Django's connection up takes as long as SQLite."""
        configured = connections.settings[self.database]
        name = configured["NAME"]
        joined: Session = DjangoSession(connection, self.busy_seconds)
        alone = joined
        if connection.vendor == "sqlite":
            alone = self._sqlite_session(connection, str(name))
        self._local.held = Held(connection, configured, name, alone, joined)
        return self.current()

    def own_file_in_use(self) -> FileIdentity | None:
        """Return which SQLite file this thread last had open, if it holds nothing but entries."""
        session = self.current()
        if isinstance(session, FileSession) and session.is_own_file:
            return session.identity
        return None

    def _sqlite_session(self, connection: BaseDatabaseWrapper, name: str) -> Session:
        """Return a session on the file, or Django's where the database is only in memory."""
        if cast(Any, connection).is_in_memory_db():
            return DjangoSession(connection, self.busy_seconds)
        sql = statements_for(connection, Entry._meta.db_table, mark="?")
        is_own_file = not shares_its_file(self.database)
        return FileSession(name, self.busy_seconds, sql, is_own_file=is_own_file)


class FileSession(FileConnection):
    """SQLite: a connection of our own, outside every transaction."""

    def __init__(self, path: str, busy_seconds: float, sql: Statements, *, is_own_file: bool):
        """Open nothing yet; ``sql`` is in SQLite's own form."""
        super().__init__(path, busy_seconds, is_own_file=is_own_file)
        self.sql = sql

    def write(self, statement: str, parameters: Sequence[Any], *, in_bulk: bool = False) -> Written:
        """Run a statement; its busy time-out bounds the wait, so nothing is lifted in bulk."""
        return Written(self.execute(statement, parameters))


class DjangoSession:
    """Django's connection of the alias: in the caller's transaction where there is one."""

    def __init__(self, connection: BaseDatabaseWrapper, busy_seconds: float) -> None:
        """Wrap this thread's connection, which may not be open yet."""
        self.connection = connection
        self.busy_seconds = busy_seconds

    @cached_property
    def sql(self) -> Statements:
        """Return the vendor's statements; telling MariaDB from MySQL takes a connection."""
        return django_statements(self.connection)

    def fetch(
        self, statement: str, parameters: Sequence[Any], *, in_bulk: bool = False
    ) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        return self._run(statement, parameters, fetch_rows, in_bulk=in_bulk)

    def write(self, statement: str, parameters: Sequence[Any], *, in_bulk: bool = False) -> Written:
        """Run a statement and return what it did."""
        return self._run(statement, parameters, read_outcome, in_bulk=in_bulk)

    def _run(
        self,
        statement: str,
        parameters: Sequence[Any],
        read_answer: Callable[[CursorWrapper], Answer],
        *,
        in_bulk: bool,
    ) -> Answer:
        """Run within the caller's transaction, or alone with further attempts."""
        connection = self.connection
        if connection.vendor == "mysql":
            self._refuse_what_cuts_the_connection(parameters)
        alias, seconds = connection.alias, self.busy_seconds
        if connection.in_atomic_block or not connection.get_autocommit():
            limited = limit_in_transaction(connection, statement, seconds)
            # A savepoint of the cache's own: what fails here must not break what the caller does.
            # Two, where the caller handles transactions by hand: there the outer one makes none.
            with ExitStack() as savepoints:
                if not connection.in_atomic_block:
                    savepoints.enter_context(transaction.atomic(alias))
                savepoints.enter_context(transaction.atomic(alias))
                return execute(connection, limited, parameters, read_answer)
        limited = limit_alone(connection, statement, seconds, in_bulk=in_bulk)
        return self._run_alone(connection, limited, parameters, read_answer)

    def _run_alone(
        self,
        connection: BaseDatabaseWrapper,
        limited: Limited,
        parameters: Sequence[Any],
        read_answer: Callable[[CursorWrapper], Answer],
    ) -> Answer:
        """Run, and run again after a conflict, or once where the connection had been cut."""
        attempt = 1
        while True:
            was_connected = connection.connection is not None
            try:
                return execute(connection, limited, parameters, read_answer)
            except DATABASE_ERRORS as error:
                if attempt == ATTEMPTS or not worth_another_try(connection, error, was_connected):
                    raise
            # Jitter, or two that met in a deadlock would meet in the next one.
            time.sleep(random.uniform(0, LONGEST_PAUSE_SECONDS))  # noqa: S311 - not a secret
            attempt += 1

    def _refuse_what_cuts_the_connection(self, parameters: Sequence[Any]) -> None:
        """Raise DataError for more bytes than MySQL takes in one packet.

        The server answers such a packet by closing the connection, and with it ends the caller's
        transaction.
        """
        size = sum(len(value) for value in parameters if isinstance(value, bytes))
        if size < SMALLEST_PACKET_BYTES:
            return
        largest = largest_packet_bytes(self.connection)
        if packet_bytes(parameters) > largest:
            raise DataError(f"{size} bytes do not fit into max_allowed_packet, which is {largest}")


_statements: dict[tuple[str, bool], Statements] = {}


def django_statements(connection: BaseDatabaseWrapper) -> Statements:
    """Return the statements for Django's cursors, made once per vendor."""
    is_mariadb = connection.vendor == "mysql" and cast(Any, connection).mysql_is_mariadb
    known = connection.vendor, is_mariadb
    if known not in _statements:
        _statements[known] = statements_for(connection, Entry._meta.db_table)
    return _statements[known]


def execute(
    connection: BaseDatabaseWrapper,
    limited: Limited,
    parameters: Sequence[Any],
    read_answer: Callable[[CursorWrapper], Answer],
) -> Answer:
    """Run one statement through Django's cursor."""
    with connection.cursor() as cursor:
        cursor.execute(limited.statement, parameters)
        for _ in range(limited.answers_before):
            cursor.nextset()
        return read_answer(cursor)


def fetch_rows(cursor: CursorWrapper) -> list[tuple[Any, ...]]:
    """Return all rows."""
    rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def read_outcome(cursor: CursorWrapper) -> Written:
    """Return what a write did. Only MySQL's driver knows an insert id: unsigned, as its C API."""
    insert_id = cursor.lastrowid or 0 if cursor.db.vendor == "mysql" else 0
    return Written(cursor.rowcount, insert_id - 2**64 if insert_id >= 2**63 else insert_id)


def worth_another_try(
    connection: BaseDatabaseWrapper, error: BaseException, was_connected: bool
) -> bool:
    """Tell whether the same statement may well succeed now.

    After a conflict, or when the connection turns out to have been cut meanwhile (a restarted
    server): it is closed here, so that the next attempt makes a new one.
    """
    if fault_of(error) is Fault.CONFLICT:
        return True
    if connection.vendor == "sqlite":
        return False
    connection.close_if_unusable_or_obsolete()
    return was_connected and connection.connection is None
