"""What this process knows of the log of one database. Read by units and recall, shared by threads.

A position is stored with every entry: how far the log had been read when its data was read. An
entry is valid as long as none of its tags is in the log at or after its position.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import uuid4

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.conf import package_settings
from cachelayers.invalidation.bounded import execute_in_time, fetch_in_time
from cachelayers.invalidation.dialects import STATE, Dialect, dialect_for
from cachelayers.invalidation.following import TagFollower
from cachelayers.invalidation.transactions import transaction_of
from cachelayers.locks import ForkSafeLock

logger = logging.getLogger("cachelayers.invalidation")

MOST_TAGS = 200_000  # remembered by a process, some 30 MB; beyond, all are forgotten
TAGS_PER_STATEMENT = 100
NEVER = -1  # the position of a tag that is not in the log


class Reading(NamedTuple):
    """How far one statement has read the log: what a unit of work freezes."""

    incarnation: str
    watermark: int


class Dependency(NamedTuple):
    """The tags of one database's log, with the position at which their data was read."""

    database: str
    incarnation: str
    position: int
    tags: Sequence[str]


@dataclass(slots=True)
class Known:
    """What has been read of one incarnation. Replaced as a whole, so that no reader mixes two.

    Every row at or above ``known_from`` that the last refresh could see is in ``last``. What is
    older is looked up when an older entry asks for it, and remembered in ``older``.
    """

    incarnation: str
    known_from: int
    watermark: int
    floor: int
    last: dict[str, int] = field(default_factory=dict)
    older: dict[str, int] = field(default_factory=dict)


class ProcessLog:
    """The last position of each tag, as far as this process has read the log."""

    def __init__(self, database: str) -> None:
        """Know nothing yet."""
        self.database = database
        self.known: Known | None = None
        self.refreshed_at = float("-inf")  # of time.monotonic(), before the statement
        self._followers: list[TagFollower] = []
        self._lock = ForkSafeLock()

    @property
    def reading(self) -> Reading | None:
        """Return how far this process has read."""
        known = self.known
        return None if known is None else Reading(known.incarnation, known.watermark)

    def refresh(self) -> Reading:
        """Read what is new, in one statement; raise what the database raises."""
        connection = connections[self.database]
        known, now = self.known, transaction_of(connection).sees_as_of()
        rows = self._fetch(connection, known)
        if known is not None and not self._continues(connection, known, rows[0]):
            rows = self._fetch(connection, None)
        incarnation, floor, watermark = rows[0][:3]
        with self._lock:
            self._take(Known(incarnation, watermark, watermark, floor), rows)
            self.refreshed_at = max(self.refreshed_at, now)
        return Reading(incarnation, watermark)

    def peek(self) -> list[str] | None:
        """Return the tags at or above the watermark without taking them for read.

        For a transaction that has written: the ids of its rows may be given to others after a
        rollback. None: it is another log.
        """
        known = self.known
        if known is None:
            return None
        rows = self._fetch(connections[self.database], known)
        if rows[0][0] != known.incarnation:
            return None
        return [tag for *_, tag, _ in rows if tag is not None]

    def follow(self) -> TagFollower:
        """Return what gathers new tags from now on."""
        with self._lock:
            self._followers.append(TagFollower())
            return self._followers[-1]

    def empty(self, follower: TagFollower, take: Callable[[Sequence[str] | None], None]) -> None:
        """Give ``take`` the tags that a follower has gathered; None: anything may have changed.

        They are forgotten when it has come to its end.
        """
        with self._lock:
            take(follower.gathered())
            follower.forget()

    def vouches_for(self, incarnation: str, position: int, tags: Sequence[str]) -> bool:
        """Tell whether nothing that the tags name has changed since a position.

        Takes a statement where the position is older than what this process has read.
        """
        known = self.known
        if known is None or incarnation != known.incarnation or position < known.floor:
            return False
        if position > known.watermark and not self._reaches(position):
            return False
        last = known.last
        for tag in tags:
            if last.get(tag, NEVER) >= position:
                return False
        return position >= known.known_from or self._vouches_before(known, position, tags)

    def knows_since(self, position: int) -> bool:
        """Tell whether vouching for an entry of that position takes no statement."""
        known = self.known
        return known is not None and known.known_from <= position <= known.watermark

    def is_overtaken(self, dependency: Dependency) -> bool:
        """Tell, of what is known already, whether an entry is invalid before it is stored."""
        known = self.known
        return (
            known is None
            or known.incarnation != dependency.incarnation
            or any(known.last.get(tag, NEVER) >= dependency.position for tag in dependency.tags)
        )

    def find_overtaking(self, dependency: Dependency) -> str | None:
        """Return the tag that makes an entry invalid; None: it is not known, or not a tag at all.

        Of what is known already: for those who ask afterwards.
        """
        known = self.known
        if known is None or known.incarnation != dependency.incarnation:
            return None
        for tag in dependency.tags:
            last = max(known.last.get(tag, NEVER), known.older.get(tag, NEVER))
            if last >= dependency.position:
                return tag
        return None

    def _reaches(self, position: int) -> bool:
        """Tell whether the log has come as far as another process has read it.

        If it has not, a backup was restored, and it is made a new log.
        """
        connection = connections[self.database]
        if is_in_snapshot(connection) or self.refresh().watermark >= position:
            return True
        begin_anew(connection)
        return False

    def _vouches_before(self, known: Known, position: int, tags: Sequence[str]) -> bool:
        """Tell the same of a time before this process began to read."""
        older = known.older
        found = {tag: older[tag] for tag in tags if tag in older}
        unknown = [tag for tag in tags if tag not in found]
        for start in range(0, len(unknown), TAGS_PER_STATEMENT):
            part = unknown[start : start + TAGS_PER_STATEMENT]
            rows = self._look_up(part)
            # The floor may have risen since the refresh, and with it rows have gone.
            if not rows or rows[0][0] != known.incarnation or position < rows[0][1]:
                return False
            positions = {part[number]: NEVER if at is None else at for *_, number, at in rows}
            found.update(positions)
            # An older snapshot, within the caller's transaction, may lack what this process knows.
            if rows[0][2] >= known.known_from:
                self._remember_older(known, positions)
        return all(at < position for at in found.values())

    def _look_up(self, tags: Sequence[str]) -> list[tuple[Any, ...]]:
        statement = self._dialect(connections[self.database]).look_up(len(tags))
        return fetch_in_time(self.database, statement, tags)

    def _remember_older(self, known: Known, positions: dict[str, int]) -> None:
        with self._lock:
            if len(known.older) + len(positions) > MOST_TAGS:
                known.older = {}
            known.older.update(positions)

    def _fetch(self, connection: BaseDatabaseWrapper, known: Known | None) -> list[tuple[Any, ...]]:
        """Read state, watermark and the rows that are new; begin the log where there is none."""
        dialect = self._dialect(connection)
        statement = dialect.refresh if known else dialect.first_refresh
        for _ in range(2):
            parameters = [known.watermark] if known else []
            if rows := fetch_in_time(self.database, statement, parameters):
                return rows
            write_state(connection, dialect)
        raise LookupError(f"{STATE} of DATABASES[{self.database!r}] cannot be written.")

    def _continues(
        self, connection: BaseDatabaseWrapper, known: Known, row: tuple[Any, ...]
    ) -> bool:
        """Tell whether this is still the log that was known.

        Where its positions ran backwards a backup was restored. Entries of the lost time may be
        anywhere, so it is made a new log, for which none of them counts.
        """
        if row[0] != known.incarnation:
            return False
        if row[2] >= known.watermark or is_in_snapshot(connection):
            return True
        # Another thread may merely have read later than this one's statement did.
        incarnation, _, watermark = self._fetch(connection, None)[0][:3]
        if incarnation == known.incarnation and watermark >= known.watermark:
            return True
        if incarnation == known.incarnation:
            begin_anew(connection)
        return False

    def _take(self, read: Known, rows: Sequence[tuple[Any, ...]]) -> None:
        """Merge what a refresh has read. Tags before the watermark: a fork may come in between."""
        known = self.known
        begins_anew = known is None or known.incarnation != read.incarnation
        if known is None or begins_anew:
            known = read
        last = known.last
        for _, _, _, tag, position in rows:
            if tag is not None and position > last.get(tag, NEVER):
                last[tag] = position
        known.floor = max(known.floor, read.floor)
        known.watermark = max(known.watermark, read.watermark)
        if len(last) > MOST_TAGS:
            mark = known.watermark
            kept = {tag: position for tag, position in last.items() if position >= mark}
            known = Known(known.incarnation, mark, mark, known.floor, kept)
        self.known = known
        for follower in self._followers:
            logged = ((tag, position) for *_, tag, position in rows if tag is not None)
            follower.take(logged, read.watermark, begins_anew=begins_anew)

    def _dialect(self, connection: BaseDatabaseWrapper) -> Dialect:
        return dialect_for(connection.vendor, package_settings().LATE_COMMIT_SECONDS)


def is_in_snapshot(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether statements may see an older state than the present one."""
    return connection.in_atomic_block or not connection.get_autocommit()


def write_tags_in_time(connection: BaseDatabaseWrapper, tags: Sequence[str]) -> None:
    """Log tags that are told again where that fails."""
    dialect = dialect_for(connection.vendor, package_settings().LATE_COMMIT_SECONDS)
    for start in range(0, len(tags), TAGS_PER_STATEMENT):
        part = tags[start : start + TAGS_PER_STATEMENT]
        execute_in_time(connection.alias, dialect.insert(len(part)), part)


def write_tags(connection: BaseDatabaseWrapper, tags: Sequence[str]) -> None:
    """Log tags, in the caller's transaction if there is one; a part of what the caller writes."""
    dialect = dialect_for(connection.vendor, package_settings().LATE_COMMIT_SECONDS)
    with connection.cursor() as cursor:
        for start in range(0, len(tags), TAGS_PER_STATEMENT):
            part = tags[start : start + TAGS_PER_STATEMENT]
            cursor.execute(dialect.insert(len(part)), part)


def write_state(connection: BaseDatabaseWrapper, dialect: Dialect) -> None:
    """Begin a log that has no state: a new one, or one that was flushed."""
    with transaction.atomic(connection.alias), connection.cursor() as cursor:
        cursor.execute(dialect.new_state, [uuid4().hex])


def ensure_state(connection: BaseDatabaseWrapper) -> None:
    """Have a log with a state: `flush` empties its table too."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT 1 FROM {STATE} WHERE id = 1")
        if cursor.fetchall():
            return
    write_state(connection, dialect_for(connection.vendor, 0))


def begin_anew(connection: BaseDatabaseWrapper) -> None:
    """Give the log a new incarnation, which makes every entry invalid.

    Its floor is the ground: one of a lost time would lift the watermark above ids still to come.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {STATE} SET incarnation = %s, floor = 0 WHERE id = 1", [uuid4().hex]
        )


_logs: dict[str, ProcessLog] = {}


def log_of(database: str) -> ProcessLog:
    """Return this process's log of a DATABASES alias."""
    log = _logs.get(database)
    if log is None:
        log = _logs.setdefault(database, ProcessLog(database))
    return log


def known_readings() -> dict[str, Reading]:
    """Return how far this process has read each log: what a unit of work begins with."""
    return {
        database: reading
        for database, log in list(_logs.items())
        if (reading := log.reading) is not None
    }
