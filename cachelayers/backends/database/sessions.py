"""Choose the connection on which the next statement runs.

``table`` asks it for a session. Both kinds have the same methods: ``django_session`` uses Django's
connection, ``sqlite_file`` SQLite connections of our own.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.backends.database.django_session import DjangoSession, Written
from cachelayers.backends.database.sqlite_file import FileConnection, FileIdentity
from cachelayers.backends.database.statements import Statements, flatten, statements_for
from cachelayers.conf import is_own_database, shares_its_file
from cachelayers.models import Entry
from cachelayers.test_runs import is_test_run

_names_of_site: dict[str, str] = {}  # by alias, before any test runner has changed them
_names_assigned: dict[str, str] = {}  # by alias, also those of the parent process
_folders: list[Path] = []  # the folder of the process that first called separate_in_tests()


def remember_database_names() -> None:
    """Remember the database names in the settings. Called once, after Django's setup."""
    _names_of_site.update(
        {alias: str(configured["NAME"]) for alias, configured in connections.settings.items()}
    )


def separate_in_tests(database: str) -> None:
    """In a test run, point an alias at a file of this process.

    Only if the alias still names the site's own SQLite file and that file holds only the cache. If
    TEST NAME equals NAME, the file is meant for tests and stays.
    """
    if is_test_run() and names_file_of_site(database):
        assign_file(database)


def names_file_of_site(database: str) -> bool:
    """Return whether an alias names an SQLite file that is not a test's."""
    connection = connections[database]
    name, test_name = (
        str(connection.settings_dict["NAME"]),
        connection.settings_dict["TEST"]["NAME"],
    )
    return (
        connection.vendor == "sqlite"
        and name == _names_of_site.get(database)
        and name != str(test_name)
        and is_own_database(database)
    )


def assign_file(database: str) -> None:
    """Point an alias at a new file, as Django's test runner does; first close its connection."""
    if not _folders:
        folder = Path(tempfile.mkdtemp(prefix="cachelayers-test-"))
        _folders.append(folder)
        atexit.register(remove_folder, folder, os.getpid())
    path = str(_folders[0] / f"{database}-{os.getpid()}.sqlite3")
    connections[database].close()
    connections.settings[database]["NAME"] = _names_assigned[database] = path
    connections[database].settings_dict["NAME"] = path


def assign_files_to_child() -> None:
    """After a fork: give each worker of a test runner its own files."""
    for database in _names_assigned:
        assign_file(database)


def remove_folder(folder: Path, owner: int) -> None:
    """Remove the files when the process that made them ends, not when a child of it ends."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


os.register_at_fork(after_in_child=assign_files_to_child)


class Session(Protocol):
    """A connection for statements, and their form for its driver."""

    @property
    def sql(self) -> Statements:
        """Return the statements in the driver's form."""

    def fetch(
        self, statement: str, parameters: Sequence[Any], *, in_bulk: bool = False
    ) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows. ``in_bulk``: without a time limit of its own."""

    def write(self, statement: str, parameters: Sequence[Any], *, in_bulk: bool = False) -> Written:
        """Run a statement and return its result. ``in_bulk``: as in fetch()."""

    def write_rows(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write one chunk of rows in one statement; existing rows are overwritten."""


class ThreadSession(NamedTuple):
    """One thread's connection from Django, its settings at that time, and the sessions on it."""

    connection: BaseDatabaseWrapper
    configured: Mapping[str, Any]
    name: str
    alone: Session
    joined: Session


class Sessions:
    """The sessions on one DATABASES alias."""

    def __init__(self, database: str, busy_seconds: float) -> None:
        self.database = database
        self.busy_seconds = busy_seconds
        self._local = threading.local()

    def current(self) -> Session:
        """Return the session for this thread's next statement."""
        try:
            remembered: ThreadSession = self._local.remembered
        except AttributeError:
            return self._remember(connections[self.database])
        # Read each time: tests change an alias's database and restore it.
        configured = connections.settings[self.database]
        # By identity: comparing two equal paths takes longer than SQLite takes to find a row.
        if configured is not remembered.configured or configured["NAME"] is not remembered.name:
            return self._remember(connections[self.database])
        return remembered.joined if remembered.connection.in_atomic_block else remembered.alone

    def _remember(self, connection: BaseDatabaseWrapper) -> Session:
        """Cache this thread's session: looking up Django's connection takes as long as SQLite."""
        separate_in_tests(self.database)
        configured = connections.settings[self.database]
        name = configured["NAME"]
        joined: Session = DjangoSession(connection, self.busy_seconds)
        alone = joined
        if connection.vendor == "sqlite":
            alone = self._sqlite_session(connection, str(name))
        self._local.remembered = ThreadSession(connection, configured, name, alone, joined)
        return self.current()

    def is_on_own_file(self) -> bool:
        """Return whether this thread uses an SQLite file that holds only entries."""
        session = self.current()
        return isinstance(session, FileSession) and session.is_own_file

    def file_in_use(self) -> FileIdentity | None:
        """Return the SQLite file that this thread opened last; None: none yet."""
        session = self.current()
        return session.identity if isinstance(session, FileSession) else None

    def _sqlite_session(self, connection: BaseDatabaseWrapper, name: str) -> Session:
        """Return a session on the file, or Django's if the database is in memory."""
        if cast(Any, connection).is_in_memory_db():
            return DjangoSession(connection, self.busy_seconds)
        sql = statements_for(connection, Entry._meta.db_table, mark="?")
        is_own_file = not shares_its_file(self.database)
        return FileSession(name, self.busy_seconds, sql, is_own_file=is_own_file)


class FileSession(FileConnection):
    """SQLite: a connection of our own, outside every transaction."""

    def __init__(self, path: str, busy_seconds: float, sql: Statements, *, is_own_file: bool):
        """``sql`` is in SQLite's own form. The file is opened on first use."""
        super().__init__(path, busy_seconds, is_own_file=is_own_file)
        self.sql = sql

    def write(self, statement: str, parameters: Sequence[Any], *, in_bulk: bool = False) -> Written:
        """Run a statement. The busy time-out bounds the wait, so ``in_bulk`` changes nothing."""
        return Written(self.execute(statement, parameters))

    def write_rows(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write one chunk of rows."""
        self.execute(self.sql.upsert(len(rows)), flatten(rows))
