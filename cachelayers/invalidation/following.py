"""Read which tags are new in a log, one after the other. Used by the bus of LayeredCache."""

from __future__ import annotations

from django.db import connections

from cachelayers.conf import package_settings
from cachelayers.invalidation.dialects import dialect_for
from cachelayers.invalidation.log import Reading, ensure_state, is_in_snapshot
from cachelayers.invalidation.transactions import transaction_of


class TagFollower:
    """How far one reader has come in the log of one database. Not thread-safe."""

    def __init__(self, database: str) -> None:
        """Have read nothing yet."""
        self.database = database
        self._reading: Reading | None = None
        # Rows at or above the watermark are read again, since older ones may still be committed.
        self._seen: set[tuple[str, int]] = set()

    def read(self) -> list[str] | None:
        """Return the tags that are new, in one statement; None: it is not known which are."""
        connection = connections[self.database]
        dialect = dialect_for(connection.vendor, package_settings().LATE_COMMIT_SECONDS)
        known = self._reading
        with connection.cursor() as cursor:
            if known is None:
                cursor.execute(dialect.first_refresh)
            else:
                cursor.execute(dialect.refresh, [known.watermark])
            rows = cursor.fetchall()
        if not rows:
            ensure_state(connection)
            self._reading = None
            return None
        incarnation, _, watermark = rows[0][:3]
        is_behind = known is not None and watermark < known.watermark
        if known is None or known.incarnation != incarnation:
            self._begin(Reading(incarnation, watermark), rows)
            return None
        if is_behind and not is_in_snapshot(connection):
            self._begin(Reading(incarnation, watermark), rows)  # a backup was restored
            return None
        found = {(tag, position) for *_, tag, position in rows if tag is not None}
        new = found - self._seen
        # The ids of rows of an open transaction's own may be given to others after a rollback.
        if not is_behind and not transaction_of(connection).is_dirty:
            self._reading = Reading(incarnation, watermark)
            self._seen = {(tag, position) for tag, position in found if position >= watermark}
        return [tag for tag, _ in new]

    def _begin(self, reading: Reading, rows: list[tuple[str, int, int, str | None, int]]) -> None:
        """Take a position, from which on rows will be new."""
        self._reading = reading
        self._seen = {(tag, position) for *_, tag, position in rows if tag is not None}
