"""Put a new, empty SQLite file in the place of a missing or corrupt one of the cache's own.

Called by guard. Everything in it can be computed again, so a new file is the whole repair; a
corrupt one is set aside for whoever wants to know what happened.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import IO

from django.core.files import locks
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor

from cachelayers.backends.database.sqlite_file import (
    FileIdentity,
    identity_of,
    look_at_files_again,
    plain_path_of,
)
from cachelayers.models import Entry

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
    look_at_files_again()


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
