"""All SQL of the entries' table, per vendor. Every value is a parameter, never part of the text.

``table`` runs it. Each operation is one statement that finds its rows by the primary key. None
counts rows before a write, unlike Django's backend: COUNT(*) reads the whole table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from django.db.backends.base.base import BaseDatabaseWrapper

COLUMNS = ("id", "full_key", "expires", "used", "format", "number", "data")
POSTGRES_TYPES = ("bigint", "bytea", "bigint", "bigint", "smallint", "bigint", "bytea")
WRITTEN = COLUMNS[1:]  # columns that an overwrite replaces
ROW_OVERHEAD_BYTES = 64  # a row's approximate overhead beside its key and value, on each database


class Statements:
    """The statements that SQLite and PostgreSQL share; ``mark`` is the driver's placeholder."""

    # The function for the number of bytes of a blob.
    length = "LENGTH"
    # Whether ``increment`` returns the sum as a row; else it is the statement's insert id.
    returns_rows = True

    def __init__(self, table: str, mark: str) -> None:
        """Build the statements of a fixed shape once. ``table`` comes quoted."""
        self.table, self.mark = table, mark
        here = f"id = {mark} AND full_key = {mark}"
        here_and_alive = f"{here} AND expires > {mark}"
        between = f"id BETWEEN {mark} AND {mark}"
        alive = f"id = {mark} AND expires > {mark}"
        self.read = f"SELECT full_key, expires, format, number, data FROM {table} WHERE {alive}"
        self.expiry = f"SELECT full_key, expires FROM {table} WHERE {alive}"
        self.upsert_one = self.upsert(1)
        # The number of times that ``add`` takes the current time, after the row.
        self.nows_in_add = 1
        self.add = self.insert(1) + self.on_conflict_replace_expired()
        self.touch = f"UPDATE {table} SET expires = {mark}, used = {mark} WHERE {here_and_alive}"
        self.touch_signed = (
            f"UPDATE {table} SET expires = {mark}, used = {mark}, data = {mark}"
            f" WHERE {here_and_alive} AND data = {mark}"
        )
        self.delete = f"DELETE FROM {table} WHERE {here}"
        self.increment = self.increment_where(here_and_alive)
        self.replace_data = (
            f"UPDATE {table} SET used = {mark}, format = {mark}, number = {mark}, data = {mark}"
            f" WHERE {here_and_alive} AND format = {mark} AND (number = {mark} OR data = {mark})"
        )
        written = ", ".join(f"{column} = {mark}" for column in WRITTEN[1:])
        self.overwrite = f"UPDATE {table} SET {written} WHERE {here_and_alive}"
        self.exchange = (
            f"UPDATE {table} SET {written} WHERE {here}"
            f" AND format = {mark} AND (number = {mark} OR data = {mark})"
        )
        # SUBSTR, not LIKE: wildcards, case and bytes in LIKE differ between the vendors.
        in_range = (
            f"{between} AND expires <= {mark} AND used <= {mark}"
            f" AND SUBSTR(full_key, 1, {mark}) = {mark}"
        )
        self.delete_range = f"DELETE FROM {table} WHERE {in_range}"
        self.count_range = f"SELECT COUNT(*) FROM {table} WHERE {in_range}"
        self.measure_range = f"SELECT COUNT(*), SUM({self.size()}) FROM {table} WHERE {in_range}"
        self.search = (
            f"SELECT id, full_key, expires, used, format, {self.size()} FROM {table}"
            f" WHERE {between} AND {self.contains()} ORDER BY id LIMIT {mark}"
        )
        self.last_id_of_page = (
            f"SELECT id FROM {table} WHERE {between} ORDER BY id LIMIT 1 OFFSET {mark}"
        )
        self.keys_in_page = (
            f"SELECT id, full_key, expires FROM {table} WHERE {between} AND expires > {mark}"
            f" AND SUBSTR(full_key, 1, {mark}) = {mark} ORDER BY id"
        )
        self.read_row = (
            f"SELECT full_key, expires, used, format, number, data FROM {table} WHERE id = {mark}"
        )
        self.slice = (
            f"SELECT id, expires, used, {self.size()} FROM {table}"
            f" WHERE {between} AND SUBSTR(full_key, 1, {mark}) = {mark} ORDER BY id LIMIT {mark}"
        )

    def contains(self) -> str:
        """Return a condition: a key contains some bytes, from a position on."""
        return f"INSTR(SUBSTR(full_key, {self.mark}), {self.mark}) > 0"

    def contained(self, text: bytes, start: int) -> tuple[Any, ...]:
        """Return the parameters of contains(); the first byte has the number 1."""
        return start, text

    def insert(self, rows: int) -> str:
        """Return the beginning of an insert of ``rows`` rows."""
        row = f"({', '.join([self.mark] * len(COLUMNS))})"
        return f"INSERT INTO {self.table} ({', '.join(COLUMNS)}) VALUES {', '.join([row] * rows)}"

    def upsert(self, rows: int) -> str:
        """Return a statement that writes ``rows`` rows and overwrites existing ones."""
        written = ", ".join(f"{column} = excluded.{column}" for column in WRITTEN)
        return f"{self.insert(rows)} ON CONFLICT (id) DO UPDATE SET {written}"

    def on_conflict_replace_expired(self) -> str:
        """Return the clause with which an insert replaces an expired or colliding row."""
        written = ", ".join(f"{column} = excluded.{column}" for column in WRITTEN)
        return (
            f" ON CONFLICT (id) DO UPDATE SET {written}"
            f" WHERE {self.table}.expires <= {self.mark}"
            f" OR {self.table}.full_key <> excluded.full_key"
        )

    def increment_where(self, here_and_alive: str) -> str:
        """Return a statement that adds to a number within bounds, and returns the sum."""
        mark = self.mark
        return (
            f"UPDATE {self.table} SET number = number + {mark}, used = {mark}"
            f" WHERE {here_and_alive} AND number BETWEEN {mark} AND {mark} RETURNING number"
        )

    def among(self, ids: Sequence[int]) -> tuple[str, list[Any]]:
        """Return a condition on a list of ids, and its parameters."""
        # Padded to a power of two with the last id: a dozen different texts in all, which fit into
        # the driver's cache of prepared statements.
        padded = [*ids, *[ids[-1]] * ((1 << (len(ids) - 1).bit_length()) - len(ids))]
        return f"id IN ({', '.join([self.mark] * len(padded))})", padded

    def read_many(self, ids: Sequence[int]) -> tuple[str, list[Any]]:
        """Return the statement for a bulk read; the caller appends the current time."""
        condition, parameters = self.among(ids)
        statement = (
            f"SELECT id, full_key, expires, format, number, data FROM {self.table}"
            f" WHERE {condition} AND expires > {self.mark}"
        )
        return statement, parameters

    def among_locked(self, ids: Sequence[int]) -> tuple[str, list[Any]]:
        """Return the condition for a bulk write, which must lock its rows in the order of ids.

        SQLite has no row locks, and InnoDB reads a list of primary keys in their order.
        """
        return self.among(ids)

    def delete_many(self, ids: Sequence[int]) -> tuple[str, list[Any]]:
        """Return the statement for a bulk delete. It deletes colliding keys too: a miss."""
        condition, parameters = self.among_locked(ids)
        return f"DELETE FROM {self.table} WHERE {condition}", parameters

    def delete_unused(self, ids: Sequence[int]) -> tuple[str, list[Any]]:
        """Return a bulk delete that spares rows used since a time, which the caller appends."""
        statement, parameters = self.delete_many(ids)
        return f"{statement} AND used < {self.mark}", parameters

    def note_used(self, ids: Sequence[int]) -> tuple[str, list[Any]]:
        """Return the statement that marks rows as read; the time comes before and after the ids."""
        condition, parameters = self.among_locked(ids)
        statement = f"UPDATE {self.table} SET used = {self.mark} WHERE {condition}"
        return f"{statement} AND used < {self.mark}", parameters

    def size(self) -> str:
        """Return the expression for a row's share of MAX_BYTES."""
        length = self.length
        return f"{length}(full_key) + COALESCE({length}(data), 8) + {ROW_OVERHEAD_BYTES}"


class PostgresStatements(Statements):
    """PostgreSQL: arrays instead of lists."""

    length = "OCTET_LENGTH"

    def contains(self) -> str:
        """Return the condition in standard SQL, which names the text first."""
        return f"POSITION({self.mark}::bytea IN SUBSTR(full_key, {self.mark})) > 0"

    def contained(self, text: bytes, start: int) -> tuple[Any, ...]:
        return text, start

    def __init__(self, table: str, mark: str) -> None:
        """Add the bulk upsert whose parameters are one binary array for each column."""
        super().__init__(table, mark)
        arrays = ", ".join(f"%b::{type_}[]" for type_ in POSTGRES_TYPES)
        written = ", ".join(f"{column} = excluded.{column}" for column in WRITTEN)
        self.upsert_columns = (
            f"INSERT INTO {table} ({', '.join(COLUMNS)}) SELECT * FROM unnest({arrays})"
            f" ON CONFLICT (id) DO UPDATE SET {written}"
        )

    def among(self, ids: Sequence[int]) -> tuple[str, list[Any]]:
        """Return a condition on one array: a single parameter, whatever its length."""
        return f"id = ANY({self.mark})", [list(ids)]

    def among_locked(self, ids: Sequence[int]) -> tuple[str, list[Any]]:
        """Return the condition with the rows locked first, in the order of their ids.

        DELETE and UPDATE lock rows in the order of the scan; two that overlap would deadlock.
        """
        condition, parameters = self.among(ids)
        locked = f"SELECT id FROM {self.table} WHERE {condition} ORDER BY id FOR UPDATE"
        return f"id = ANY(ARRAY({locked}))", parameters


class MySQLStatements(Statements):
    """MariaDB and MySQL: ON DUPLICATE KEY UPDATE, and LAST_INSERT_ID() in place of RETURNING."""

    length = "OCTET_LENGTH"
    returns_rows = False

    def __init__(self, table: str, mark: str, *, is_mariadb: bool) -> None:
        """MySQL from 8.0.19 on names the new row; MariaDB only has VALUES()."""
        self.is_mariadb = is_mariadb
        super().__init__(table, mark)
        self.nows_in_add = self.add.count(mark) - len(COLUMNS)

    def insert(self, rows: int) -> str:
        """Return the beginning of an insert, with an alias for the new rows on MySQL."""
        head = super().insert(rows)
        return head if self.is_mariadb else f"{head} AS incoming"

    def new(self, column: str) -> str:
        """Return the expression for a column of the row that is being inserted."""
        return f"VALUES({column})" if self.is_mariadb else f"incoming.{column}"

    def upsert(self, rows: int) -> str:
        written = ", ".join(f"{column} = {self.new(column)}" for column in WRITTEN)
        return f"{self.insert(rows)} ON DUPLICATE KEY UPDATE {written}"

    def on_conflict_replace_expired(self) -> str:
        """Return the clause, with the result in the statement's insert id.

        Assignments run from left to right and use the results of earlier ones, so ``expires`` and
        ``full_key``, which the condition reads, come last. An insert and an update that changes
        nothing both report one row (Django sets CLIENT.FOUND_ROWS), so a row that stays sets
        LAST_INSERT_ID to 1.
        """
        table = self.table
        is_replaceable = (
            f"({table}.expires <= {self.mark} OR {table}.full_key <> {self.new('full_key')})"
        )
        kept = ("used", "format", "number", "data")
        written = [
            f"{column} = IF({is_replaceable}, {self.new(column)}, {table}.{column})"
            for column in kept
        ]
        written.append(
            f"expires = IF({is_replaceable}, {self.new('expires')},"
            f" {table}.expires + 0 * LAST_INSERT_ID(1))"
        )
        # Unconditional: another key's row counts as absent, and an equal key does not change.
        written.append(f"full_key = {self.new('full_key')}")
        return f" ON DUPLICATE KEY UPDATE {', '.join(written)}"

    def increment_where(self, here_and_alive: str) -> str:
        """Return a statement that leaves the sum in the statement's insert id.

        LAST_INSERT_ID is unsigned: without the cast a sum below zero is out of range.
        """
        mark = self.mark
        return (
            f"UPDATE {self.table} SET"
            f" number = CAST(LAST_INSERT_ID(number + {mark}) AS SIGNED), used = {mark}"
            f" WHERE {here_and_alive} AND number BETWEEN {mark} AND {mark}"
        )


def statements_for(connection: BaseDatabaseWrapper, table: str, mark: str = "%s") -> Statements:
    """Return the statements for the vendor of ``connection``."""
    quoted = connection.ops.quote_name(table)
    if connection.vendor == "postgresql":
        return PostgresStatements(quoted, mark)
    if connection.vendor == "mysql":
        is_mariadb = cast(Any, connection).mysql_is_mariadb
        return MySQLStatements(quoted, mark, is_mariadb=is_mariadb)
    return Statements(quoted, mark)


def flatten(rows: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Return the values of all rows as the parameters of one statement."""
    return [value for row in rows for value in row]
