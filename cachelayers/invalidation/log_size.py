"""Find a log that bulk writes to one table have filled. System checks and cache_stats report it."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.invalidation.dialects import LOG
from cachelayers.invalidation.tags import table_instead_of_row
from cachelayers.test_runs import apart_from_test

# One change per minute leaves 43,200 rows in the 30 days for which the log is kept by default.
MOST_ROWS = 50_000
TABLE = "table:"
FILLED_LOG_HINT = (
    "Run `manage.py prune_cache`, best from cron: it deletes what newer rows make redundant. If you"
    " only load this table and cache nothing that is made from it, leave it out of"
    " CACHELAYERS['TRACK'] and run `manage.py migrate`."
)


class FilledLog(NamedTuple):
    """A log with more than MOST_ROWS rows, most of them about one table."""

    database: str
    table: str
    rows: int  # of this table, among the newest MOST_ROWS

    def __str__(self) -> str:
        return (
            f"The log of changes in DATABASES[{self.database!r}] has more than {MOST_ROWS:,} rows,"
            f" and {self.rows:,} of the newest {MOST_ROWS:,} are of the table {self.table!r}."
        )


def filled_log(connection: BaseDatabaseWrapper) -> FilledLog | None:
    """Return the table that has filled a log, if there is one. Reads MOST_ROWS + 1 rows."""
    with apart_from_test(connection), connection.cursor() as cursor:
        cursor.execute(f"SELECT tag FROM {LOG} ORDER BY id DESC LIMIT {MOST_ROWS + 1}")
        tags = [tag for (tag,) in cursor.fetchall()]
    if len(tags) <= MOST_ROWS:
        return None
    counts = Counter(map(table_instead_of_row, tags[:MOST_ROWS]))
    tag, rows = counts.most_common(1)[0]
    if not tag.startswith(TABLE) or rows <= MOST_ROWS / 2:
        return None
    return FilledLog(connection.alias, tag.removeprefix(TABLE), rows)
