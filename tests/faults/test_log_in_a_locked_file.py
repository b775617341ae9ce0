"""If another process has locked the log's SQLite file, the wait is at most LOG_SECONDS."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connections
from django.test import override_settings

from cachelayers.invalidation.log import log_of
from tests.faults.conftest import OpenCache, seconds_of, sqlite_settings
from tests.state import reset

LOG_SECONDS = 0.3


def test_a_locked_file_is_waited_for_as_long_as_is_allowed(
    open_cache: OpenCache, sqlite_path: Path
) -> None:
    open_cache("locked-log", sqlite_settings(sqlite_path))
    connection = connections["locked-log"]
    connection.cursor().execute("PRAGMA journal_mode = DELETE")
    reset("invalidation.own_statements")
    holder = sqlite3.connect(sqlite_path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")

    def read() -> None:
        with pytest.raises(Exception, match="locked"):
            log_of("locked-log").refresh()

    with override_settings(CACHELAYERS={**settings.CACHELAYERS, "LOG_SECONDS": LOG_SECONDS}):
        took = seconds_of(read)

    holder.close()
    reset("invalidation.own_statements")
    assert LOG_SECONDS * 0.9 < took < LOG_SECONDS + 2
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout")
        assert cursor.fetchone() == (5000,)
