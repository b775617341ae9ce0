"""Limit how long a statement waits, and pause operations that have failed slowly.

The table's sessions and the log use it for each of their statements.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple, cast

from django.db.backends.base.base import BaseDatabaseWrapper

SAVEPOINT = "cachelayers"


class Limit(NamedTuple):
    """The text around a statement that limits it, and the number of answers before its own."""

    before: str = ""
    after: str = ""
    answers_before: int = 0
    undo: str = ""  # repairs the caller's transaction if the statement fails

    def alone_before(self) -> str:
        """Return ``before`` as a message of its own."""
        return self.before.rstrip("; ")

    def alone_after(self) -> str:
        """Return ``after`` as a message of its own."""
        return self.after.lstrip("; ")


def limit_alone(connection: BaseDatabaseWrapper, seconds: float, *, in_bulk: bool) -> Limit:
    """Return the limit for a statement outside a transaction. It costs no round trip.

    A statement ``in_bulk`` (clear, prune) may run long, but not wait longer for a lock. MySQL and
    SQLite have no such limit: there the alias's own options limit the wait, and for SQLite's
    statements on the log `own_statements` does.
    """
    if takes_several_statements(connection):
        # Two statements in one message are one transaction, so LOCAL ends with it.
        setting = "lock_timeout" if in_bulk else "statement_timeout"
        return Limit(f"SET LOCAL {setting} = {milliseconds(seconds)}; ", answers_before=1)
    return limit_on_mariadb(connection, seconds, in_bulk=in_bulk)


def limit_in_transaction(connection: BaseDatabaseWrapper, seconds: float) -> Limit:
    """Return the limit for a lock's wait within the caller's transaction.

    On PostgreSQL a savepoint, and the restoring of the caller's limit, are in the same message,
    because LOCAL would last until the transaction's end.
    """
    if takes_several_statements(connection):
        remember = "SELECT set_config('cachelayers.before', current_setting('lock_timeout'), true)"
        restore = "SELECT set_config('lock_timeout', current_setting('cachelayers.before'), true)"
        limit = f"SET LOCAL lock_timeout = {milliseconds(seconds)}"
        release = f"RELEASE SAVEPOINT {SAVEPOINT}"
        return Limit(
            f"SAVEPOINT {SAVEPOINT}; {remember}; {limit}; ",
            f"; {restore}; {release}",
            answers_before=3,
            undo=f"ROLLBACK TO SAVEPOINT {SAVEPOINT}; {release}",
        )
    return limit_on_mariadb(connection, seconds, in_bulk=True)


def limit_on_mariadb(connection: BaseDatabaseWrapper, seconds: float, *, in_bulk: bool) -> Limit:
    """Return MariaDB's prefix for a limit, or no limit for other databases."""
    if connection.vendor != "mysql" or not cast(Any, connection).mysql_is_mariadb:
        return Limit()
    if not in_bulk:
        # This also ends a wait for a lock. One setting costs half as much as three.
        return Limit(f"SET STATEMENT max_statement_time = {seconds} FOR ")
    whole = max(1, round(seconds))  # these two take whole seconds
    return Limit(
        f"SET STATEMENT innodb_lock_wait_timeout = {whole}, lock_wait_timeout = {whole} FOR "
    )


def takes_several_statements(connection: BaseDatabaseWrapper) -> bool:
    """Return whether one message may hold several statements: not with server-side binding."""
    options = connection.settings_dict["OPTIONS"]
    return connection.vendor == "postgresql" and not options.get("server_side_binding")


def has_psycopg3(connection: BaseDatabaseWrapper) -> bool:
    """Return whether PostgreSQL's driver is psycopg 3."""
    return (
        connection.vendor == "postgresql" and cast(Any, connection).Database.__name__ == "psycopg"
    )


def milliseconds(seconds: float) -> int:
    """Return a time for PostgreSQL, at least 1: 0 would mean no limit."""
    return max(1, round(seconds * 1000))


# Many failures of this duration would make a page slow, so further operations are skipped for a
# while. Quick failures (a value that is too large, a full disk) cost little.
SLOW_FAILURE_SECONDS = 0.05
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 4.0


class Pause:
    """Skips one kind of operation after slow failures, for 1, 2, 4, 4 ... seconds.

    A pause is longer than the failed wait, so that callers spend less time waiting than not. After
    it, one caller tries, while the others go on without.
    """

    def __init__(
        self, first: float = FIRST_PAUSE_SECONDS, longest: float = LONGEST_PAUSE_SECONDS
    ) -> None:
        self.until = 0.0  # of time.monotonic(); 0: no pause
        self._first, self._longest, self._next_seconds = first, longest, first
        self._waited_seconds = 0.0

    @property
    def is_on(self) -> bool:
        """Return whether operations have to be skipped now."""
        return self.until != 0.0 and time.monotonic() < self.until

    def takes_try(self) -> bool:
        """Return whether the caller may try now. After a pause, only one caller may.

        It is the only one for as long as its try may take.
        """
        if self.until == 0.0:
            return True
        now = time.monotonic()
        if now < self.until:
            return False
        self.until = now + self._waited_seconds
        return True

    def begin(self, waited_seconds: float = 0.0) -> None:
        """Pause. Each further pause in a row is longer."""
        self._waited_seconds = waited_seconds
        self.until = time.monotonic() + max(self._next_seconds, 2 * waited_seconds)
        self._next_seconds = min(self._next_seconds * 2, self._longest)

    def end(self) -> None:
        """End the pauses after a success."""
        self.until = 0.0
        self._next_seconds = self._first
