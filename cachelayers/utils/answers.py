"""Limit how long a statement on Django's connection waits for the server's answer.

A server that hangs or is cut off does not end a statement by its own time limit. The table's
sessions and the log use this module around their own statements only.

A statement without an answer in time stays in flight, because the connection is the application's,
with its settings and its transaction. The next statement first waits for that answer, as it would
without this module. Only a connection to the cache's own database is closed.
"""

from __future__ import annotations

import contextvars
import math
import select
import socket
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast

import django.db
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.conf import is_own_database

# A working server ends the statement by its own limit, which is better: the answer comes.
GRACE_SECONDS = 0.25
# MySQL's error numbers of a lost connection.
MYSQL_LOST = frozenset({1053, 1927, 2006, 2013, 2055, 4031})
MOST_BYTES_PEEKED = 65_536
# PQTRANS_ACTIVE, PQTRANS_INTRANS, PQTRANS_INERROR
POSTGRES_ACTIVE, POSTGRES_IN_TRANSACTION, POSTGRES_IN_ERROR = 1, 2, 3
# The savepoint within which something is undone that may be over, or not have begun.
GUARD = "cachelayers_undo"
# Methods of MySQL's driver that send to the server.
MYSQL_TALKING = ("query", "commit", "rollback", "autocommit", "ping")

Answer = TypeVar("Answer")
Parameters = ParamSpec("Parameters")


class Undo(NamedTuple):
    """The statement that undoes ours, or our own transaction. Empty: nothing to undo."""

    statement: str = ""
    # PostgreSQL executes one message completely or not at all; of several, the first may remain.
    is_of_steps: bool = False


ROLLBACK = Undo("ROLLBACK", is_of_steps=True)


class Unanswered(django.db.OperationalError):
    """The server has not answered in time.

    The driver does not raise it, so Django does not ask the same server whether the connection
    works.
    """


@contextmanager
def answered_within(connection: BaseDatabaseWrapper, seconds: float, undo: Undo) -> Iterator[None]:
    """Raise Unanswered if statements in the block are not answered in time.

    ``undo``: runs when the late answer has come.
    """
    driver = connection.connection
    answers = answers_on(driver)
    if answers is None:  # SQLite has no server; other drivers have their own limits
        yield
        return
    answers.begin(time.monotonic() + seconds + GRACE_SECONDS, undo)
    try:
        yield
    except django.db.Error as error:
        is_late = answers.is_ended or isinstance(error, Unanswered)
        if is_late and not connection.in_atomic_block and is_own_database(connection.alias):
            connection.close()
        if answers.is_ended:
            raise Unanswered("the server has not answered in time") from error
        raise
    finally:
        answers.end()


def connect_within(connection: BaseDatabaseWrapper, seconds: float) -> None:
    """Connect within a time limit. Drivers take whole seconds."""
    if connection.vendor == "sqlite":
        return
    usual = connection.settings_dict
    options = usual["OPTIONS"]
    limit = max(1, math.ceil(seconds))
    known = options.get("connect_timeout")
    limited = limit if known is None else min(limit, int(known))
    # In a copy: threads share the settings of an alias.
    connection.settings_dict = {**usual, "OPTIONS": {**options, "connect_timeout": limited}}
    try:
        with pool_within(connection, limit):
            connection.ensure_connection()
    except UnicodeError as error:  # psycopg raises it for an invalid host name
        raise django.db.OperationalError(*error.args[-1:]) from error
    finally:
        connection.settings_dict = usual


class PoolInTime:
    """Django's connection pool, waited for no longer than a limit. psycopg's default is 30 s."""

    def __init__(self, pool: Any, seconds: float) -> None:
        self._pool, self._seconds = pool, min(seconds, pool.timeout)

    def open(self) -> None:
        self._pool.open()

    def getconn(self) -> Any:
        return self._pool.getconn(timeout=self._seconds)


@contextmanager
def pool_within(connection: BaseDatabaseWrapper, seconds: float) -> Iterator[None]:
    """Limit the wait for a connection from Django's pool, in this thread only."""
    pool = getattr(connection, "pool", None)
    if pool is None:
        yield
        return
    # On the connection, where it hides the class's attribute: threads share the pool and its own
    # limit.
    own = cast(Any, connection)
    own._connection_pools = {connection.alias: PoolInTime(pool, seconds)}
    try:
        yield
    finally:
        del own._connection_pools


def is_connection_lost(connection: BaseDatabaseWrapper, error: BaseException) -> bool:
    """Return whether the server has ended the connection, without asking it."""
    driver = connection.connection
    if driver is None or connection.vendor == "sqlite":
        return False
    if connection.vendor == "mysql":
        return bool(error.args) and error.args[0] in MYSQL_LOST
    return bool(driver.closed)


def is_in_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Return whether a statement now is part of the caller's transaction."""
    return connection.in_atomic_block or (
        # Before it is connected, `autocommit` means nothing.
        connection.connection is not None and not connection.autocommit
    )


@contextmanager
def undone_at_failure(connection: BaseDatabaseWrapper, undo: Undo) -> Iterator[None]:
    """Repair the transaction on PostgreSQL if one of our statements in the block has failed.

    This happens at once, or when the late answer has come.
    """
    answers = answers_on(connection.connection)
    with answers.undoing(undo) if isinstance(answers, PsycopgAnswers) else nullcontext():
        try:
            yield
        except BaseException:
            restore_transaction(connection, undo)
            raise


def restore_transaction(connection: BaseDatabaseWrapper, undo: Undo) -> None:
    """Undo the failed statement, unless its answer is still to come."""
    driver = connection.connection
    if driver is None or connection.needs_rollback:
        return
    for message in messages_of(undo, driver):
        with suppress(django.db.Error), connection.wrap_database_errors:
            driver.cursor().execute(message)


class Unfinished(NamedTuple):
    """A statement in flight: psycopg's generator, and what it waits for."""

    generator: Generator[Any, Any, Any]
    wants: Any
    undo: Undo


class PsycopgAnswers:
    """The waits on one connection of psycopg, all of which pass through its method ``wait``."""

    def __init__(self, driver: Any) -> None:
        self._driver = weakref.ref(driver)
        self._deadline: float | None = None
        self._undo = Undo()
        self._unfinished: Unfinished | None = None
        self.is_ended = False  # the connection; only MySQL's needs to be ended

    def begin(self, deadline: float, undo: Undo) -> None:
        """Limit the waits from now on."""
        self._deadline, self._undo = deadline, undo
        cast(Any, self._driver()).wait = self.wait

    @contextmanager
    def undoing(self, undo: Undo) -> Iterator[None]:
        """Use ``undo`` for the statements in the block."""
        usual, self._undo = self._undo, undo
        try:
            yield
        finally:
            self._undo = usual

    def end(self) -> None:
        """Remove the limit. A statement in flight still has to be waited for."""
        self._deadline = None
        driver = self._driver()
        if driver is not None and self._unfinished is None:
            driver.__dict__.pop("wait", None)

    def wait(self, generator: Generator[Any, Any, Any], *arguments: Any, **keywords: Any) -> Any:
        """Replace psycopg's own method: wait for the statement in flight first."""
        if self._unfinished is not None:
            self._finish(*arguments, **keywords)
        return self._wait(self._followed(generator), *arguments, **keywords)

    def _wait(self, generator: Generator[Any, Any, Any], *arguments: Any, **keywords: Any) -> Any:
        """Call psycopg's wait. An exception of a signal handler does not end the answer."""
        driver = cast(Any, self._driver())
        try:
            return type(driver).wait(driver, generator, *arguments, **keywords)
        except BaseException:
            generator.close()  # already ended, unless it was interrupted
            if self._unfinished is None and self._deadline is not None and is_active(driver):
                from psycopg.generators import execute  # the rest of it after sending

                rest = execute(driver.pgconn)
                if wants := next(rest, None):
                    self._unfinished = Unfinished(rest, wants, self._undo)
            raise

    def _finish(self, *arguments: Any, **keywords: Any) -> None:
        """Wait for the late answer, and restore the transaction's previous state."""
        late, self._unfinished = cast(Unfinished, self._unfinished), None
        driver = cast(Any, self._driver())
        with suppress(_psycopg_error()):  # reported before
            self._wait(self._followed(late.generator, late), *arguments, **keywords)
        for message in messages_of(late.undo, driver):
            from psycopg.generators import execute

            driver.pgconn.send_query(message.encode())
            self._wait(execute(driver.pgconn), *arguments, **keywords)
        if self._deadline is None:
            driver.__dict__.pop("wait", None)

    def _followed(
        self, generator: Generator[Any, Any, Any], late: Unfinished | None = None
    ) -> Generator[Any, Any, Any]:
        """Pass on what a generator waits for, until the time is over."""
        try:
            wants = next(generator) if late is None else late.wants
            undo = self._undo if late is None else late.undo
            while True:
                try:
                    ready = yield wants
                    if self._deadline is not None and time.monotonic() >= self._deadline:
                        raise Unanswered("the server has not answered in time")
                except BaseException:
                    self._unfinished = Unfinished(generator, wants, undo)
                    raise
                wants = generator.send(ready)
        except StopIteration as end:
            return end.value


def is_active(driver: Any) -> bool:
    """Return whether psycopg's connection has sent a statement that is not answered yet."""
    return int(driver.info.transaction_status) == POSTGRES_ACTIVE


def messages_of(undo: Undo, driver: Any) -> Iterator[str]:
    """Yield messages that undo a statement on PostgreSQL. Read the status after each.

    A failed transaction is repaired. So is one in which our savepoint or limit is still set, which
    would affect the application's next statements.
    """
    if not undo.statement:
        return
    status = status_of(driver)
    if status == POSTGRES_IN_ERROR:
        yield undo.statement
    elif status == POSTGRES_IN_TRANSACTION and undo.is_of_steps:
        # The last executed step is unknown: a signal's exception may come anywhere.
        yield f"SAVEPOINT {GUARD}; {undo.statement}"
        if status_of(driver) == POSTGRES_IN_ERROR:
            yield f"ROLLBACK TO SAVEPOINT {GUARD}; RELEASE SAVEPOINT {GUARD}"


def status_of(driver: Any) -> int:
    """Return libpq's status of the transaction, with psycopg 3 or 2."""
    if hasattr(driver, "info"):
        return int(driver.info.transaction_status)
    return int(driver.get_transaction_status())


def _psycopg_error() -> type[BaseException]:
    from psycopg import Error

    return Error


class MySQLAnswers:
    """The waits on one connection of mysqlclient.

    Until the first byte of an answer comes, the statement can be left in flight. After that, the
    driver reads until the answer is complete. If it is not complete yet, a timer ends the
    connection in time, because half an answer is of no use.
    """

    def __init__(self, driver: Any) -> None:
        self._driver = weakref.ref(driver)
        self._deadline = float("inf")
        self._is_in_flight = False
        self._is_wrapped = False
        self._timer: threading.Timer | None = None
        self.is_ended = False
        self._socket = socket.socket(fileno=driver.fileno())
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def __del__(self) -> None:
        """Leave the socket to the driver, which closes it."""
        self._socket.detach()

    def begin(self, deadline: float, undo: Undo) -> None:
        """Limit the waits from now on. MySQL undoes a single statement itself."""
        self._deadline = deadline
        cast(Any, self._driver()).query = self.query

    def end(self) -> None:
        """Remove the limit. A statement in flight still has to be waited for."""
        driver = self._driver()
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()
            self._timer = None
        if driver is None:
            return
        self._deadline = float("inf")
        if not self._is_in_flight and not self._is_wrapped:
            driver.__dict__.pop("query", None)
            return
        self._is_wrapped = self._is_in_flight
        for name in MYSQL_TALKING:
            driver.__dict__.pop(name, None)
            if self._is_in_flight:
                setattr(driver, name, self._after_answer(name))

    def query(self, query: bytes | bytearray) -> None:
        """Send a statement, and wait for the answer."""
        driver = cast(Any, self._driver())
        self._finish(driver)
        driver.send_query(bytes(query))
        self._await()
        driver.read_query_result()

    def _after_answer(self, name: str) -> Callable[..., Any]:
        def talk(*arguments: Any) -> Any:
            driver = cast(Any, self._driver())
            self._finish(driver)
            self.end()
            return getattr(driver, name)(*arguments)

        return talk

    def _finish(self, driver: Any) -> None:
        """Wait for the late answer, and discard it."""
        if not self._is_in_flight:
            return
        self._await()
        with suppress(driver.Error):  # reported before
            driver.read_query_result()
            driver.store_result()

    def _await(self) -> None:
        self._is_in_flight = True
        seconds = self._deadline - time.monotonic()
        if seconds == float("inf"):
            self._poll.poll()
        elif not self._poll.poll(max(0, seconds * 1000)):
            raise Unanswered("the server has not answered in time")
        elif self._timer is None and not is_whole_answer(self._socket):
            self._timer = threading.Timer(max(0, seconds), self._end)
            self._timer.daemon = True
            self._timer.start()
        self._is_in_flight = False

    def _end(self) -> None:
        self.is_ended = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


def is_whole_answer(connection: socket.socket) -> bool:
    """Return whether the bytes received from a MySQL server are a complete answer.

    It is one packet, or it ends with the last packet of a result. The packets between are not
    parsed. See https://mariadb.com/kb/en/0-packet/.
    """
    try:
        came = connection.recv(MOST_BYTES_PEEKED, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:
        return False
    if int.from_bytes(came[:3], "little") + 4 == len(came):
        return True
    is_end_of_file = came[-9:-6] == b"\x05\0\0" and came[-5:-4] == b"\xfe"
    return is_end_of_file or (came[-11:-8] == b"\x07\0\0" and came[-7:-6] == b"\xfe")


Answers = PsycopgAnswers | MySQLAnswers


def answers_on(driver: Any) -> Answers | None:
    """Return the object that limits the waits on a driver's connection, or None."""
    known: Answers | None = getattr(driver, "_cachelayers_answers", None)
    if known is None and (kind := KINDS.get(type(driver).__module__.partition(".")[0])) is not None:
        known = driver._cachelayers_answers = kind(driver)
    return known


KINDS: dict[str, type[PsycopgAnswers | MySQLAnswers]] = {
    "psycopg": PsycopgAnswers,
    "MySQLdb": MySQLAnswers,
}


def outside_event_loop(
    function: Callable[Parameters, Answer],
    *arguments: Parameters.args,
    **keywords: Parameters.kwargs,
) -> Answer:
    """Call a function, in a thread if Django refuses it because an event loop is running."""
    try:
        return function(*arguments, **keywords)
    except SynchronousOnlyOperation:
        return in_a_thread(function, *arguments, **keywords)


def in_a_thread(
    function: Callable[Parameters, Answer],
    *arguments: Parameters.args,
    **keywords: Parameters.kwargs,
) -> Answer:
    """Call a function in a thread, with the thread's own connections, and wait for it.

    Code that calls a blocking function from async code blocks the event loop, as with any cache.
    """
    answers: list[Answer] = []
    errors: list[BaseException] = []
    context = contextvars.copy_context()

    def perform() -> None:
        try:
            answers.append(context.run(function, *arguments, **keywords))
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=perform, name="cachelayers-outside-event-loop")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return answers[0]
