"""Limit how long a statement waits, and skip for a while what has failed slowly."""

from __future__ import annotations

import time
from typing import Any, NamedTuple, cast

from django.db.backends.base.base import BaseDatabaseWrapper

SAVEPOINT = "cachelayers"


class Limit(NamedTuple):
    """What stands around a statement to limit it, and how many answers come before its own."""

    before: str = ""
    after: str = ""
    answers_before: int = 0
    undo: str = ""  # what puts the caller's transaction right again where the statement failed

    def alone_before(self) -> str:
        """Return what stands before, as a message of its own."""
        return self.before.rstrip("; ")

    def alone_after(self) -> str:
        """Return what stands after, as a message of its own."""
        return self.after.lstrip("; ")


def limit_alone(connection: BaseDatabaseWrapper, seconds: float, *, in_bulk: bool) -> Limit:
    """Return the limit for a statement outside a transaction; it costs no round trip.

    A statement ``in_bulk`` (clear, prune) may take its time, but may not wait longer for a lock.
    MySQL and SQLite have no such form: there the alias's own options bound the wait (of SQLite's
    statements on the log, `bounded` does).
    """
    if takes_several_statements(connection):
        # Two statements in one message are one transaction, so LOCAL ends with ours.
        setting = "lock_timeout" if in_bulk else "statement_timeout"
        return Limit(f"SET LOCAL {setting} = {milliseconds(seconds)}; ", answers_before=1)
    return limit_on_mariadb(connection, seconds, in_bulk=in_bulk)


def limit_in_transaction(connection: BaseDatabaseWrapper, seconds: float) -> Limit:
    """Return the limit for how long a statement in the caller's transaction waits for a lock.

    On PostgreSQL a savepoint of our own, and what puts the caller's limit back, travel in the same
    message: LOCAL would last until the transaction's end.
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
    """Return the limit as MariaDB's prefix; elsewhere none."""
    if connection.vendor != "mysql" or not cast(Any, connection).mysql_is_mariadb:
        return Limit()
    if not in_bulk:
        # Ends a wait for a lock too; one setting costs half as much as three.
        return Limit(f"SET STATEMENT max_statement_time = {seconds} FOR ")
    whole = max(1, round(seconds))  # these two take whole seconds
    return Limit(
        f"SET STATEMENT innodb_lock_wait_timeout = {whole}, lock_wait_timeout = {whole} FOR "
    )


def takes_several_statements(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether one message may hold several statements: not where psycopg binds apart."""
    options = connection.settings_dict["OPTIONS"]
    return connection.vendor == "postgresql" and not options.get("server_side_binding")


def has_psycopg3(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether PostgreSQL's driver is psycopg 3."""
    return (
        connection.vendor == "postgresql" and cast(Any, connection).Database.__name__ == "psycopg"
    )


def milliseconds(seconds: float) -> int:
    """Return a time as PostgreSQL wants it: 0 would mean no limit."""
    return max(1, round(seconds * 1000))


# A failure that took this long would make a page of many calls slow, so further ones are skipped
# for a while. Quick failures (a value that is too large, a full disk) cost nobody much.
SLOW_FAILURE_SECONDS = 0.05
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 4.0


class Pause:
    """How long one kind of operation is skipped after slow failures: 1, 2, 4, 4 ... seconds.

    Longer than what was waited for, so that callers spend less time waiting than not. After it one
    caller tries, while the others go on without.
    """

    def __init__(self) -> None:
        """Begin without one."""
        self.until = 0.0  # of time.monotonic(); 0: no pause
        self._next_seconds = FIRST_PAUSE_SECONDS
        self._waited_seconds = 0.0

    @property
    def is_on(self) -> bool:
        """Tell whether operations are to be skipped now."""
        return self.until != 0.0 and time.monotonic() < self.until

    def takes_try(self) -> bool:
        """Tell whether the caller is to try now: all may without a pause, after one a single one.

        For as long as that one may wait, it is the only one.
        """
        if self.until == 0.0:
            return True
        now = time.monotonic()
        if now < self.until:
            return False
        self.until = now + self._waited_seconds
        return True

    def begin(self, waited_seconds: float = 0.0) -> None:
        """Pause, longer each time in a row."""
        self._waited_seconds = waited_seconds
        self.until = time.monotonic() + max(self._next_seconds, 2 * waited_seconds)
        self._next_seconds = min(self._next_seconds * 2, LONGEST_PAUSE_SECONDS)

    def end(self) -> None:
        """Go back to normal after a success."""
        self.until = 0.0
        self._next_seconds = FIRST_PAUSE_SECONDS
