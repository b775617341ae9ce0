"""Choose where the next statement belongs. Used by table.

Both kinds of session have the same methods: ``django_session`` runs statements in Django's
connection, ``sqlite_file`` in SQLite ones of our own.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.backends.database.django_session import DjangoSession, Written
from cachelayers.backends.database.files_of_tests import keep_apart
from cachelayers.backends.database.sqlite_file import FileConnection, FileIdentity
from cachelayers.backends.database.statements import Statements, flatten, statements_for
from cachelayers.conf import shares_its_file
from cachelayers.models import Entry


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

    def write_rows(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write the rows of one chunk over whatever was there, in one statement."""


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
        # By identity: two equal paths take longer to compare than SQLite to find a row.
        if configured is not held.configured or configured["NAME"] is not held.name:
            return self._hold(connections[self.database])
        return held.joined if held.connection.in_atomic_block else held.alone

    def _hold(self, connection: BaseDatabaseWrapper) -> Session:
        """Keep what this thread needs: looking Django's connection up takes as long as SQLite."""
        keep_apart(self.database)
        configured = connections.settings[self.database]
        name = configured["NAME"]
        joined: Session = DjangoSession(connection, self.busy_seconds)
        alone = joined
        if connection.vendor == "sqlite":
            alone = self._sqlite_session(connection, str(name))
        self._local.held = Held(connection, configured, name, alone, joined)
        return self.current()

    def is_on_own_file(self) -> bool:
        """Tell whether this thread uses an SQLite file that holds nothing but entries."""
        session = self.current()
        return isinstance(session, FileSession) and session.is_own_file

    def file_in_use(self) -> FileIdentity | None:
        """Return which SQLite file this thread last had open; None: none yet."""
        session = self.current()
        return session.identity if isinstance(session, FileSession) else None

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

    def write_rows(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write the rows of one chunk."""
        self.execute(self.sql.upsert(len(rows)), flatten(rows))
