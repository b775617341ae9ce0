"""The SQL of the log, one dialect per vendor.

`log`, `incarnations` and `prune` run these statements.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from django.utils.functional import cached_property

from cachelayers.models import Invalidation, LogState

LOG = Invalidation._meta.db_table
STATE = LogState._meta.db_table
# Milliseconds since 1970 by the server's clock, at the moment of the statement or later. With the
# start of a long statement, its rows would look settled before they are.
NOW_MS = {
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
    "postgresql": "(extract(epoch FROM clock_timestamp()) * 1000)::bigint",
    "mysql": "CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS SIGNED)",
}


HIGHEST = 2**63 - 1  # the highest position


class Invisible(NamedTuple):
    """The rows that a reading could not see: those from ``start`` on and those of ``positions``."""

    start: int
    positions: tuple[int, ...] = ()

    def is_within(self, other: Invisible) -> bool:
        """Return whether every row that is invisible here is invisible in ``other`` too."""
        return self.start >= other.start and all(
            other.holds(position) for position in self.positions
        )

    def holds(self, position: int) -> bool:
        """Return whether the rows of a position are invisible."""
        return position >= self.start or position in self.positions


class Dialect:
    """SQLite: writers are serial, so every row up to the last id has been committed."""

    vendor = "sqlite"
    position = "id"
    watermark = f"(SELECT COALESCE(MAX(id), 0) + 1 FROM {LOG})"
    # An index that begins with the tag and the empty position ends with the id.
    same_tag = "tag = %s AND position IS NULL"
    new = "id >= %s"
    from_watermark = f"id >= {watermark} - 1"
    key: tuple[str, ...] = ("id",)  # unique together
    ignore = ""
    # Which server and database this is, as far as SQL can tell. `current_origin` may read the state
    # `s`, and equals its origin where that still fits.
    new_origin = current_origin = "''"
    snapshot = "NULL"
    is_blind = "NULL"  # SQL; true: the transaction may not read the log's rows
    gives_positions_again = True  # for example after an older copy of the file was restored
    # Runs before the state is read and replaced. SQLite refuses a deferred transaction that reads
    # first and then writes, if another connection writes meanwhile. This statement takes the write
    # lock.
    lock = f"DELETE FROM {LOG} WHERE id IS NULL"
    unlock = ""
    # On SQLite and MySQL, rows from before a new incarnation do no harm.
    forget_rows = ""
    new_state = f"INSERT INTO {STATE} (id, incarnation, floor, origin) VALUES (%s, %s, 0, %s)"

    @cached_property
    def refresh(self) -> str:
        """Read the state, the watermark and the new rows. `new_since` returns the parameters.

        Columns: incarnation, floor, watermark, origin, current origin, snapshot, is blind, at, tag,
        position. The last three are NULL in a single row if nothing is new. Without a state there
        is no row.
        """
        return self._refresh(self.new)

    @cached_property
    def first_refresh(self) -> str:
        """Read the same columns from the watermark on, for a process that has read nothing yet."""
        return self._refresh(self.from_watermark)

    def new_since(self, invisible: Invisible, newest: int) -> Sequence[Any]:
        """Return the parameters of `refresh`. ``newest``: the last known row, to be read again."""
        return [min(invisible.start, newest)]

    def invisible(self, watermark: int, snapshot: str | None) -> Invisible:
        """Return the rows that a reading could not see, from its watermark and snapshot."""
        return Invisible(watermark)

    def is_beyond(self, floor: int, position: int, snapshot: str | None) -> bool:
        """Return whether this server has not reached a floor or a row's position yet."""
        return False

    def _refresh(self, condition: str) -> str:
        return (
            f"SELECT {self._head}, l.at, l.tag, l.position FROM {STATE} s LEFT JOIN"
            f" (SELECT at, tag, {self.position} AS position FROM {LOG}"
            f" WHERE {condition}{self._unless_blind}) l ON 1 = 1"
        )

    @cached_property
    def _head(self) -> str:
        return (
            f"s.incarnation, s.floor, {self._watermark_or_floor}, s.origin, {self.current_origin},"
            f" {self.snapshot}, {self.is_blind}"
        )

    @cached_property
    def _unless_blind(self) -> str:
        return "" if self.is_blind == "NULL" else f" AND NOT ({self.is_blind})"

    @cached_property
    def _watermark_or_floor(self) -> str:
        """The watermark, or the floor if all rows (and so the highest id) have been pruned."""
        return f"CASE WHEN {self.watermark} > s.floor THEN {self.watermark} ELSE s.floor END"

    def look_up(self, count: int) -> str:
        """Read the state and the last position of ``count`` tags. Parameters: the tags.

        The columns begin like those of `refresh` and end with tag number, and position or NULL.
        """
        last = f"(SELECT MAX({self.position}) FROM {LOG} WHERE {self.same_tag})"
        if self.is_blind != "NULL":
            last = f"CASE WHEN NOT ({self.is_blind}) THEN {last} END"
        parts = " UNION ALL ".join(
            f"SELECT {number} AS number, {last} AS last" for number in range(count)
        )
        return f"SELECT {self._head}, NULL, t.number, t.last FROM {STATE} s CROSS JOIN ({parts}) t"

    def insert(self, count: int) -> str:
        """Log ``count`` tags. Parameters: the tags."""
        values = ", ".join([f"(%s, {NOW_MS[self.vendor]})"] * count)
        return f"INSERT INTO {LOG} (tag, at) VALUES {values}{self.ignore}"


class PostgresDialect(Dialect):
    """PostgreSQL: positions are transaction ids. All below the snapshot's xmin have ended."""

    vendor = "postgresql"
    position = "position"
    # Each subquery, here and below, is evaluated once instead of once per row.
    watermark = "(SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint)"
    same_tag = "tag = %s"
    # Not the id: its sequence may be behind the rows, for example after a copy without sequences.
    key = ("position", "tag")
    # With both ends: without statistics the planner expects a third of all rows in an open range,
    # and reads the whole table.
    new = f"(position BETWEEN %s AND {HIGHEST} OR position = ANY(%s))"
    from_watermark = f"position BETWEEN {watermark} AND {HIGHEST}"
    ignore = " ON CONFLICT (position, tag) DO NOTHING"  # one row per transaction and tag
    snapshot = (
        "pg_current_snapshot()::text || ':' || COALESCE(pg_current_xact_id_if_assigned()::text, '')"
    )
    # In a serializable transaction, reading these rows would conflict with every writer.
    is_blind = "(SELECT current_setting('transaction_isolation') = 'serializable')"
    gives_positions_again = False  # only another server does, and it has another origin
    lock = f"SELECT pg_advisory_xact_lock(hashtext('{STATE}'))"
    # Positions of another server may be above those that are still to come here.
    forget_rows = f"DELETE FROM {LOG}"
    # The directory of the database and the table's id: both are new after a restore.
    _database_and_table = (
        f"reverse(split_part(reverse(pg_relation_filepath('{STATE}')), '/', 2))"
        f" || ':' || '{STATE}'::regclass::oid::text"
    )
    may_ask_server = (
        "SELECT COUNT(*) = 2 FROM pg_proc WHERE has_function_privilege(oid, 'execute') AND oid IN"
        " (to_regprocedure('pg_control_system()'), to_regprocedure('pg_control_checkpoint()'))"
    )

    def __init__(self, *, knows_server: bool = True) -> None:
        """``knows_server``: the role may read the server's system identifier and its timeline.

        A new timeline means a restored backup or a promoted replica, which may lack the last
        commits.
        """
        here = self._database_and_table
        if knows_server:
            is_ours = "FALSE"
            here = (
                "(pg_control_system()).system_identifier::text || ':' ||"
                f" (pg_control_checkpoint()).timeline_id::text || ':' || {here}"
            )
        else:
            is_ours = f"s.origin LIKE '%%:' || (SELECT {here})"
        self.new_origin = here = f"(SELECT {here})"
        # A replica in recovery has its primary's log.
        self.current_origin = (
            f"CASE WHEN pg_is_in_recovery() OR {is_ours} THEN s.origin ELSE {here} END"
        )

    def new_since(self, invisible: Invisible, newest: int) -> Sequence[Any]:
        return [invisible.start, list(invisible.positions)]

    def invisible(self, watermark: int, snapshot: str | None) -> Invisible:
        """Return exactly the transactions that were running, and all later ones.

        A replica in recovery does not list the running ones. There, all rows from the watermark on
        are invisible.
        """
        _, end, running, own = str(snapshot).split(":")
        positions = [int(position) for position in running.split(",") if position]
        if not positions and int(end) > watermark:
            return Invisible(watermark)
        return Invisible(int(end), tuple([*positions, int(own)] if own else positions))

    def is_beyond(self, floor: int, position: int, snapshot: str | None) -> bool:
        _, end, _, own = str(snapshot).split(":")
        return floor > int(end) or (position >= int(end) and str(position) != own)

    def insert(self, count: int) -> str:
        """Log ``count`` tags under the id of the transaction. Parameters: the tags."""
        values = ", ".join(
            [f"(pg_current_xact_id()::text::bigint, %s, {NOW_MS[self.vendor]})"] * count
        )
        return f"INSERT INTO {LOG} (position, tag, at) VALUES {values}{self.ignore}"


class MySQLDialect(Dialect):
    """MySQL and MariaDB have no watermark: rows count as settled when they are old enough."""

    vendor = "mysql"
    new_origin = current_origin = "CONCAT('mysql:', DATABASE())"
    lock = f"SELECT GET_LOCK(CONCAT('{STATE}:', DATABASE()), 10)"
    unlock = f"SELECT RELEASE_LOCK(CONCAT('{STATE}:', DATABASE()))"

    def __init__(self, late_commit_seconds: float) -> None:
        """``late_commit_seconds``: how long a transaction may stay open after it has written."""
        # Backwards from the newest row: this passes only the few young rows, and needs no index.
        self.watermark = (
            f"COALESCE((SELECT id + 1 FROM {LOG}"
            f" WHERE at < {NOW_MS['mysql']} - {int(late_commit_seconds * 1000)}"
            " ORDER BY id DESC LIMIT 1), 1)"
        )
        self.from_watermark = f"id >= {self.watermark} - 1"


@lru_cache(maxsize=8)
def dialect_for(vendor: str, late_commit_seconds: float, *, knows_server: bool = True) -> Dialect:
    if vendor == "postgresql":
        return PostgresDialect(knows_server=knows_server)
    return MySQLDialect(late_commit_seconds) if vendor == "mysql" else Dialect()
