"""The log's SQL, one dialect per vendor. Used by log and prune; runs nothing itself."""

from __future__ import annotations

from functools import lru_cache

from django.utils.functional import cached_property

from cachelayers.models import Invalidation, LogState

LOG = Invalidation._meta.db_table
STATE = LogState._meta.db_table
STATE_ID = 1
# Milliseconds since 1970 by the server's clock, at the moment of the statement or later: a long
# statement's start would make its rows look settled before they are.
NOW_MS = {
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
    "postgresql": "(extract(epoch FROM clock_timestamp()) * 1000)::bigint",
    "mysql": "CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS SIGNED)",
}


class Dialect:
    """SQLite: writers are serial, so everything up to the last id has been committed."""

    vendor = "sqlite"
    position = "id"
    watermark = f"(SELECT COALESCE(MAX(id), 0) + 1 FROM {LOG})"
    # An index that begins with the tag and the empty position ends with the id.
    same_tag = "tag = %s AND position IS NULL"
    ignore = ""
    new_state = f"INSERT OR IGNORE INTO {STATE} (id, incarnation, floor) VALUES (1, %s, 0)"

    @cached_property
    def refresh(self) -> str:
        """Read the state, the watermark and the rows from a position on; parameter: position.

        Rows of (incarnation, floor, watermark, tag, position); the last two are NULL in the one
        row where there is nothing new. No row at all: there is no state.
        """
        return self._refresh_from("%s")

    @cached_property
    def first_refresh(self) -> str:
        """Read the same from the watermark on, for a process that knows nothing yet."""
        return self._refresh_from(self._watermark_or_floor)

    def _refresh_from(self, position: str) -> str:
        return (
            f"SELECT s.incarnation, s.floor, {self._watermark_or_floor}, l.tag, l.{self.position}"
            f" FROM {STATE} s LEFT JOIN {LOG} l ON l.{self.position} >= {position} WHERE s.id = 1"
        )

    @cached_property
    def _watermark_or_floor(self) -> str:
        """The floor, where every row has been pruned and the highest id is not there any more."""
        return f"CASE WHEN {self.watermark} > s.floor THEN {self.watermark} ELSE s.floor END"

    def look_up(self, count: int) -> str:
        """Read the state and the last position of ``count`` tags; parameters: the tags.

        Rows of (incarnation, floor, watermark, tag number, position or NULL).
        """
        parts = " UNION ALL ".join(
            f"SELECT {number} AS number, (SELECT MAX({self.position}) FROM {LOG}"
            f" WHERE {self.same_tag}) AS last"
            for number in range(count)
        )
        return (
            f"SELECT s.incarnation, s.floor, {self._watermark_or_floor}, t.number, t.last"
            f" FROM {STATE} s CROSS JOIN ({parts}) t WHERE s.id = 1"
        )

    def insert(self, count: int) -> str:
        """Log ``count`` tags; parameters: the tags."""
        values = ", ".join([f"(%s, {NOW_MS[self.vendor]})"] * count)
        return f"INSERT INTO {LOG} (tag, at) VALUES {values}{self.ignore}"


class PostgresDialect(Dialect):
    """PostgreSQL: positions are transaction ids; all below the snapshot's xmin have ended."""

    vendor = "postgresql"
    position = "position"
    watermark = "pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
    same_tag = "tag = %s"
    ignore = " ON CONFLICT DO NOTHING"  # one row per transaction and tag
    new_state = (
        f"INSERT INTO {STATE} (id, incarnation, floor) VALUES (1, %s, 0) ON CONFLICT DO NOTHING"
    )

    def insert(self, count: int) -> str:
        """Log ``count`` tags under the id of the transaction; parameters: the tags."""
        values = ", ".join(
            [f"(pg_current_xact_id()::text::bigint, %s, {NOW_MS[self.vendor]})"] * count
        )
        return f"INSERT INTO {LOG} (position, tag, at) VALUES {values}{self.ignore}"


class MySQLDialect(Dialect):
    """MySQL and MariaDB show no watermark: rows count as settled when they are old enough."""

    vendor = "mysql"
    new_state = f"INSERT IGNORE INTO {STATE} (id, incarnation, floor) VALUES (1, %s, 0)"

    def __init__(self, late_commit_seconds: float) -> None:
        """A transaction may stay open for so long after it has written."""
        # Backwards from the newest row: it passes the few young rows only, and needs no index.
        self.watermark = (
            f"COALESCE((SELECT id + 1 FROM {LOG}"
            f" WHERE at < {NOW_MS['mysql']} - {int(late_commit_seconds * 1000)}"
            " ORDER BY id DESC LIMIT 1), 1)"
        )


@lru_cache(maxsize=8)
def dialect_for(vendor: str, late_commit_seconds: float) -> Dialect:
    """Return the dialect of a database's vendor."""
    if vendor == "postgresql":
        return PostgresDialect()
    return MySQLDialect(late_commit_seconds) if vendor == "mysql" else Dialect()
