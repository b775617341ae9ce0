"""Choose the connection on which the next statement runs.

``table`` asks it for a session. Both kinds have the same methods: ``django_session`` uses Django's
connection, ``sqlite_file`` SQLite connections of our own. A file that LOCATION names is no database
of Django's: no test runner, router or command of Django's sees it.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.backends.database.django_session import DjangoSession, Written
from cachelayers.backends.database.faults import Fault
from cachelayers.backends.database.sqlite_file import (
    FileConnection,
    FileIdentity,
    is_missing,
    make_private_file,
    make_table,
    may_be_sqlite,
    replace_file,
    set_aside_lost_file,
)
from cachelayers.backends.database.statements import Statements, flatten, statements_for
from cachelayers.conf import cache_files, is_own_database, shares_its_file
from cachelayers.locations import is_file
from cachelayers.models import Entry
from cachelayers.test_runs import is_test_run

_names_of_site: dict[str, str] = {}  # by alias, before any test runner has changed them
_names_assigned: dict[str, str] = {}  # by alias, also those of the parent process
_files_of_site: set[str] = set()  # that LOCATION names in the settings
_files_assigned: dict[str, str] = {}  # by the path of the site's file
_numbers_of_files = count()
_folders: list[Path] = []  # the folder of the process that first assigned a file


def remember_database_names() -> None:
    """Remember the names and paths in the settings. Called once, after Django's setup."""
    _files_of_site.update(cache_files())
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
    path = new_file_for_tests(database)
    connections[database].close()
    connections.settings[database]["NAME"] = _names_assigned[database] = path
    connections[database].settings_dict["NAME"] = path


def new_file_for_tests(name: str) -> str:
    """Return the path of a file of this process."""
    if not _folders:
        folder = Path(tempfile.mkdtemp(prefix="cachelayers-test-"))
        _folders.append(folder)
        atexit.register(remove_folder, folder, os.getpid())
    return str(_folders[0] / f"{name}-{os.getpid()}.sqlite3")


def file_for(path: str) -> str:
    """Return the path itself or, for a file of the site in a test run, one of this process."""
    if not is_test_run() or path not in _files_of_site:
        return path
    if path not in _files_assigned:
        _files_assigned[path] = new_file_for_tests(f"file-{next(_numbers_of_files)}")
    return _files_assigned[path]


def renew_files_of_tests() -> None:
    """In a test run, have each file that LOCATION names begin empty. Asks no database."""
    for path, assigned in list(_files_assigned.items()):
        number = next(_numbers_of_files)
        _files_assigned[path] = new_file_for_tests(f"file-{number}")
        for ending in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.unlink(f"{assigned}{ending}")


def assign_files_to_child() -> None:
    """After a fork: give each worker of a test runner its own files."""
    _files_assigned.clear()
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

    def together(self) -> AbstractContextManager[None]:
        """Commit the statements of a block together, if the session's driver commits them alone."""

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

    @property
    def have_own_file(self) -> bool:
        """Whether the database is an SQLite file of the cache's own."""
        is_own_file = is_own_database(self.database) and not shares_its_file(self.database)
        return is_own_file and connections[self.database].vendor == "sqlite"

    def is_in_transaction(self) -> bool:
        """Return whether statements are part of the caller's transaction."""
        return connections[self.database].in_atomic_block

    def are_in_broken_transaction(self) -> bool:
        """Return whether the caller's transaction takes no statements any more."""
        return connections[self.database].needs_rollback

    def can_mend(self, fault: Fault) -> bool:
        """Return whether a fault ends when the file is replaced."""
        if fault is Fault.NO_FILE and not self._is_file_missing():
            return False
        return fault in {Fault.CORRUPT, Fault.NO_FILE} and self._is_on_own_file()

    def mend(self, fault: Fault) -> None:
        """Replace the file. Raises BlockingIOError while another process does."""
        replace_file(self.database, self._file_in_use())

    def _is_file_missing(self) -> bool:
        """Return whether the database is an SQLite file that does not exist."""
        connection = connections[self.database]
        if connection.vendor != "sqlite":
            return False
        return is_missing(str(connection.settings_dict["NAME"]))

    def _is_on_own_file(self) -> bool:
        """Return whether this thread uses an SQLite file that holds only entries."""
        session = self.current()
        return isinstance(session, FileSession) and session.is_own_file

    def _file_in_use(self) -> FileIdentity | None:
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


class OwnFileSession(FileSession):
    """A file that LOCATION names, which is made with its table when it is opened."""

    def __init__(self, path: str, busy_seconds: float) -> None:
        sql = Statements(f'"{Entry._meta.db_table}"', "?")
        super().__init__(path, busy_seconds, sql, is_own_file=True)

    def _make_missing_file(self) -> None:
        make_private_file(self.path)

    def _configure(self, connection: sqlite3.Connection) -> None:
        super()._configure(connection)
        make_table(connection)


class FileSessions(Sessions):
    """The sessions on a file that LOCATION names. They are part of no transaction."""

    have_own_file = True

    def current(self) -> OwnFileSession:
        """Return this thread's session."""
        path = file_for(self.database)
        session: OwnFileSession | None = getattr(self._local, "session", None)
        if session is None or session.path is not path:
            session = self._local.session = OwnFileSession(path, self.busy_seconds)
        return session

    def is_in_transaction(self) -> bool:
        return False

    def are_in_broken_transaction(self) -> bool:
        return False

    def can_mend(self, fault: Fault) -> bool:
        """Return whether a fault ends when the file is opened anew, or is replaced.

        A file that is not SQLite's is somebody else's: LOCATION may name it by mistake.
        """
        if fault is Fault.CORRUPT:
            return may_be_sqlite(self.current().path)
        return fault is Fault.MISSING_TABLE

    def mend(self, fault: Fault) -> None:
        """Rename a corrupt file. Whoever opens the path next makes a new one."""
        session = self.current()
        if fault is Fault.CORRUPT:
            set_aside_lost_file(session.path, session.identity)
        session.close()


def sessions_on(database: str, busy_seconds: float) -> Sessions:
    """Return the sessions on a DATABASES alias or a file."""
    return (FileSessions if is_file(database) else Sessions)(database, busy_seconds)
