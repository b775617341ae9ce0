"""Connections to an SQLite file of the cache: one per thread, none across a fork.

Used by ``sessions`` for databases that hold only the cache, and by ``guard`` to replace a lost
file.
"""

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

from cachelayers.conf import OWN_TABLES
from cachelayers.models import Entry

# How often a connection checks whether its file is still the one at its path. Other processes may
# set aside (corrupt) or remove a file in use; until the check, this process reads the old one.
IDENTITY_CHECK_SECONDS = 1.0
# 16 MiB of log, a quarter of SQLite's default number of checkpoints. Measured: a third more writes
# a second. A checkpoint then takes about 20 ms.
WAL_CHECKPOINT_PAGES = 4_000
PAGE_CACHE_KIB = 8 * 1024  # an upper limit; only pages that are read take memory

FileIdentity = tuple[int, int]  # device and inode


class FileConnection:
    """One thread's connection to one file, opened on first use.

    All connections are closed before a fork: SQLite's locks are not inherited, and a child with an
    inherited connection would believe that it holds them (https://www.sqlite.org/howtocorrupt.html,
    2.6). Without a fork, the lock is always free.
    """

    def __init__(self, path: str, busy_seconds: float, *, is_own_file: bool) -> None:
        """``is_own_file``: its journal mode may be changed."""
        self.path = path
        # Reentrant: a signal handler uses the connection that it interrupts.
        self.lock = threading.RLock()
        self._is_busy = self._is_together = False
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
        """Run a statement and return its rows. ``in_bulk`` changes nothing."""
        with self.lock:
            if self._is_busy:
                return self._cursor_apart().execute(statement, parameters).fetchall()
            self._is_busy = True
            try:
                # fetchall(): an unfinished SELECT keeps the WAL from being checkpointed.
                cursor = self._open_cursor
                if cursor is None or time.monotonic() >= self.check_identity_at:
                    cursor = self._cursor_on_current_file()
                return cursor.execute(statement, parameters).fetchall()
            finally:
                self._is_busy = False

    def execute(self, statement: str, parameters: Sequence[Any]) -> int:
        """Run a statement and return the number of affected rows."""
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

    @contextmanager
    def together(self) -> Iterator[None]:
        """Commit the block's statements together, or none of them.

        A signal handler's statements within the block are part of it.
        """
        with self.lock:
            if self._is_together:
                yield
                return
            self._is_together = True
            try:
                self.execute("BEGIN IMMEDIATE", ())
                yield
                self.execute("COMMIT", ())
            except BaseException:
                with suppress(sqlite3.Error):  # it has ended already, or the file is lost
                    self.execute("ROLLBACK", ())
                raise
            finally:
                self._is_together = False

    def close(self) -> None:
        """Close; the next use reopens the file."""
        with self.lock:
            self.close_locked()

    def close_locked(self) -> None:
        """Close while the caller holds the lock."""
        connection, self._connection, self._open_cursor = self._connection, None, None
        if connection is not None:
            with suppress(sqlite3.Error):  # the connection is dropped in any case
                connection.close()

    def __del__(self) -> None:
        """Close when the thread ends, which drops the last reference."""
        self.close_locked()

    def _cursor_apart(self) -> sqlite3.Cursor:
        """Return a second cursor: a signal handler leaves the first one's rows alone."""
        connection = self._connection
        if connection is None:  # it is just being opened
            raise sqlite3.OperationalError("The connection is being opened.")
        return connection.cursor()

    def _cursor_on_current_file(self) -> sqlite3.Cursor:
        """Return the cursor of a connection to the file that is at the path now."""
        self.check_identity_at = time.monotonic() + IDENTITY_CHECK_SECONDS
        if self.identity != identity_of(self.path):
            self.close_locked()
        if self._open_cursor is None:
            self._make_missing_file()
            # Read before opening: if the file is replaced in between, the next check reopens it.
            # Kept if the file is missing, to know that there was one.
            self.identity = identity_of(self.path) or self.identity
            self._connection = self._connect()
            self._open_cursor = self._connection.cursor()
        return self._open_cursor

    def _make_missing_file(self) -> None:
        """Do nothing: the guard replaces the file of an alias, with its migrations."""

    def _connect(self) -> sqlite3.Connection:
        """Open the file, which must exist: SQLite would create an empty one without our table."""
        connection = sqlite3.connect(
            uri_of(self.path),
            timeout=self._busy_seconds,
            isolation_level=None,  # autocommit: a read that becomes a write would fail with BUSY
            check_same_thread=False,  # the thread that forks closes it
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
        """Set the PRAGMAs: a cache needs speed more than durability."""
        if self.is_own_file:
            # Locked or read-only: the journal mode stays as it is.
            with suppress(sqlite3.OperationalError):
                connection.execute("PRAGMA journal_mode = WAL").fetchall()
        # NORMAL: a power cut may lose the last writes of a WAL file, but never corrupts it.
        connection.execute("PRAGMA synchronous = NORMAL").fetchall()
        connection.execute("PRAGMA secure_delete = OFF").fetchall()  # Debian's default is on
        connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_CHECKPOINT_PAGES}").fetchall()
        connection.execute(f"PRAGMA cache_size = -{PAGE_CACHE_KIB}").fetchall()


def identity_of(path: str) -> FileIdentity | None:
    """Return the identity of the file at a path; None: there is no file."""
    try:
        status = Path(plain_path_of(path)).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def is_missing(path: str) -> bool:
    """Return whether there is no file. A file in a folder without access is not missing."""
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
    """Return a URI that opens only an existing file."""
    return path if path.startswith("file:") else f"{Path(path).absolute().as_uri()}?mode=rw"


def check_files_again() -> None:
    """Make every connection of this process check its file at its next use."""
    for connection in list(_every_connection):
        connection.check_identity_at = 0.0


_every_connection: weakref.WeakSet[FileConnection] = weakref.WeakSet()
_every_connection_lock = threading.RLock()
_held_for_fork: list[FileConnection] = []


def close_all_before_fork() -> None:
    """Wait for running statements, close every connection, and hold the locks during the fork."""
    _every_connection_lock.acquire()
    for connection in list(_every_connection):
        connection.lock.acquire()
        connection.close_locked()
        _held_for_fork.append(connection)


def release_after_fork() -> None:
    """Let the parent's threads and the child's only thread reopen their connections.

    The forking thread holds all the locks, and runs on in both processes.
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

HEADER = b"SQLite format 3\0"
SIDE_FILES = ("-wal", "-shm")  # a new file must not be used with the old one's write-ahead log


def replace_file(database: str, lost: FileIdentity | None) -> None:
    """Replace the cache's own file, which is missing or corrupt.

    ``lost``: the file that was in use; None: none. If another file is at the path by now, another
    thread or process has replaced it, and this one only reopens. Raises OSError or a database error
    on failure, and BlockingIOError while another process replaces it.
    """
    path = plain_path_of(str(connections[database].settings_dict["NAME"]))
    with locked(f"{path}.lock"):
        found = identity_of(path)
        if found is not None and found == lost:
            aside = set_aside(path)
            logger.error(
                "%s is corrupt. It is renamed to %s and replaced by an empty file.", path, aside
            )
        if found in {lost, None}:
            make_new_file(database, path)
            logger.error("%s was created as an empty file.", path)
    check_files_again()


def may_be_sqlite(path: str) -> bool:
    """Return whether a file begins as SQLite's do. It is empty or zeroed after a power cut."""
    try:
        with Path(path).open("rb") as file:
            beginning = file.read(len(HEADER))
    except OSError:
        return True  # nobody can tell
    return beginning == HEADER or not beginning.strip(b"\0")


def set_aside_lost_file(path: str, lost: FileIdentity | None) -> None:
    """Rename a corrupt file, unless another thread or process has replaced it already."""
    with locked(f"{path}.lock"):
        if lost is not None and identity_of(path) == lost:
            aside = set_aside(path)
            logger.error("%s is corrupt. It is renamed to %s, and a new one made.", path, aside)
    check_files_again()


# As the migrations make it.
TABLE = (
    'CREATE TABLE IF NOT EXISTS "cachelayers_entry" ("id" integer NOT NULL PRIMARY KEY,'
    ' "full_key" BLOB NOT NULL, "expires" bigint NOT NULL, "used" bigint NOT NULL,'
    ' "format" smallint NOT NULL, "number" bigint NULL, "data" BLOB NULL)'
)
OWNER_ONLY = 0o600  # whoever writes pickles into it can run code


def make_private_file(path: str) -> None:
    """Make an empty file for this user alone, if there is none. SQLite's side files inherit this.

    Raises a database error on failure, as opening it would.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, OWNER_ONLY))
    except FileExistsError:
        return
    except OSError as error:
        raise sqlite3.OperationalError(str(error)) from error


def make_table(connection: sqlite3.Connection) -> None:
    """Make the table of entries, if it is missing. SQLite lets one of several processes do it.

    Raises a database error if the file is another program's.
    """
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if Entry._meta.db_table in tables:
        return
    if foreign := sorted(name for name in tables if not name.startswith(("sqlite_", OWN_TABLES))):
        raise sqlite3.OperationalError(f"the file is not a cache's: it has a table {foreign[0]!r}")
    connection.execute(TABLE).fetchall()


@contextmanager
def locked(path: str) -> Iterator[IO[str]]:
    """Hold a lock across all processes of this host, or raise BlockingIOError without waiting."""
    with Path(path).open("w") as file:
        if not locks.lock(file, locks.LOCK_EX | locks.LOCK_NB):
            raise BlockingIOError(f"another process makes {path.removesuffix('.lock')}")
        try:
            yield file
        finally:
            locks.unlock(file)


def set_aside(path: str) -> str:
    """Rename the file and its side files; return the new name. Only the newest of them are kept."""
    for older in Path(path).parent.glob(f"{escape(Path(path).name)}.corrupt-*"):
        older.unlink()
    aside = f"{path}.corrupt-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}"
    Path(path).rename(aside)
    for suffix in SIDE_FILES:
        with suppress(FileNotFoundError):
            Path(path + suffix).rename(aside + suffix)
    return aside


def make_new_file(database: str, path: str) -> None:
    """Migrate a file under another name, then move it to ``path``: nobody sees it incomplete."""
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
    """Point this thread's connection of a DATABASES alias at another file, within the block.

    The migration recorder uses the alias, even if it is given another connection.
    """
    usual = connections[database]
    if not usual.in_atomic_block:
        usual.close()  # it is on the file that was set aside
    connection = usual.copy()
    connection.settings_dict["NAME"] = path
    connections[database] = connection
    # Connect now and only once: a test that forbids queries on the alias means the site's file.
    connection.connect()
    connection.ensure_connection = do_nothing  # type: ignore[method-assign]
    try:
        yield connection
    finally:
        connection.close()
        connections[database] = usual


def do_nothing() -> None:
    """Replace a check whether a connection is open, for one that is."""
