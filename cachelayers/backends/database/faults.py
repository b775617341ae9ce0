"""Classify the errors that a database may raise.

Sessions and the guard use it to decide between a retry, a new file and a miss.
"""

from __future__ import annotations

import sqlite3
from enum import Enum, auto

import django.db

# All errors of a database or its driver, wrapped by Django or not.
DATABASE_ERRORS = (django.db.Error, sqlite3.Error)


class Fault(Enum):
    """What an error means for the cache."""

    CONFLICT = auto()  # deadlock, serialisation failure: retry at once
    MISSING_TABLE = auto()
    CORRUPT = auto()  # the file is not a database, or is damaged
    NO_FILE = auto()  # SQLite cannot open the file; it may be missing
    LOCKED = auto()  # a lock was not released within the time limit
    READ_ONLY = auto()  # the transaction is read-only
    OTHER = auto()  # server down, disk full, database read-only, value too large ...


SQLITE_FAULTS = {
    sqlite3.SQLITE_CORRUPT: Fault.CORRUPT,
    sqlite3.SQLITE_NOTADB: Fault.CORRUPT,
    sqlite3.SQLITE_CANTOPEN: Fault.NO_FILE,
    sqlite3.SQLITE_READONLY: Fault.READ_ONLY,  # PRAGMA query_only, or the file itself
    sqlite3.SQLITE_BUSY: Fault.LOCKED,
    # Not BUSY: another connection of this process holds a database in memory, for which SQLite's
    # busy time-out does not wait.
    sqlite3.SQLITE_LOCKED: Fault.CONFLICT,
}
# https://www.postgresql.org/docs/current/errcodes-appendix.html
POSTGRES_FAULTS = {
    "40001": Fault.CONFLICT,  # serialization_failure
    "40P01": Fault.CONFLICT,  # deadlock_detected
    "42P01": Fault.MISSING_TABLE,  # undefined_table
    "25006": Fault.READ_ONLY,  # read_only_sql_transaction
    "57014": Fault.LOCKED,  # query_canceled: the statement's time limit
    "55P03": Fault.LOCKED,  # lock_not_available: the lock's time limit
}
# https://mariadb.com/docs/server/reference/error-codes
MYSQL_FAULTS = {
    1213: Fault.CONFLICT,  # ER_LOCK_DEADLOCK
    1020: Fault.CONFLICT,  # ER_CHECKREAD: MariaDB's snapshot isolation
    1146: Fault.MISSING_TABLE,  # ER_NO_SUCH_TABLE
    1792: Fault.READ_ONLY,  # ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION
    1205: Fault.LOCKED,  # ER_LOCK_WAIT_TIMEOUT
    1969: Fault.LOCKED,  # ER_STATEMENT_TIMEOUT (MariaDB)
    3024: Fault.LOCKED,  # ER_QUERY_TIMEOUT (MySQL)
}


def fault_of(error: BaseException) -> Fault:
    """Return the fault that ``error``, or the driver's error behind it, means."""
    driver_error = error.__cause__ if isinstance(error, django.db.Error) else error
    if isinstance(driver_error, sqlite3.Error):
        return sqlite_fault_of(driver_error)
    # psycopg 3 calls it sqlstate, psycopg 2 pgcode.
    state = getattr(driver_error, "sqlstate", None) or getattr(driver_error, "pgcode", None)
    if state is not None:
        return POSTGRES_FAULTS.get(state, Fault.OTHER)
    number = error.args[0] if error.args else None
    return MYSQL_FAULTS.get(number, Fault.OTHER) if isinstance(number, int) else Fault.OTHER


def sqlite_fault_of(error: sqlite3.Error) -> Fault:
    """Return the fault of an SQLite error. A missing table has no error code, only a text."""
    if "no such table" in str(error):
        return Fault.MISSING_TABLE
    # The extended code's low byte is the primary code, e.g. SQLITE_CORRUPT_INDEX -> CORRUPT.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return SQLITE_FAULTS.get(code, Fault.OTHER)
