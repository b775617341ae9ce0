"""Give each process of a test run an SQLite file of its own. Used by sessions.

A test runner makes test databases for the aliases that tests name, which is "default" alone for
most. Without this, a test that calls ``cache.clear()`` would empty the cache of the site.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from django.db import connections

from cachelayers.conf import is_own_database
from cachelayers.test_runs import is_test_run

_names_of_site: dict[str, str] = {}  # by alias, before any test runner has changed them
_names_given: dict[str, str] = {}  # by alias, by keep_apart() in this process or its parent
_folders: list[Path] = []  # the one of the process that gave the first name


def remember_names() -> None:
    """Remember the databases that the settings name. Called once, when Django has started."""
    _names_of_site.update(
        {alias: str(configured["NAME"]) for alias, configured in connections.settings.items()}
    )


def keep_apart(database: str) -> None:
    """In a test run, point an alias at a file of this process's own.

    Only where it still names the site's own SQLite file, which holds the cache alone. A TEST NAME
    that is the same as NAME says that the file is there for tests.
    """
    if is_test_run() and names_file_of_site(database):
        give_file(database)


def names_file_of_site(database: str) -> bool:
    """Tell whether an alias names an SQLite file that is no test's."""
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


def give_file(database: str) -> None:
    """Point an alias at a new file, as Django's runner does; what was open is closed first."""
    if not _folders:
        folder = Path(tempfile.mkdtemp(prefix="cachelayers-test-"))
        _folders.append(folder)
        atexit.register(remove_folder, folder, os.getpid())
    path = str(_folders[0] / f"{database}-{os.getpid()}.sqlite3")
    connections[database].close()
    connections.settings[database]["NAME"] = _names_given[database] = path
    connections[database].settings_dict["NAME"] = path


def give_files_to_child() -> None:
    """After a fork: a runner's workers share no entries."""
    for database in _names_given:
        give_file(database)


def remove_folder(folder: Path, owner: int) -> None:
    """Remove the files when the process ends that gave the first, not when a child of it does."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


os.register_at_fork(after_in_child=give_files_to_child)
