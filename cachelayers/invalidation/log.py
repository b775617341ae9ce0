"""Read and write the log of one database, and remember in this process what was read.

Units of work and recalls read it; threads share it. Each entry is stored with a position: how far
the log had been read when the entry's data was read. An entry is valid as long as none of its tags
is in the log at or after its position.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.invalidation.dialects import Invisible
from cachelayers.invalidation.incarnations import (
    LogUnreadable,
    begin_anew,
    dialect_of,
    is_in_snapshot,
    mirrored_by,
    origin_of,
    replace_state,
)
from cachelayers.invalidation.own_statements import (
    execute_in_time,
    fetch_in_time,
    limited_transaction,
)
from cachelayers.invalidation.transactions import own_writes, transaction_of
from cachelayers.utils.answers import outside_event_loop
from cachelayers.utils.locks import ForkSafeLock

LoggedTag = tuple[str, int]


class TagFollower:
    """The tags that are new since they were last drained. ProcessLog adds them under its lock."""

    def __init__(self) -> None:
        """Before the first refresh, anything may have changed."""
        self._new: set[str] = set()
        self._everything = True
        # Rows at or above the watermark are read again: older ones may still be committed.
        self._seen: set[LoggedTag] = set()

    def add(self, rows: Iterable[LoggedTag], watermark: int, *, begins_anew: bool) -> None:
        """Add the rows of a refresh. ``begins_anew``: the log has a new incarnation."""
        found = set(rows)
        self._everything = self._everything or begins_anew
        self._new.update(tag for tag, _ in found - self._seen)
        self._seen = {(tag, position) for tag, position in found if position >= watermark}

    def new_tags(self) -> Sequence[str] | None:
        """Return the new tags. None: anything may have changed."""
        return None if self._everything else list(self._new)

    def clear(self) -> None:
        self._new, self._everything = set(), False


__all__ = [
    "NEVER",
    "Dependency",
    "LogUnreadable",
    "ProcessLog",
    "Reading",
    "begin_anew",
    "is_in_snapshot",
    "known_readings",
    "log_of",
    "logger",
    "write_tags",
    "write_tags_in_time",
]
logger = logging.getLogger("cachelayers.invalidation")

MOST_TAGS = 200_000  # in the memory of a process, about 30 MB; with more, the old ones are dropped
TAGS_PER_STATEMENT = 100
MOST_RENEWALS = 5  # of one log, by one process, per minute
NOTHING_INVISIBLE = Invisible(0)
NEVER = -1  # the position of a tag that is not in the log


class Reading(NamedTuple):
    """How far one statement has read the log. A unit of work keeps its first reading."""

    incarnation: str
    watermark: int


class Row(NamedTuple):
    """One row of a statement that reads the log. All columns but the last three describe it."""

    incarnation: str
    floor: int
    watermark: int
    origin: str
    current_origin: str  # where the connection leads
    snapshot: str | None
    is_blind: bool | None
    at: int | None
    tag: Any  # or None, or the number of a tag that was looked up
    position: int | None


class LogRow(NamedTuple):
    """A row of the log itself."""

    position: int
    at: int
    tag: str


class Mark(NamedTuple):
    """How far a log is known to reach. A restored log may reach as far again, with other rows."""

    watermark: int
    newest: LogRow | None

    def is_in(self, rows: Sequence[Row]) -> bool:
        """Return whether a later reading continues this log."""
        head, newest = rows[0], self.newest
        if head.watermark < self.watermark or newest is None:
            return head.watermark >= self.watermark
        for row in rows:
            if row.position == newest.position:
                return (row.at, row.tag) == (newest.at, newest.tag)
        # The row was pruned: for its age, or because a later row of the same tag makes it
        # redundant.
        return newest.position < head.floor or any(row.tag == newest.tag for row in rows)


def newest_of(rows: Sequence[Row]) -> LogRow | None:
    """Return the log row with the highest position."""
    return max(
        (LogRow(row.position, row.at, row.tag) for row in rows if row.position and row.at),
        default=None,
    )


class Dependency(NamedTuple):
    """Tags of one database's log, with the position at which their data was read."""

    database: str
    incarnation: str
    position: int
    tags: Sequence[str]


@dataclass(slots=True)
class Known:
    """What was read of one incarnation. It is replaced as a whole, so that no reader mixes two.

    ``last`` has every row at or above ``known_from``, except those of ``invisible``. Older rows are
    looked up when an older entry needs them, and remembered in ``older``.
    """

    incarnation: str
    known_from: int
    watermark: int
    floor: int
    invisible: Invisible = NOTHING_INVISIBLE
    last: dict[str, int] = field(default_factory=dict)
    older: dict[str, int] = field(default_factory=dict)
    newest: LogRow | None = None  # only where positions may be given again

    @property
    def mark(self) -> Mark:
        return Mark(self.watermark, self.newest)


class ProcessLog:
    """The last position of each tag, as far as this process has read the log."""

    may_be_pruned = True

    def __init__(self, database: str) -> None:
        self.database = database
        self.known: Known | None = None
        self.refreshed_at = float("-inf")  # of time.monotonic(), before the statement
        self._followers: list[TagFollower] = []
        self._renewals: list[float] = []  # the times of recent ones
        self._lock = ForkSafeLock()

    @property
    def reading(self) -> Reading | None:
        """Return how far this process has read."""
        known = self.known
        return None if known is None else Reading(known.incarnation, known.watermark)

    def refresh(self) -> Reading:
        """Read the new rows in one statement. Database errors are raised.

        Raises LogUnreadable where the log may not be read, or where reading it is of no use.
        """
        connection = connections[self.database]
        transaction = transaction_of(connection)
        if not transaction.is_open():
            own_writes.end(transaction)  # where its end was not noticed
        known, now = self.known, transaction.sees_as_of()
        mark = known and known.mark  # before the statement: other threads may read on
        rows = self._fetch(connection, known)
        if known and mark and not self._continues(connection, known, mark, rows):
            rows = self._fetch(connection, None)
        head, dialect = rows[0], dialect_of(connection)
        read = Known(
            head.incarnation,
            known_from=head.watermark,
            watermark=head.watermark,
            floor=head.floor,
            invisible=dialect.invisible(head.watermark, head.snapshot),
            newest=newest_of(rows) if dialect.gives_positions_again else None,
        )
        with self._lock:
            self._take(read, rows)
            self.refreshed_at = max(self.refreshed_at, now)
        return Reading(head.incarnation, head.watermark)

    def peek(self) -> list[str] | None:
        """Return the new tags without remembering them. None: the log has a new incarnation.

        For a transaction that has written: after a rollback, other rows may get the ids of its
        rows.
        """
        known = self.known
        if known is None:
            return None
        connection, invisible = connections[self.database], known.invisible
        rows = self._read(connection, known)
        if not rows or any(row.incarnation != known.incarnation for row in rows):
            return None
        return [row.tag for row in rows if row.position and invisible.holds(row.position)]

    def takes(self, tags: Sequence[str]) -> bool:
        """Return whether the tags of an invalidation are remembered here instead of written."""
        return False

    def follow(self) -> TagFollower:
        """Return a follower that collects new tags from now on."""
        with self._lock:
            self._followers.append(TagFollower())
            return self._followers[-1]

    def drain(self, follower: TagFollower, take: Callable[[Sequence[str] | None], None]) -> None:
        """Pass a follower's new tags to ``take`` (None: anything may have changed).

        They are cleared only after ``take`` has returned.
        """
        with self._lock:
            take(follower.new_tags())
            follower.clear()

    def is_unchanged_since(self, incarnation: str, position: int, tags: Sequence[str]) -> bool:
        """Return whether none of the tags has changed since a position.

        This takes a statement if the position is older than what this process has read.
        """
        known = self.known
        if known is None or incarnation != known.incarnation or position < known.floor:
            return False
        if position > known.watermark and not self._reaches(incarnation, position):
            return False
        last = known.last
        for tag in tags:
            if last.get(tag, NEVER) >= position:
                return False
        return position >= known.known_from or self._is_unchanged_before(known, position, tags)

    def is_recent(self, seconds: float) -> bool:
        """Return whether the log was read within a time, and after this process's last write."""
        read_at = self.refreshed_at
        return time.monotonic() - read_at <= seconds and own_writes.precede(read_at)

    def reaches(self, incarnation: str, position: int) -> bool:
        """Return whether this process has read this log as far as a position."""
        known = self.known
        return (
            known is not None and incarnation == known.incarnation and position <= known.watermark
        )

    def knows_since(self, position: int) -> bool:
        """Return whether is_unchanged_since() takes no statement for that position."""
        known = self.known
        return known is not None and known.known_from <= position <= known.watermark

    def is_invalidated(self, dependency: Dependency) -> bool:
        """Return whether an entry is already known to be invalid before it is stored."""
        known = self.known
        return (
            known is None
            or known.incarnation != dependency.incarnation
            or any(known.last.get(tag, NEVER) >= dependency.position for tag in dependency.tags)
        )

    def find_changed_tag(self, dependency: Dependency) -> str | None:
        """Return the tag that makes an entry invalid, as far as this process knows, or None."""
        known = self.known
        if known is None or known.incarnation != dependency.incarnation:
            return None
        for tag in dependency.tags:
            last = max(known.last.get(tag, NEVER), known.older.get(tag, NEVER))
            if last >= dependency.position:
                return tag
        return None

    def _reaches(self, incarnation: str, position: int) -> bool:
        """Read the log, and return whether it has come as far as another process has read it.

        If it has not, a backup was restored, and the log gets a new incarnation. Not within a
        transaction, which may see an older state.
        """
        connection = connections[self.database]
        reading = self.refresh()
        if reading.incarnation != incarnation:
            return False
        if reading.watermark >= position:
            return True
        if not is_in_snapshot(connection):
            self._renew(connection, reading.incarnation)
        return False

    def _is_unchanged_before(self, known: Known, position: int, tags: Sequence[str]) -> bool:
        """Do is_unchanged_since() for a position before this process began to read."""
        older = known.older
        found = {tag: older[tag] for tag in tags if tag in older}
        unknown = [tag for tag in tags if tag not in found]
        for start in range(0, len(unknown), TAGS_PER_STATEMENT):
            part = unknown[start : start + TAGS_PER_STATEMENT]
            rows = self._look_up(part)
            # The floor may have risen since the refresh, because rows were pruned.
            if not rows or any(row.incarnation != known.incarnation for row in rows):
                return False
            if rows[0].is_blind or position < rows[0].floor:
                return False
            positions = {part[number]: NEVER if at is None else at for *_, number, at in rows}
            found.update(positions)
            # An older snapshot, in the caller's transaction, may lack rows that this process knows.
            if rows[0].watermark >= known.known_from:
                self._remember_older(known, positions)
        return all(at < position for at in found.values())

    def _look_up(self, tags: Sequence[str]) -> list[Row]:
        connection = connections[self.database]
        return self._rows(connection, dialect_of(connection).look_up(len(tags)), tags)

    def _rows(
        self, connection: BaseDatabaseWrapper, statement: str, parameters: Sequence[Any]
    ) -> list[Row]:
        """Run a statement that reads the log, in a transaction that may read it."""
        rows = [Row(*row) for row in fetch_in_time(self.database, statement, parameters)]
        if rows and rows[0].is_blind and not is_in_snapshot(connection):
            # Autocommitted statements are serializable transactions by default here. This one is
            # not.
            with limited_transaction(connection), connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY")
                cursor.execute(statement, parameters)
                rows = [Row(*row) for row in cursor.fetchall()]
        return rows

    def _remember_older(self, known: Known, positions: dict[str, int]) -> None:
        with self._lock:
            if len(known.older) + len(positions) > MOST_TAGS:
                known.older = {}
            known.older.update(positions)

    def _read(self, connection: BaseDatabaseWrapper, known: Known | None) -> list[Row]:
        """Read the state, the watermark and the new rows."""
        dialect = dialect_of(connection)
        if known is None:
            return self._rows(connection, dialect.first_refresh, [])
        newest = known.newest.position if known.newest else known.invisible.start
        return self._rows(connection, dialect.refresh, dialect.new_since(known.invisible, newest))

    def _fetch(self, connection: BaseDatabaseWrapper, known: Known | None) -> list[Row]:
        """Read the same. Begin a new incarnation if the log is missing or another database's."""
        rows = self._read(connection, known)
        if not rows or not self._is_own_log(connection, rows):
            self._renew(connection, rows[0].incarnation if rows else "")
            rows = self._read(connection, None)
            if not rows or not self._is_own_log(connection, rows):
                raise LogUnreadable(
                    f"The log in DATABASES[{self.database!r}] is another database's, and cannot be"
                    " begun anew within this transaction."
                )
        if rows[0].is_blind:
            raise LogUnreadable(
                f"DATABASES[{self.database!r}]: nothing is cached within a transaction that is"
                " serializable, since to read the log in it would be a conflict with every write."
            )
        return rows

    def _is_own_log(self, connection: BaseDatabaseWrapper, rows: Sequence[Row]) -> bool:
        """Return whether there is one log, which was begun in this database.

        A log from a dump or a fixture stands beside ours, was begun elsewhere, or has positions
        that this server has not reached.
        """
        head, highest = rows[0], max(row.position or 0 for row in rows)
        is_copy = mirrored_by(connection) is not None  # its log was checked on the primary
        return (
            (is_copy or head.origin == origin_of(connection, head.current_origin))
            and all(row.incarnation == head.incarnation for row in rows)
            and not dialect_of(connection).is_beyond(head.floor, highest, head.snapshot)
        )

    def _renew(self, connection: BaseDatabaseWrapper, was: str) -> None:
        """Begin a new incarnation, unless another process has; at most MOST_RENEWALS a minute.

        Without that limit, two processes that disagree about their database would never stop.
        """
        if original := mirrored_by(connection):
            raise LogUnreadable(
                f"DATABASES[{self.database!r}] follows {original!r}, and has an older log."
            )
        now = time.monotonic()
        self._renewals = [at for at in self._renewals if now - at < 60]
        if len(self._renewals) >= MOST_RENEWALS:
            raise LogUnreadable(
                f"The log in DATABASES[{self.database!r}] was begun anew {MOST_RENEWALS} times"
                " within a minute. Do all processes reach the same database?"
            )
        self._renewals.append(now)
        if was:
            logger.warning(
                "DATABASES[%r]: its log was begun in another database, or goes back in time, as"
                " after a restore. It begins anew, and every entry made before is computed again.",
                self.database,
            )
        outside_event_loop(replace_state, self.database, was)

    def _continues(
        self, connection: BaseDatabaseWrapper, known: Known, mark: Mark, rows: Sequence[Row]
    ) -> bool:
        """Return whether the rows continue the known log.

        If the log went back in time, a backup was restored. Entries of the lost time may be in any
        cache, so the log gets a new incarnation, which makes them invalid.
        """
        if rows[0].incarnation != known.incarnation:
            return False
        if is_in_snapshot(connection) or mark.is_in(rows):
            return True
        # Another thread may have read later than this one's statement did.
        mark = known.mark
        rows = self._read(connection, known)
        is_same = bool(rows) and rows[0].incarnation == known.incarnation
        if is_same and mark.is_in(rows):
            return True
        if is_same:
            self._renew(connection, known.incarnation)
        return False

    def _take(self, read: Known, rows: Sequence[tuple[Any, ...]]) -> None:
        """Merge the rows of a refresh. Tags go before the watermark: a fork may come in between."""
        known = self.known
        begins_anew = known is None or known.incarnation != read.incarnation
        if known is None or begins_anew:
            known = read
        last = known.last
        invisible = NOTHING_INVISIBLE if begins_anew else known.invisible
        for *_, tag, position in rows:
            if tag is not None and position > last.get(tag, NEVER):
                last[tag] = position
        if read.newest and (known.newest is None or read.newest > known.newest):
            known.newest = read.newest
        known.floor = max(known.floor, read.floor)
        known.watermark = max(known.watermark, read.watermark)
        if read.invisible.is_within(known.invisible):  # an older statement must not replace it
            known.invisible = read.invisible
        if len(last) > MOST_TAGS:
            mark = known.watermark
            recent = {tag: position for tag, position in last.items() if position >= mark}
            known = Known(
                known.incarnation,
                mark,
                mark,
                known.floor,
                known.invisible,
                recent,
                newest=known.newest,
            )
        self.known = known
        for follower in self._followers:
            logged = (
                (tag, position)
                for *_, tag, position in rows
                if tag is not None and invisible.holds(position)
            )
            follower.add(logged, read.watermark, begins_anew=begins_anew)


def write_tags_in_time(connection: BaseDatabaseWrapper, tags: Sequence[str]) -> None:
    """Log tags within the time limit. The caller writes them again if this fails."""
    dialect = dialect_of(connection)
    for start in range(0, len(tags), TAGS_PER_STATEMENT):
        part = tags[start : start + TAGS_PER_STATEMENT]
        execute_in_time(connection.alias, dialect.insert(len(part)), part)


def write_tags(connection: BaseDatabaseWrapper, tags: Sequence[str]) -> None:
    """Log tags as part of the caller's write, and in its transaction if there is one."""
    dialect = dialect_of(connection)
    with connection.cursor() as cursor:
        for start in range(0, len(tags), TAGS_PER_STATEMENT):
            part = tags[start : start + TAGS_PER_STATEMENT]
            cursor.execute(dialect.insert(len(part)), part)


_logs: dict[str, ProcessLog] = {}


def log_of(database: str) -> ProcessLog:
    """Return this process's log of a DATABASES alias."""
    log = _logs.get(database)
    if log is None:
        log = _logs.setdefault(database, ProcessLog(database))
    return log


@contextmanager
def logs_replaced(replacements: Mapping[str, ProcessLog]) -> Iterator[None]:
    """Have the block use other logs, such as those of a test."""
    usual = {database: _logs.get(database) for database in replacements}
    _logs.update(replacements)
    try:
        yield
    finally:
        for database, log in usual.items():
            _logs.pop(database, None)
            if log is not None:
                _logs[database] = log


def known_readings() -> dict[str, Reading]:
    """Return how far this process has read each log. A unit of work begins with these readings."""
    return {
        database: reading
        for database, log in list(_logs.items())
        if (reading := log.reading) is not None
    }
