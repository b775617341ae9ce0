"""Events in an SQLite file of the cache's own: which names of which LayeredCache have changed.

Written and read where the entries are. The table is made when it is first needed: it is no part of
the application's schema, and a file that is begun anew has none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from cachelayers.backends.database.faults import DATABASE_ERRORS, Fault, fault_of
from cachelayers.backends.database.guard import FAILED, Guard
from cachelayers.backends.database.sessions import FileSession, Session, Sessions
from cachelayers.exceptions import CacheUnavailable

TABLE = "cachelayers_event"
COLUMNS = "id, cache, process, name"
CREATION = (
    f"CREATE TABLE IF NOT EXISTS {TABLE} (id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " cache TEXT NOT NULL, process TEXT NOT NULL, name TEXT NOT NULL)"
)
ROWS_PER_STATEMENT = 300  # of three columns, within the 999 parameters of older builds

Answer = TypeVar("Answer")


class Event(NamedTuple):
    """One name that a process has changed."""

    id: int
    cache: str
    process: str
    name: str


class Events:
    """The table of events; raises CacheUnavailable where it fails."""

    def __init__(self, sessions: Sessions, guard: Guard) -> None:
        """``sessions``: those of the entries, which all threads share, as is their guard."""
        self._sessions, self._guard = sessions, guard

    def read(self, first: int, most: int) -> list[Event]:
        """Return the events from an id on, so many at most."""
        statement = f"SELECT {COLUMNS} FROM {TABLE} WHERE id >= %s ORDER BY id LIMIT {most:d}"
        rows = self._run(lambda session: session.fetch(spelled(session, statement), [first]))
        return [Event(*row) for row in rows]

    def newest(self) -> Event | None:
        """Return the newest event, if there is any."""
        statement = f"SELECT {COLUMNS} FROM {TABLE} ORDER BY id DESC LIMIT 1"
        rows = self._run(lambda session: session.fetch(statement, []))
        return Event(*rows[0]) if rows else None

    def write(self, rows: Sequence[tuple[str, str, str]]) -> None:
        """Write events: cache, process and name of each."""
        for start in range(0, len(rows), ROWS_PER_STATEMENT):
            part = rows[start : start + ROWS_PER_STATEMENT]
            self._write(
                f"INSERT INTO {TABLE} (cache, process, name) VALUES "
                + ", ".join(["(%s, %s, %s)"] * len(part)),
                [one for row in part for one in row],
            )

    def delete_all_but(self, number: int) -> None:
        """Delete the events that are older than the newest so many."""
        self._write(f"DELETE FROM {TABLE} WHERE id <= (SELECT MAX(id) FROM {TABLE}) - %s", [number])

    def _write(self, statement: str, parameters: Sequence[Any]) -> None:
        """Write, unless a write to this file was waited for in vain a moment ago."""

        def write(session: Session) -> None:
            session.write(spelled(session, statement), parameters)

        if self._guard.attempt("tell", self._perform, write) is FAILED:
            raise CacheUnavailable("The bus in the cache's file could not be written to")

    def _run(self, operation: Callable[[Session], Answer]) -> Answer:
        try:
            return self._perform(operation)
        except DATABASE_ERRORS as error:
            raise CacheUnavailable(f"The bus in the cache's file failed: {error}") from error

    def _perform(self, operation: Callable[[Session], Answer]) -> Answer:
        """Carry out an operation, after the table was made if there is none."""
        session = self._sessions.current()
        try:
            return operation(session)
        except DATABASE_ERRORS as error:
            if fault_of(error) is not Fault.MISSING_TABLE:
                raise
            session.write(CREATION, [])
            return operation(session)


def spelled(session: Session, statement: str) -> str:
    """Return a statement as the driver of a session takes it."""
    return statement.replace("%s", "?") if isinstance(session, FileSession) else statement
