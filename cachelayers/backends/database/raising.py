"""RaisingTable, the table of entries for a LayeredCache: errors are raised, not turned into misses.

``layered.layers.table`` uses its entries, ``layered.bus`` its events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from random import randrange
from typing import Any, NamedTuple, TypeVar

from cachelayers.backends.database.base import MISS, TableCache, now_ms
from cachelayers.backends.database.faults import DATABASE_ERRORS, Fault, fault_of
from cachelayers.backends.database.guard import FAILED, Failed, Guard
from cachelayers.backends.database.lock_rows import LockRow
from cachelayers.backends.database.sessions import FileSession, Session, Sessions
from cachelayers.backends.database.table import NEVER_MS, Row
from cachelayers.backends.locking import Lock
from cachelayers.entries import LARGEST_INT64, SMALLEST_INT64, RowKey
from cachelayers.exceptions import CacheUnavailable, NotNow
from cachelayers.locations import place_of
from cachelayers.utils.sizes import note_size, running_measurements

TABLE = "cachelayers_event"
COLUMNS = "id, cache, process, name"
CREATION = (
    f"CREATE TABLE IF NOT EXISTS {TABLE} (id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " cache TEXT NOT NULL, process TEXT NOT NULL, name TEXT NOT NULL)"
)
INSERTION = f"INSERT INTO {TABLE} (cache, process, name) VALUES "
DELETION = f"DELETE FROM {TABLE} WHERE id <= (SELECT MAX(id) FROM {TABLE}) - %s"
ROWS_KEPT = 20_000
ONE_IN = 500  # of the writes, on average, deletes the surplus rows
ROWS_PER_STATEMENT = 300  # of three columns, within the 999 parameters of older builds

EventRows = Sequence[tuple[str, str, str]]  # cache, process and name of each event

Answer = TypeVar("Answer")


class Event(NamedTuple):
    """One name that a process has changed."""

    id: int
    cache: str
    process: str
    name: str


class Events:
    """The table of events. Every method raises CacheUnavailable if it fails."""

    def __init__(self, sessions: Sessions, guard: Guard) -> None:
        """``sessions`` and ``guard`` are those of the entries, which all threads share."""
        self._sessions, self._guard = sessions, guard
        self.database = sessions.database

    def read(self, first: int, most: int) -> list[Event]:
        """Return up to ``most`` events from an id on."""
        statement = f"SELECT {COLUMNS} FROM {TABLE} WHERE id >= %s ORDER BY id LIMIT {most:d}"
        rows = self._run(lambda session: session.fetch(with_marks(session, statement), [first]))
        return [Event(*row) for row in rows]

    def newest(self) -> Event | None:
        """Return the newest event, or None."""
        statement = f"SELECT {COLUMNS} FROM {TABLE} ORDER BY id DESC LIMIT 1"
        rows = self._run(lambda session: session.fetch(statement, []))
        return Event(*rows[0]) if rows else None

    def write(self, rows: EventRows) -> None:
        """Write events, unless a write to this file has just timed out."""
        if self._guard.attempt("publish", write_events, self._sessions.current(), rows) is FAILED:
            raise CacheUnavailable("An event could not be written to the cache's file")

    def _run(self, operation: Callable[[Session], Answer]) -> Answer:
        try:
            return with_table(self._sessions.current(), operation)
        except DATABASE_ERRORS as error:
            raise CacheUnavailable(f"The events in the cache's file failed: {error}") from error


def with_table(session: Session, operation: Callable[[Session], Answer]) -> Answer:
    """Run an operation on the events; first make a missing table."""
    try:
        return operation(session)
    except DATABASE_ERRORS as error:
        if fault_of(error) is not Fault.MISSING_TABLE:
            raise
        session.write(CREATION, [])
        return operation(session)


def write_events(session: Session, rows: EventRows) -> None:
    """Write events, and sometimes delete the oldest."""
    for start in range(0, len(rows), ROWS_PER_STATEMENT):
        part = rows[start : start + ROWS_PER_STATEMENT]
        statement = with_marks(session, INSERTION + ", ".join(["(%s, %s, %s)"] * len(part)))
        values = [one for row in part for one in row]
        with_table(session, lambda session: session.write(statement, values))  # noqa: B023
    if not randrange(ONE_IN):  # noqa: S311 - not a secret
        session.write(with_marks(session, DELETION), [ROWS_KEPT])


def with_marks(session: Session, statement: str) -> str:
    """Return a statement with the placeholders of a session's driver."""
    return statement.replace("%s", "?") if isinstance(session, FileSession) else statement


# Others have changed nothing if they return one of UNDONE.
ALWAYS_PUBLISHED = frozenset({"delete", "delete_many", "set_many"})
UNDONE: tuple[Any, ...] = (None, False, FAILED)


class TimedValue(NamedTuple):
    """A value and its expiry in milliseconds since 1970. NEVER_MS: no expiry."""

    value: Any
    expires_ms: int


class RaisingTable(TableCache):
    """The entries of one alias. Every method raises CacheUnavailable if it fails.

    ``events``: rows that are committed together with a change.
    """

    def read_entries(self, keys: Sequence[str]) -> dict[str, TimedValue]:
        """Return the live entries."""
        row_keys = {key: self._row_key(key, None) for key in keys}
        rows = self._carry_out("get_many", self._rows, list(row_keys.values()))
        if self._notes_reads:
            for row_key in row_keys.values():
                self._note_read(row_key)
        return {key: rows[row_key.key] for key, row_key in row_keys.items() if row_key.key in rows}

    def _rows(self, row_keys: list[RowKey]) -> dict[bytes, TimedValue]:
        found = {}
        for row in self._table.read_many(row_keys, now_ms()):
            value = self._unpacked(*row)
            if value is not MISS:
                found[row[0]] = TimedValue(value, row[1])
        return found

    def write_entries(self, entries: Mapping[str, TimedValue], events: EventRows = ()) -> None:
        """Write entries; existing ones are overwritten."""
        rows = [self._row_of_timed_value(key, timed) for key, timed in entries.items()]
        self._carry_out("set_many", self._write_rows, rows, events=events)
        if running_measurements:
            for timed, row in zip(entries.values(), rows, strict=True):
                note_size(timed.value, row.value_bytes)

    def _write_rows(self, rows: list[Row]) -> None:
        if len(rows) == 1:
            self._table.write(rows[0])
            self._guard.after_write(rows)
            return
        for chunk in self._table.write_many(rows):
            self._guard.after_write(chunk)

    def add_entry(self, key: str, timed: TimedValue, events: EventRows = ()) -> bool:
        """Write an entry if there is no live one."""
        row = self._row_of_timed_value(key, timed)
        is_added = self._carry_out("add", self._table.add, row, row.used, events=events)
        if is_added:
            self._guard.after_write([row])
        return is_added

    def replace_value(self, key: str, old: TimedValue, new: Any) -> bool:
        """Replace the value of a live entry if it still has the old one; the expiry stays."""
        row_key = self._row_key(key, None)
        packed = [self._pack(row_key.key, value, old.expires_ms) for value in (old.value, new)]
        return self._carry_out("set", self._table.replace, row_key, *packed, now_ms())

    def touch_entry(self, key: str, expires_ms: int, events: EventRows = ()) -> bool:
        """Give a live entry another expiry."""
        row_key = self._row_key(key, None)
        return bool(self._carry_out("touch", self._touch_row, row_key, expires_ms, events=events))

    def delete_entry(self, key: str, events: EventRows = ()) -> bool:
        """Delete an entry; return whether there was one."""
        row_key = self._row_key(key, None)
        return self._carry_out("delete", self._table.delete, row_key, events=events)

    def delete_entries(self, keys: Sequence[str], events: EventRows = ()) -> None:
        ids = [self._row_key(key, None).id for key in keys]
        self._carry_out("delete_many", self._table.delete_ids, ids, events=events)

    def increment(self, key: str, delta: Any, events: EventRows = ()) -> Any:
        """Add to a live number and return the sum; None: there is no such entry."""
        row_key = self._row_key(key, None)
        total = None
        is_plain = type(delta) is int and SMALLEST_INT64 < delta <= LARGEST_INT64
        if is_plain and not self._packer.signed:
            parameters = (row_key, delta, now_ms())
            total = self._carry_out("incr", self._table.increment, *parameters, events=events)
        if total is None:
            replace = self._increment_by_replacing
            total = self._carry_out("incr", replace, row_key, delta, events=events)
        if total is FAILED:
            raise CacheUnavailable(f"CACHES[{self.alias!r}]: others kept replacing a number.")
        return total

    def overwrite_entry(self, key: str, timed: TimedValue, events: EventRows = ()) -> bool:
        """Write an entry if there is a live one."""
        row = self._row_of_timed_value(key, timed)
        overwrite = self._table.overwrite
        is_stored = self._carry_out("set", overwrite, row, row.used, events=events)
        if is_stored:
            self._guard.after_write([row])
        return is_stored

    def find_keys(self, start: str, size: int) -> Iterator[list[tuple[str, int]]]:
        """Yield pages of the live keys that begin with ``start``, and when they expire."""
        made = self.make_key(start).encode("utf-8", "surrogatepass")
        at: int | None = self._table.id_range.first
        while at is not None:
            rows, at = self._carry_out("get_many", self._table.live_keys, made, at, size, now_ms())
            yield [(start + row.key[len(made) :].decode(), row.expires) for row in rows]

    def _make_lock(self, key: str, **options: Any) -> Lock:
        return Lock(LockRow(self, key, partial(self._carry_out, "set")), key, **options)

    def delete_prefix(self, prefix: str) -> None:
        """Delete the entries whose key begins with ``prefix``."""
        made = self.make_key(prefix).encode("utf-8", "surrogatepass")
        self._carry_out("delete_many", self._table.delete_all, made)

    def delete_unused(self, prefix: str, seconds: float) -> int:
        """Delete the entries whose key begins so and that were unused for so long; count them."""
        made = self.make_key(prefix).encode("utf-8", "surrogatepass")
        until = now_ms() - round(seconds * 1000)
        return self._carry_out("delete_many", self._table.delete_all, made, NEVER_MS, until)

    def events(self) -> Events | None:
        """Return the events in the entries' file; None: it is not the cache's own SQLite file."""
        sessions = self._table.sessions
        return Events(sessions, self._guard) if sessions.have_own_file else None

    @property
    def database(self) -> str:
        """Return the alias of the table's database, or the path of its file."""
        return self._table.database

    def is_in_transaction(self) -> bool:
        """Return whether operations are part of the caller's transaction."""
        return self._table.is_in_transaction()

    def describe(self) -> dict[str, int]:
        """Return the number of entries, expired ones too; with MAX_BYTES, also their bytes."""
        return self._carry_out("get_many", self._table.describe, self._evictor.max_bytes)

    def _row_of_timed_value(self, key: str, timed: TimedValue) -> Row:
        return self._row(self._row_key(key, None), timed.value, timed.expires_ms)

    def _carry_out(
        self,
        name: str,
        operation: Callable[..., Answer],
        *arguments: Any,
        events: EventRows = (),
    ) -> Answer:
        if events:
            operation, arguments = self._with_events, (name, events, operation, *arguments)
        if self._table.sessions.are_in_broken_transaction():
            raise NotNow(f"{name}: the transaction in {place_of(self.database)} is broken")
        answer: Answer | Failed = self._attempt(name, self._within_limits, operation, *arguments)
        if answer is FAILED:
            raise CacheUnavailable(f"{name} failed in {place_of(self.database)}")
        return answer

    def _with_events(
        self, name: str, events: EventRows, operation: Callable[..., Answer], *arguments: Any
    ) -> Answer:
        """Run an operation and write events, in one transaction. A needless event is left out."""
        session = self._table.sessions.current()
        with session.together():
            answer = operation(*arguments)
            is_undone = any(answer is one for one in UNDONE)  # by identity: 0 is a sum
            if name in ALWAYS_PUBLISHED or not is_undone:
                write_events(session, events)
            return answer

    def _within_limits(self, operation: Callable[..., Answer], *arguments: Any) -> Answer:
        """Run an operation; a read-only transaction does not count as an outage of the table."""
        try:
            return operation(*arguments)
        except DATABASE_ERRORS as error:
            if self.is_in_transaction() and fault_of(error) is Fault.READ_ONLY:
                raise NotNow("The transaction is read-only.") from error
            raise
