"""Run a statement on Django's connection of an alias, in the caller's transaction if there is one.

``sessions`` chooses between this session and ``sqlite_file``. Outside a transaction, a conflict is
retried. Every statement has a time limit: in the database if it supports one, and on the wait for
its answer.
"""

from __future__ import annotations

import random
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, TypeVar, cast

from django.db import DataError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.functional import cached_property

from cachelayers.backends.database.faults import DATABASE_ERRORS, Fault, fault_of
from cachelayers.backends.database.statements import (
    PostgresStatements,
    Statements,
    flatten,
    statements_for,
)
from cachelayers.conf import is_own_database
from cachelayers.models import Entry
from cachelayers.test_runs import apart_from_test
from cachelayers.utils.answers import (
    ROLLBACK,
    Unanswered,
    Undo,
    answered_within,
    connect_within,
    is_connection_lost,
    is_in_transaction,
    undone_at_failure,
)
from cachelayers.utils.execute_wrappers import is_own, own_changes
from cachelayers.utils.time_limits import Limit, has_psycopg3, limit_alone, limit_in_transaction

ESCAPED_BYTES = b"\0\n\r\x1a\"'\\"  # by MySQL's driver, each with one more byte
STATEMENT_BYTES = 64 * 2**10  # spare bytes for the statement itself


_largest_packets: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()


def largest_packet_bytes(connection: BaseDatabaseWrapper) -> int:
    """Return MySQL's max_allowed_packet, read once per connection."""
    connection.ensure_connection()
    known = _largest_packets.get(connection.connection)
    if known is None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@max_allowed_packet")
            [(known,)] = cursor.fetchall()
        _largest_packets[connection.connection] = known
    return int(known)


def packet_bytes(parameters: Sequence[Any]) -> int:
    """Return the size of a statement with these parameters after escaping."""
    blobs = [value for value in parameters if isinstance(value, bytes)]
    escapes = sum(blob.count(byte) for blob in blobs for byte in ESCAPED_BYTES)
    return sum(map(len, blobs)) + escapes + STATEMENT_BYTES


ATTEMPTS = 5  # of a statement that meets deadlocks, outside a transaction
LONGEST_PAUSE_SECONDS = 0.02
# half of the smallest max_allowed_packet: escaping may double the bytes
SMALLEST_PACKET_BYTES = 2**19

Answer = TypeVar("Answer")


class Written(NamedTuple):
    """The result of a write: affected rows, and MySQL's insert id (a signed 64-bit number)."""

    rows: int
    insert_id: int = 0


class DjangoSession:
    """Django's connection of one alias, in one thread."""

    def __init__(self, connection: BaseDatabaseWrapper, busy_seconds: float) -> None:
        """``connection``: this thread's connection, which may not be open yet."""
        self.connection = connection
        self.busy_seconds = busy_seconds
        self._driver_connection: Any = None
        self._driver_cursor: Any = None

    @cached_property
    def sql(self) -> Statements:
        """Return the vendor's statements; telling MariaDB from MySQL needs a connection."""
        if self.connection.vendor == "mysql":
            with apart_from_test(self.connection):
                self._connect()
        return django_statements(self.connection)

    def fetch(
        self, statement: str, parameters: Sequence[Any], *, in_bulk: bool = False
    ) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""

        def perform(limit: Limit) -> list[tuple[Any, ...]]:
            return self._execute(limit, statement, parameters, fetch_rows)

        return self._attempt(perform, in_bulk=in_bulk)

    def write(self, statement: str, parameters: Sequence[Any], *, in_bulk: bool = False) -> Written:
        """Run a statement and return its result."""

        def perform(limit: Limit) -> Written:
            if self.connection.vendor == "mysql":
                self._refuse_what_cuts_the_connection(parameters)
            return self._execute(limit, statement, parameters, read_outcome)

        return self._attempt(perform, in_bulk=in_bulk)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Do nothing: statements are part of the caller's transaction, if there is one."""
        yield

    def write_rows(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write one chunk of rows; existing rows are overwritten."""
        if has_psycopg3(self.connection) and self._is_quiet():
            self._attempt(lambda limit: self._write_columns(limit, rows), in_bulk=False)
        else:
            self.write(self.sql.upsert(len(rows)), flatten(rows))

    def _write_columns(self, limit: Limit, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write rows with one binary array per column, which takes a third of the time.

        With such parameters, a message can hold only one statement: the time limit is sent before
        it, in the same transaction.
        """
        from psycopg import Cursor

        connection = self.connection
        columns = [list(column) for column in zip(*rows, strict=True)]
        with ExitStack() as stack:
            stack.enter_context(connection.wrap_database_errors)
            undo = Undo(limit.undo, is_of_steps=True)
            if not is_in_transaction(connection):
                # Not the driver's context manager: its exit would wait once more, and hide the
                # error.
                undo, limit = ROLLBACK, Limit(f"BEGIN; {limit.before}", "; COMMIT")
            stack.enter_context(undone_at_failure(connection, undo))
            if limit.before:
                self._execute(Limit(), limit.alone_before(), (), no_answer)
            cursor = Cursor(cast(Any, connection.connection))
            cursor.execute(cast(PostgresStatements, self.sql).upsert_columns, columns)
            if limit.after:
                self._execute(Limit(), limit.alone_after(), (), no_answer)

    def _attempt(self, perform: Callable[[Limit], Answer], *, in_bulk: bool) -> Answer:
        """Run within the caller's transaction; without one, retry after a conflict."""
        attempt = 1
        while True:
            was_connected = self.connection.connection is not None
            try:
                with apart_from_test(self.connection):
                    return self._perform(perform, in_bulk=in_bulk)
            except DATABASE_ERRORS as error:
                if is_in_transaction(self.connection) or attempt == ATTEMPTS:
                    raise
                if was_connected and is_connection_lost(self.connection, error):
                    return self._perform_anew(perform, in_bulk=in_bulk)
                if fault_of(error) is not Fault.CONFLICT:
                    raise
            # Jitter: two statements that deadlocked must not meet again.
            time.sleep(random.uniform(0, LONGEST_PAUSE_SECONDS))  # noqa: S311 - not a secret
            attempt += 1

    def _perform_anew(self, perform: Callable[[Limit], Answer], *, in_bulk: bool) -> Answer:
        """Run on a new connection: the server has closed this one, as in a restart.

        The application's connection stays as it is, so that the application gets the error: its
        session settings are lost. Django opens a new one when the request ends.
        """
        usual = self.connection
        if is_own_database(usual.alias):
            usual.close()
            return self._perform(perform, in_bulk=in_bulk)
        self.connection = usual.copy()
        try:
            return self._perform(perform, in_bulk=in_bulk)
        finally:
            self.connection.close()
            self.connection = usual

    def _perform(self, perform: Callable[[Limit], Answer], *, in_bulk: bool) -> Answer:
        """Run once."""
        self._connect()
        if is_in_transaction(self.connection):
            with unbroken_on_mysql(self.connection):
                return self._perform_in_transaction(perform)
        # A bulk statement has no time limit while the server is working on it.
        seconds = float("inf") if in_bulk else self.busy_seconds
        with answered_within(self.connection, seconds, ROLLBACK):
            return perform(limit_alone(self.connection, self.busy_seconds, in_bulk=in_bulk))

    def _connect(self) -> None:
        """Open the connection if needed, within the time limit."""
        if self.connection.connection is None and not self.connection.in_atomic_block:
            connect_within(self.connection, self.busy_seconds)

    def _perform_in_transaction(self, perform: Callable[[Limit], Answer]) -> Answer:
        """Run behind a savepoint: an error must not break the caller's transaction."""
        connection = self.connection
        limit = limit_in_transaction(connection, self.busy_seconds)
        with ExitStack() as savepoints:
            # Wait once for a lock; the rest must be immediate.
            undo = Undo(limit.undo)
            savepoints.enter_context(answered_within(connection, self.busy_seconds, undo))
            if limit.undo and self._is_quiet():  # the savepoint is sent together with the statement
                savepoints.enter_context(undone_at_failure(connection, undo))
                return perform(limit)
            if not connection.in_atomic_block:
                # Two blocks, if the caller manages transactions manually: there the outer block
                # makes no savepoint.
                savepoints.enter_context(transaction.atomic(connection.alias))
            savepoints.enter_context(transaction.atomic(connection.alias))
            # Cache rows are not changes of the site's data.
            savepoints.enter_context(own_changes(connection))
            return perform(limit)

    def _execute(
        self,
        limit: Limit,
        statement: str,
        parameters: Sequence[Any],
        read_answer: Callable[[Any, str], Answer],
    ) -> Answer:
        """Run one statement through the driver's cursor, or through Django's if it is observed."""
        connection = self.connection
        limited = f"{limit.before}{statement}{limit.after}"
        if self._is_quiet():
            with connection.wrap_database_errors:
                cursor = self._cursor()
                cursor.execute(limited, parameters)
                for _ in range(limit.answers_before):
                    cursor.nextset()
                return read_answer(cursor, connection.vendor)
        with connection.cursor() as cursor:
            cursor.execute(limited, parameters)
            for _ in range(limit.answers_before):
                cursor.nextset()
            return read_answer(cursor, connection.vendor)

    def _is_quiet(self) -> bool:
        """Return whether a statement may bypass Django's cursor, which takes as long as the server.

        It may not if other execute wrappers than ours are installed, if queries are logged or
        counted, if the connection is new or due for a health check, or if the caller's transaction
        is broken.
        """
        connection = cast(Any, self.connection)  # the stubs lack the health check attributes
        driver_connection = connection.connection
        return not (
            driver_connection is None
            or connection.vendor == "sqlite"
            or not all(map(is_own, connection.execute_wrappers))
            or connection.queries_logged
            or connection.needs_rollback
            or (connection.health_check_enabled and not connection.health_check_done)
        )

    def _cursor(self) -> Any:
        """Return the driver's cursor, one for each of its connections."""
        driver_connection = self.connection.connection
        if driver_connection is not self._driver_connection:
            self._driver_cursor = cast(Any, driver_connection).cursor()
            self._driver_connection = driver_connection
        return self._driver_cursor

    def _refuse_what_cuts_the_connection(self, parameters: Sequence[Any]) -> None:
        """Raise DataError for more bytes than MySQL accepts in one packet.

        The server closes the connection on such a packet, and so ends the caller's transaction.
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


@contextmanager
def unbroken_on_mysql(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Keep the caller's transaction usable on MySQL while a statement of ours is in flight.

    Django marks it as broken, because the rollback to our savepoint failed too. On MySQL, a
    statement that waits too long for a lock fails alone.
    """
    was_broken = connection.needs_rollback
    try:
        yield
    except Unanswered:
        if connection.vendor == "mysql":
            connection.needs_rollback = was_broken
        raise


def fetch_rows(cursor: Any, vendor: str) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def read_outcome(cursor: Any, vendor: str) -> Written:
    """Return a write's result. Only MySQL's driver has an insert id: unsigned, as in its C API."""
    insert_id = cursor.lastrowid or 0 if vendor == "mysql" else 0
    return Written(cursor.rowcount, insert_id - 2**64 if insert_id >= 2**63 else insert_id)


def no_answer(cursor: Any, vendor: str) -> None:
    """Read no answer."""
