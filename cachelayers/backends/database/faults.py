"""Name the errors a database may raise, and tell what each one asks for. Used by the sessions."""

from __future__ import annotations

import sqlite3
from enum import Enum, auto

import django.db

# Everything that a database or its driver raises, whether Django has wrapped it or not.
DATABASE_ERRORS = (django.db.Error, sqlite3.Error)


class Fault(Enum):
    """What an error means for the cache."""

    CONFLICT = auto()  # deadlock, serialisation failure: at once worth another try
    MISSING_TABLE = auto()
    CORRUPT = auto()  # the file is no database any more, or not a sound one
    NO_FILE = auto()  # SQLite cannot open the file; it may be gone
    LOCKED = auto()  # somebody else held it for longer than the time limit
    READ_ONLY = auto()  # the transaction is
    OTHER = auto()  # down, full, read-only, too large ...


SQLITE_FAULTS = {
    sqlite3.SQLITE_CORRUPT: Fault.CORRUPT,
    sqlite3.SQLITE_NOTADB: Fault.CORRUPT,
    sqlite3.SQLITE_CANTOPEN: Fault.NO_FILE,
    sqlite3.SQLITE_READONLY: Fault.READ_ONLY,  # PRAGMA query_only, or the file itself
    sqlite3.SQLITE_BUSY: Fault.LOCKED,
    # Not BUSY: another connection of this process to a database in memory, for which SQLite's
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
    """Return what ``error``, or the driver's error behind it, means."""
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
    """Return what an SQLite error means; a missing table has no code, only its text."""
    if "no such table" in str(error):
        return Fault.MISSING_TABLE
    # The extended code's low byte is the primary one, e.g. SQLITE_CORRUPT_INDEX -> CORRUPT.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return SQLITE_FAULTS.get(code, Fault.OTHER)
