"""The operations on the table of entries, in terms of rows: each is one statement.

Called by the cache through ``guard``. It has no Python values, and lets every database error
through.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, cast

from cachelayers.backends.database.sessions import sessions_on
from cachelayers.entries import LARGEST_INT64, SMALLEST_INT64, IdRange, PackedValue, RowKey

# Bounds of one bulk statement. 7 columns x 128 rows and 512 ids stay below the 999 parameters of
# older SQLite builds; 1 MiB stays far below MySQL's smallest max_allowed_packet (4 MiB).
ROWS_PER_STATEMENT = 128
IDS_PER_STATEMENT = 512
BYTES_PER_STATEMENT = 2**20

# the expiry of an entry without one; a number, so that no condition needs NULL
NEVER_MS = 2**63 - 1

NUMBER_BYTES = 8

StoredEntry = tuple[bytes, int, int, int | None, bytes | None]  # key, expires, format ...


class Row(NamedTuple):
    """A row to write, in the order of ``statements.COLUMNS``. Times in milliseconds."""

    id: int
    key: bytes
    expires: int
    used: int
    format: int
    number: int | None
    data: bytes | None

    @property
    def value_bytes(self) -> int:
        """Return how many bytes the value takes."""
        return NUMBER_BYTES if self.data is None else len(self.data)


class SampledRow(NamedTuple):
    """The columns of a row that eviction reads. Times in milliseconds."""

    id: int
    expires: int
    used: int
    bytes: int


class ListedRow(NamedTuple):
    """The columns of a row in an operator's list. Times in milliseconds."""

    id: int
    key: bytes
    expires: int
    used: int
    format: int
    bytes: int


class FoundKey(NamedTuple):
    """The columns of a row that a search reads. ``expires`` in milliseconds."""

    id: int
    key: bytes
    expires: int


class WholeRow(NamedTuple):
    """A row as it is stored. Times in milliseconds."""

    key: bytes
    expires: int
    used: int
    format: int
    number: int | None
    data: bytes | None


class EntryTable:
    """The rows of one cache alias in one database."""

    def __init__(self, database: str, id_range: IdRange, key_head: bytes, busy_seconds: float):
        """``database``: a DATABASES alias, or a path. Nothing is opened before the first use."""
        self.database = database
        self.id_range = id_range
        self.key_head = key_head
        self.sessions = sessions_on(database, busy_seconds)

    def read(self, row_key: RowKey, now_ms: int) -> StoredEntry | None:
        """Return key, expiry, format, number and data of a live entry, or None."""
        row_id, key = row_key
        session = self.sessions.current()
        for row in session.fetch(session.sql.read, (row_id, now_ms)):
            if row[0] == key:
                return cast(StoredEntry, row)
        return None

    def read_many(self, row_keys: Iterable[RowKey], now_ms: int) -> Iterator[StoredEntry]:
        """Yield key, expiry, format, number and data of the live entries among ``row_keys``."""
        keys = dict(row_keys)
        session = self.sessions.current()
        for ids in chunks(list(keys), IDS_PER_STATEMENT):
            statement, parameters = session.sql.read_many(ids)
            for row_id, *row in session.fetch(statement, [*parameters, now_ms]):
                if row[0] == keys[row_id]:
                    yield cast(StoredEntry, row)

    def expiry(self, row_key: RowKey, now_ms: int) -> int | None:
        """Return when a live entry expires, or None."""
        session = self.sessions.current()
        rows = session.fetch(session.sql.expiry, (row_key.id, now_ms))
        return next((expires for key, expires in rows if key == row_key.key), None)

    def exists(self, row_key: RowKey, now_ms: int) -> bool:
        """Return whether there is a live entry."""
        return self.expiry(row_key, now_ms) is not None

    def write(self, row: Row) -> None:
        """Write a row; an existing one is overwritten."""
        session = self.sessions.current()
        session.write(session.sql.upsert_one, row)

    def write_many(self, rows: Iterable[Row]) -> Iterator[list[Row]]:
        """Write rows and overwrite existing ones; yield each chunk after it is written.

        Sorted by id: two unordered multi-row upserts can deadlock each other.
        """
        session = self.sessions.current()
        # By id: of two keys that collide the last one wins, as in separate writes.
        unique = {row.id: row for row in rows}
        for chunk in chunks_by_bytes([unique[id_] for id_ in sorted(unique)]):
            session.write_rows(chunk)
            yield chunk

    def add(self, row: Row, now_ms: int) -> bool:
        """Write a row if its key has no live entry; return whether it was written."""
        session = self.sessions.current()
        done = session.write(session.sql.add, (*row, *(now_ms,) * session.sql.nows_in_add))
        return done.rows > 0 and done.insert_id == 0

    def overwrite(self, row: Row, now_ms: int) -> bool:
        """Write a row if its key has a live entry; return whether it was written."""
        session = self.sessions.current()
        id_, key, *written = row
        return session.write(session.sql.overwrite, (*written, id_, key, now_ms)).rows > 0

    def exchange(self, row: Row, old: PackedValue) -> bool:
        """Write a row, with its times, if the existing one still has the old value."""
        session = self.sessions.current()
        id_, key, *written = row
        return session.write(session.sql.exchange, (*written, id_, key, *old)).rows > 0

    def touch(self, row_key: RowKey, expires: int, now_ms: int) -> bool:
        """Give a live entry a new expiry; return whether there was one."""
        session = self.sessions.current()
        return session.write(session.sql.touch, (expires, now_ms, *row_key, now_ms)).rows > 0

    def touch_signed(
        self, row_key: RowKey, expires: int, old: bytes | None, new: bytes, now_ms: int
    ) -> bool:
        """Run touch() with new data, if a live entry still has the old data."""
        session = self.sessions.current()
        parameters = (expires, now_ms, new, *row_key, now_ms, old)
        return session.write(session.sql.touch_signed, parameters).rows > 0

    def delete(self, row_key: RowKey) -> bool:
        """Delete the row of a key, expired or not; return whether there was one."""
        session = self.sessions.current()
        return session.write(session.sql.delete, row_key).rows > 0

    def delete_ids(self, ids: Iterable[int]) -> int:
        """Delete rows by their ids, sorted as in ``write_many``; return how many."""
        session = self.sessions.current()
        return sum(
            session.write(*session.sql.delete_many(chunk)).rows
            for chunk in chunks(sorted(set(ids)), IDS_PER_STATEMENT)
        )

    def increment(self, row_key: RowKey, delta: int, now_ms: int) -> int | None:
        """Add to a live integer and return the sum.

        None: there is no such number, or the sum would leave 64 bits.
        """
        lowest, highest = SMALLEST_INT64 - min(delta, 0), LARGEST_INT64 - max(delta, 0)
        parameters = (delta, now_ms, *row_key, now_ms, lowest, highest)
        session = self.sessions.current()
        if session.sql.returns_rows:
            return next(
                (total for (total,) in session.fetch(session.sql.increment, parameters)), None
            )
        done = session.write(session.sql.increment, parameters)
        return done.insert_id if done.rows else None

    def replace(self, row_key: RowKey, old: PackedValue, new: PackedValue, now_ms: int) -> bool:
        """Replace a live entry's value if it still has the old one; return whether it had."""
        session = self.sessions.current()
        parameters = (now_ms, *new, *row_key, now_ms, *old)
        return session.write(session.sql.replace_data, parameters).rows > 0

    def delete_all(
        self, key_prefix: bytes, expired_at_ms: int = NEVER_MS, used_until_ms: int = NEVER_MS
    ) -> int:
        """Delete the alias's rows that begin with ``key_prefix``; count them.

        Only rows that expire by one time, and were last used by another.
        """
        session = self.sessions.current()
        parameters = self.range_parameters(key_prefix, expired_at_ms, used_until_ms)
        return session.write(session.sql.delete_range, parameters, in_bulk=True).rows

    def count(
        self, key_prefix: bytes, expired_at_ms: int = NEVER_MS, used_until_ms: int = NEVER_MS
    ) -> int:
        """Count the rows that ``delete_all`` would delete. Reads the alias's whole range."""
        session = self.sessions.current()
        parameters = self.range_parameters(key_prefix, expired_at_ms, used_until_ms)
        [(number,)] = session.fetch(session.sql.count_range, parameters, in_bulk=True)
        return int(number)

    def describe(self, max_bytes: int | None) -> dict[str, int]:
        """Return the number of the alias's rows; with a bound, also their share of it."""
        if max_bytes is None:
            return {"entries": self.count(b"")}
        session = self.sessions.current()
        parameters = self.range_parameters(b"", NEVER_MS, NEVER_MS)
        [(rows, size)] = session.fetch(session.sql.measure_range, parameters, in_bulk=True)
        return {"entries": int(rows), "bytes": int(size or 0), "max_bytes": max_bytes}

    def range_parameters(
        self, key_prefix: bytes, expired_at_ms: int, used_until_ms: int
    ) -> tuple[Any, ...]:
        """Return the parameters of a statement about the alias's range."""
        prefix = self.key_head + key_prefix
        first, last = self.id_range.first, self.id_range.last
        return first, last, expired_at_ms, used_until_ms, len(prefix), prefix

    def sample(self, first_id: int, rows: int) -> list[SampledRow]:
        """Return up to ``rows`` rows from ``first_id`` on, in the order of their ids.

        Of this alias only: of 4,096 ranges of ids, another alias may have the same one.
        """
        session = self.sessions.current()
        head = self.key_head
        parameters = (first_id, self.id_range.last, len(head), head, rows)
        found = session.fetch(session.sql.slice, parameters)
        return [SampledRow(*row) for row in found]

    def search(self, text: bytes, first_id: int, rows: int) -> list[ListedRow]:
        """Return up to ``rows`` rows from ``first_id`` on with ``text`` in the key without alias.

        Reads the alias's range until enough rows are found.
        """
        session = self.sessions.current()
        contained = session.sql.contained(text, len(self.key_head) + 1)
        parameters = (max(first_id, self.id_range.first), self.id_range.last, *contained, rows)
        found = session.fetch(session.sql.search, parameters, in_bulk=True)
        return [ListedRow(*row) for row in found if row[1].startswith(self.key_head)]

    def live_keys(
        self, start: bytes, first_id: int, rows: int, now_ms: int
    ) -> tuple[list[FoundKey], int | None]:
        """Look at up to ``rows`` rows from ``first_id`` on.

        Return the live ones whose key without alias begins with ``start``, and the id at which to
        go on; None: these were the last rows.
        """
        session = self.sessions.current()
        first, last = max(first_id, self.id_range.first), self.id_range.last
        ends = session.fetch(session.sql.last_id_of_page, (first, last, rows - 1))
        end = ends[0][0] if ends else last
        prefix = self.key_head + start
        found = session.fetch(session.sql.keys_in_page, (first, end, now_ms, len(prefix), prefix))
        head = len(self.key_head)
        keys = [FoundKey(id_, key[head:], expires) for id_, key, expires in found]
        return keys, end + 1 if ends and end < last else None

    def read_row(self, row_id: int) -> WholeRow | None:
        """Return the row of an id, expired or not; None: it is missing, or another alias's."""
        session = self.sessions.current()
        found = [WholeRow(*row) for row in session.fetch(session.sql.read_row, (row_id,))]
        return next((row for row in found if row.key.startswith(self.key_head)), None)

    def delete_unused(self, ids: Sequence[int], since_ms: int) -> int:
        """Delete rows that were not used since a time; return how many."""
        session = self.sessions.current()
        deleted = 0
        for chunk in chunks(sorted(ids), IDS_PER_STATEMENT):
            statement, parameters = session.sql.delete_unused(chunk)
            deleted += session.write(statement, [*parameters, since_ms]).rows
        return deleted

    def note_used(self, ids: Sequence[int], now_ms: int) -> None:
        """Mark rows as read."""
        session = self.sessions.current()
        for chunk in chunks(sorted(ids), IDS_PER_STATEMENT):
            statement, parameters = session.sql.note_used(chunk)
            session.write(statement, [now_ms, *parameters, now_ms])

    def is_in_transaction(self) -> bool:
        """Return whether operations are part of the caller's transaction."""
        return self.sessions.is_in_transaction()


def chunks(ids: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """Cut a sequence into pieces of at most ``size``."""
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


def chunks_by_bytes(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Cut rows into lists that fit one statement; a row too large for that goes alone."""
    chunk: list[Row] = []
    chunk_bytes = 0
    for row in rows:
        row_bytes = len(row.key) + len(row.data or b"")
        if chunk and (
            len(chunk) == ROWS_PER_STATEMENT or chunk_bytes + row_bytes > BYTES_PER_STATEMENT
        ):
            yield chunk
            chunk, chunk_bytes = [], 0
        chunk.append(row)
        chunk_bytes += row_bytes
    if chunk:
        yield chunk
