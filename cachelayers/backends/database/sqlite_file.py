"""Connections to an SQLite file of the cache: one per thread, none over a fork."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import IO, Any

from django.core.files import locks
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor

from cachelayers.models import Entry

# How often a connection looks whether its file is still the one at its path. A file may be set
# aside (corrupt) or removed while other processes use it; for so long they may read the old one.
IDENTITY_CHECK_SECONDS = 1.0
# 16 MiB of log, a quarter of SQLite's default number of checkpoints: measured, a third more writes
# a second. A checkpoint then takes some 20 ms.
WAL_CHECKPOINT_PAGES = 4_000
PAGE_CACHE_KIB = 8 * 1024  # at most, and only what is read

FileIdentity = tuple[int, int]  # device and inode


class FileConnection:
    """One thread's connection to one file, opened when first used.

    The lock is free but for a fork: before one, every connection of the process is closed, because
    SQLite's locks are not inherited, and a child that opened the file beside an inherited
    connection would believe itself to hold them (https://www.sqlite.org/howtocorrupt.html, 2.6).
    """

    def __init__(self, path: str, busy_seconds: float, *, is_own_file: bool) -> None:
        """Remember where the file is; ``is_own_file`` allows its journal mode to be changed."""
        self.path = path
        # One that its thread may take again: a signal handler uses the connection it interrupts.
        self.lock = threading.RLock()
        self._is_busy = False
        self._busy_seconds = busy_seconds
        self.is_own_file = is_own_file
        self._connection: sqlite3.Connection | None = None
        self._open_cursor: sqlite3.Cursor | None = None
        self.identity: FileIdentity | None = None
        self.check_identity_at = 0.0
        with _every_connection_lock:
            _every_connection.add(self)

    def fetch(
        self, statement: str, parameters: Sequence[Any], *, in_bulk: bool = False
    ) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows. ``in_bulk`` changes nothing here."""
        with self.lock:
            if self._is_busy:
                return self._cursor_apart().execute(statement, parameters).fetchall()
            self._is_busy = True
            try:
                # fetchall(): a SELECT left unfinished keeps the WAL from being checkpointed.
                cursor = self._open_cursor
                if cursor is None or time.monotonic() >= self.check_identity_at:
                    cursor = self._cursor_on_current_file()
                return cursor.execute(statement, parameters).fetchall()
            finally:
                self._is_busy = False

    def execute(self, statement: str, parameters: Sequence[Any]) -> int:
        """Run a statement and return how many rows it touched."""
        with self.lock:
            if self._is_busy:
                return self._cursor_apart().execute(statement, parameters).rowcount
            self._is_busy = True
            try:
                cursor = self._open_cursor
                if cursor is None or time.monotonic() >= self.check_identity_at:
                    cursor = self._cursor_on_current_file()
                return cursor.execute(statement, parameters).rowcount
            finally:
                self._is_busy = False

    def close(self) -> None:
        """Close; the next use opens it anew."""
        with self.lock:
            self.close_locked()

    def close_locked(self) -> None:
        """Close, where the lock is already held."""
        connection, self._connection, self._open_cursor = self._connection, None, None
        if connection is not None:
            with suppress(sqlite3.Error):  # whatever was wrong with it, it is gone now
                connection.close()

    def __del__(self) -> None:
        """Close when the thread ends, which drops its last reference."""
        self.close_locked()

    def _cursor_apart(self) -> sqlite3.Cursor:
        """Return another cursor, for what interrupts a statement and must not take its rows."""
        connection = self._connection
        if connection is None:  # which is being opened just now
            raise sqlite3.OperationalError("The connection is being opened.")
        return connection.cursor()

    def _cursor_on_current_file(self) -> sqlite3.Cursor:
        """Return the one cursor, of a connection to the file that is at the path now."""
        self.check_identity_at = time.monotonic() + IDENTITY_CHECK_SECONDS
        if self.identity != identity_of(self.path):
            self.close_locked()
        if self._open_cursor is None:
            # Taken before: if the file is replaced in between, the next check opens it anew. Kept
            # where the file is gone: so it is known to have been there.
            self.identity = identity_of(self.path) or self.identity
            self._connection = self._connect()
            self._open_cursor = self._connection.cursor()
        return self._open_cursor

    def _connect(self) -> sqlite3.Connection:
        """Open the file, which must exist: SQLite would make an empty one without our table."""
        connection = sqlite3.connect(
            uri_of(self.path),
            timeout=self._busy_seconds,
            isolation_level=None,  # autocommit: a read that turns into a write would get BUSY
            check_same_thread=False,  # closed by whichever thread forks
            cached_statements=256,
            uri=True,
        )
        try:
            self._configure(connection)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _configure(self, connection: sqlite3.Connection) -> None:
        """Set what makes a cache fast and what a cache can do without."""
        if self.is_own_file:
            # Locked or read-only: it stays in the mode it has, and works.
            with suppress(sqlite3.OperationalError):
                connection.execute("PRAGMA journal_mode = WAL").fetchall()
        # NORMAL: a power cut may lose the last writes of a WAL file, never its soundness.
        connection.execute("PRAGMA synchronous = NORMAL").fetchall()
        connection.execute("PRAGMA secure_delete = OFF").fetchall()  # Debian's default is on
        connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_CHECKPOINT_PAGES}").fetchall()
        connection.execute(f"PRAGMA cache_size = -{PAGE_CACHE_KIB}").fetchall()


def identity_of(path: str) -> FileIdentity | None:
    """Return what tells one file from another at the same path, or None where there is none."""
    try:
        status = Path(plain_path_of(path)).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def is_missing(path: str) -> bool:
    """Tell whether there is no file; one in a folder that may not be entered is not missing."""
    try:
        Path(plain_path_of(path)).stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def plain_path_of(path: str) -> str:
    """Return the path in a DATABASES NAME, which may be an SQLite URI."""
    return path.removeprefix("file:").partition("?")[0] if path.startswith("file:") else path


def uri_of(path: str) -> str:
    """Return the URI that opens an existing file only."""
    return path if path.startswith("file:") else f"{Path(path).absolute().as_uri()}?mode=rw"


def check_files_again() -> None:
    """Make every connection of this process see at once that its file was replaced."""
    for connection in list(_every_connection):
        connection.check_identity_at = 0.0


_every_connection: weakref.WeakSet[FileConnection] = weakref.WeakSet()
_every_connection_lock = threading.RLock()
_held_for_fork: list[FileConnection] = []


def close_all_before_fork() -> None:
    """Wait for what is running, close every connection, and let no one open one until after."""
    _every_connection_lock.acquire()
    for connection in list(_every_connection):
        connection.lock.acquire()
        connection.close_locked()
        _held_for_fork.append(connection)


def release_after_fork() -> None:
    """Let the parent's threads and the child's only thread open their connections anew.

    The forking thread holds all these locks, and it is the one that goes on in the child too.
    """
    while _held_for_fork:
        _held_for_fork.pop().lock.release()
    _every_connection_lock.release()


os.register_at_fork(
    before=close_all_before_fork,
    after_in_parent=release_after_fork,
    after_in_child=release_after_fork,
)


logger = logging.getLogger("cachelayers.backends.database")

SIDE_FILES = ("-wal", "-shm")  # a new file must not meet the old one's write-ahead log


def replace_file(database: str, lost: FileIdentity | None) -> None:
    """Put a new file in the place of one that is missing or corrupt, and is this cache's alone.

    ``lost`` is the file that was in use; None: there was none yet. Where another one is at its path
    by now, another thread or process was first, and all that is left to do is to open that one.
    Raises OSError or a database error where it cannot be done, or another one is at it.
    """
    path = plain_path_of(str(connections[database].settings_dict["NAME"]))
    with locked(f"{path}.lock"):
        found = identity_of(path)
        if found is not None and found == lost:
            aside = set_aside(path)
            logger.error("%s is corrupt: set aside as %s, to begin anew.", path, aside)
        if found in {lost, None}:
            make_new_file(database, path)
            logger.error("%s was made: it is empty now.", path)
    check_files_again()


@contextmanager
def locked(path: str) -> Iterator[IO[str]]:
    """Hold a lock over all processes of this host, or raise BlockingIOError: nobody waits."""
    with Path(path).open("w") as file:
        if not locks.lock(file, locks.LOCK_EX | locks.LOCK_NB):
            raise BlockingIOError(f"another process makes {path.removesuffix('.lock')}")
        try:
            yield file
        finally:
            locks.unlock(file)


def set_aside(path: str) -> str:
    """Rename the file and its side files; return the new name. Only the newest ones are kept."""
    for older in Path(path).parent.glob(f"{escape(Path(path).name)}.corrupt-*"):
        older.unlink()
    aside = f"{path}.corrupt-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}"
    Path(path).rename(aside)
    for suffix in SIDE_FILES:
        with suppress(FileNotFoundError):
            Path(path + suffix).rename(aside + suffix)
    return aside


def make_new_file(database: str, path: str) -> None:
    """Migrate a file under another name and move it to ``path``: no one sees it half made."""
    beside = f"{path}.new"
    for leftover in (beside, *(beside + suffix for suffix in SIDE_FILES)):
        with suppress(FileNotFoundError):
            Path(leftover).unlink()
    with pointed_at(database, beside) as connection:
        executor = MigrationExecutor(connection)
        nodes = executor.loader.graph.leaf_nodes()
        executor.migrate([node for node in nodes if node[0] == Entry._meta.app_label])
    Path(beside).replace(path)


@contextmanager
def pointed_at(database: str, path: str) -> Iterator[BaseDatabaseWrapper]:
    """Let this thread's connection of a DATABASES alias be one to another file for a while.

    The migrations' recorder asks for the alias, whatever connection it was given.
    """
    usual = connections[database]
    if not usual.in_atomic_block:
        usual.close()  # it is on the file that was set aside
    connection = usual.copy()
    connection.settings_dict["NAME"] = path
    connections[database] = connection
    # At once, and once: a test that allows no queries to the alias means the site's file.
    connection.connect()
    connection.ensure_connection = do_nothing  # type: ignore[method-assign]
    try:
        yield connection
    finally:
        connection.close()
        connections[database] = usual


def do_nothing() -> None:
    """Stand in for a look whether there is a connection, where there is one."""
