"""The lower bound: the database's driver called directly, on the same table layout as ours.

No versions, key checks, fault handling or bounds: only the cost of the database itself. ``peers``
lists it beside the caches.
"""

from __future__ import annotations

import importlib
import pickle
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

INT, STR, PICKLE = 0, 2, 3

COLUMNS = {
    "sqlite": "id integer PRIMARY KEY, {key} blob NOT NULL, expires bigint NOT NULL, "
    "used bigint NOT NULL, format smallint NOT NULL, number bigint NULL, data blob NULL",
    "postgres": "id bigint PRIMARY KEY, {key} bytea NOT NULL, expires bigint NOT NULL, "
    "used bigint NOT NULL, format smallint NOT NULL, number bigint NULL, data bytea NULL",
    "mariadb": "id bigint PRIMARY KEY, {key} longblob NOT NULL, expires bigint NOT NULL, "
    "used bigint NOT NULL, format smallint NOT NULL, number bigint NULL, data longblob NULL",
}
WRITTEN = ("key", "expires", "used", "format", "number", "data")


class BareDriver(ABC):
    """The measured operations, in one plain statement each. Subclasses provide the driver.

    Its methods have the names and results of Django's caches.
    """

    vendor: str
    mark = "%s"
    key_column = "key"

    def __init__(self) -> None:
        table, key, mark = "bare_entry", self.key_column, self.mark
        row = f"({', '.join([mark] * 7)})"
        self.row = row
        self.create_sql = f"CREATE TABLE {table} ({COLUMNS[self.vendor].format(key=key)})"
        self.drop_sql = f"DROP TABLE IF EXISTS {table}"
        read = f"SELECT id, {key}, expires, format, number, data FROM {table} WHERE id "
        self.get_sql, self.get_many_sql = f"{read}= {mark}", f"{read}IN "
        self.insert_sql = f"INSERT INTO {table} VALUES "
        self.overwrite_sql = self.build_overwrite_sql(key)
        self.set_sql = self.insert_sql + row + self.overwrite_sql
        self.add_sql = self.build_add_sql(table, row)
        self.delete_sql = f"DELETE FROM {table} WHERE id = {mark}"
        self.incr_sql = self.build_incr_sql(table)
        self.touch_sql = f"UPDATE {table} SET expires = {mark} WHERE id = {mark}"

    def build_overwrite_sql(self, key: str) -> str:
        columns = ", ".join(f"{name} = excluded.{name}" for name in WRITTEN)
        return f" ON CONFLICT (id) DO UPDATE SET {columns}"

    def build_add_sql(self, table: str, row: str) -> str:
        expired = f" WHERE {table}.expires <= excluded.used"
        return self.insert_sql + row + self.overwrite_sql + expired

    def build_incr_sql(self, table: str) -> str:
        return f"UPDATE {table} SET number = number + 1 WHERE id = {self.mark} RETURNING number"

    @abstractmethod
    def read(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        """Run a statement and return its rows."""

    @abstractmethod
    def write(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement and return the number of changed rows."""

    def create_table(self) -> None:
        """Make the table anew."""
        self.write(self.drop_sql)
        self.write(self.create_sql)

    def clear(self) -> None:
        self.create_table()

    def get(self, key: str) -> Any:
        """Return the value, or None."""
        made_key = make_key(key)
        for _id, stored_key, expires, form, number, data in self.read(
            self.get_sql, (hash_of(made_key),)
        ):
            if bytes(stored_key) == made_key and expires > milliseconds():
                return unpack(form, number, data)
        return None

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values found, by key."""
        keys_by_id = {hash_of(make_key(key)): key for key in keys}
        marks = ", ".join([self.mark] * len(keys_by_id))
        now = milliseconds()
        return {
            keys_by_id[row[0]]: unpack(row[3], row[4], row[5])
            for row in self.read(f"{self.get_many_sql}({marks})", list(keys_by_id))
            if bytes(row[1]) == make_key(keys_by_id[row[0]]) and row[2] > now
        }

    def set(self, key: str, value: Any, timeout: int) -> None:
        self.write(self.set_sql, pack(key, value, timeout))

    def set_many(self, values: Mapping[str, Any], timeout: int) -> list[str]:
        """Write many values in one statement, which is atomic."""
        # Sorted, as ours: rows that are adjacent in the B-tree are written one after another.
        rows = sorted(pack(key, value, timeout) for key, value in values.items())
        marks = ", ".join([self.row] * len(rows))
        self.write(
            self.insert_sql + marks + self.overwrite_sql, [column for row in rows for column in row]
        )
        return []

    def add(self, key: str, value: Any, timeout: int) -> bool:
        """Write a value if there is none."""
        return self.write(self.add_sql, pack(key, value, timeout)) == 1

    def delete(self, key: str) -> bool:
        """Delete a value; return whether there was one."""
        return self.write(self.delete_sql, (hash_of(make_key(key)),)) == 1

    def incr(self, key: str) -> int:
        """Add one to a number."""
        return int(self.read(self.incr_sql, (hash_of(make_key(key)),))[0][0])

    def touch(self, key: str, timeout: int) -> bool:
        """Change the expiry; return whether there was a value."""
        expires = milliseconds() + timeout * 1000
        return self.write(self.touch_sql, (expires, hash_of(make_key(key)))) == 1


class BareSqlite(BareDriver):
    """The standard library's sqlite3, in WAL mode, with autocommit."""

    vendor = "sqlite"
    mark = "?"

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute("PRAGMA synchronous=NORMAL")

    def read(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        return self.connection.execute(sql, parameters).fetchall()

    def write(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        return self.connection.execute(sql, parameters).rowcount


class BarePostgres(BareDriver):
    """psycopg with autocommit."""

    vendor = "postgres"

    def __init__(self, port: int, database: str) -> None:
        """Connect as Django would, without Django."""
        super().__init__()
        psycopg: Any = importlib.import_module("psycopg")
        self.connection = psycopg.connect(
            host="127.0.0.1", port=port, dbname=database, user="postgres", autocommit=True
        )
        self.cursor = self.connection.cursor()

    def read(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        self.cursor.execute(sql, parameters)
        return list(self.cursor.fetchall())

    def write(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        self.cursor.execute(sql, parameters)
        return int(self.cursor.rowcount)


class BareMariaDB(BareDriver):
    """MySQLdb with autocommit."""

    vendor = "mariadb"
    key_column = "`key`"

    def __init__(self, port: int, database: str) -> None:
        """Connect as Django would, without Django."""
        super().__init__()
        driver: Any = importlib.import_module("MySQLdb")
        self.connection = driver.connect(
            host="127.0.0.1", port=port, db=database, user="root", charset="utf8mb4"
        )
        self.connection.autocommit(True)
        self.cursor = self.connection.cursor()

    def build_overwrite_sql(self, key: str) -> str:
        columns = ", ".join(f"`{name}` = VALUES(`{name}`)" for name in WRITTEN)
        return f" ON DUPLICATE KEY UPDATE {columns}"

    def build_add_sql(self, table: str, row: str) -> str:
        # Simpler than the others: an expired row would stay. No row expires in a run.
        return f"INSERT IGNORE INTO {table} VALUES {row}"

    def build_incr_sql(self, table: str) -> str:
        return f"UPDATE {table} SET number = LAST_INSERT_ID(number + 1) WHERE id = {self.mark}"

    def read(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        self.cursor.execute(sql, parameters)
        return list(self.cursor.fetchall())

    def write(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        return int(self.cursor.execute(sql, parameters))

    def incr(self, key: str) -> int:
        """Add one to a number; MariaDB has no UPDATE ... RETURNING."""
        self.write(self.incr_sql, (hash_of(make_key(key)),))
        return int(self.connection.insert_id())


def make_key(key: str) -> bytes:
    return f":1:{key}".encode()


def hash_of(made_key: bytes) -> int:
    return int.from_bytes(blake2b(made_key, digest_size=8).digest(), "big", signed=True)


def milliseconds() -> int:
    return int(time.time() * 1000)


def pack(key: str, value: Any, timeout: int) -> tuple[Any, ...]:
    made_key = make_key(key)
    now = milliseconds()
    head = (hash_of(made_key), made_key, now + timeout * 1000, now)
    if type(value) is int:
        return (*head, INT, value, None)
    if type(value) is str:
        return (*head, STR, None, value.encode())
    return (*head, PICKLE, None, pickle.dumps(value, pickle.HIGHEST_PROTOCOL))


def unpack(form: int, number: int | None, data: Any) -> Any:
    if form == INT:
        return number
    if form == STR:
        return str(data, "utf-8")
    return pickle.loads(data)
