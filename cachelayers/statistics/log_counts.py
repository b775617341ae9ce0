"""Which rows, tables and tags were invalidated most, counted in the logs.

``cache_stats --json`` and the admin's overview use it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from django.db import DatabaseError, connections

from cachelayers.invalidation import KEY_TAG, LOG, NOW_MS, fetch_without_pause
from cachelayers.statistics.states import time_of
from cachelayers.utils.text import without_secrets

MOST_HOT_TAGS = 10
MOST_ROWS_READ = 20_000  # the newest: a log that is never pruned has millions


@dataclass(frozen=True, slots=True)
class HotTag:
    """A tag, and the number of its rows in the log."""

    tag: str
    rows: int
    last_at: datetime | None


@dataclass(frozen=True, slots=True)
class HotTags:
    """The tags with the most rows in a database's log, without those of keys.

    ``oldest_at``: the oldest row read. Pruning keeps only the newest row of a tag, so that before
    ``repeated_at`` each tag was counted at most once; None: each was counted once.
    """

    database: str
    tags: list[HotTag] = field(default_factory=list)
    oldest_at: datetime | None = None
    repeated_at: datetime | None = None
    error: str | None = None


def hot_tags(database: str, since_seconds: float, most: int = MOST_HOT_TAGS) -> HotTags:
    """Return the tags with the most rows in a database's log since a time, the most first."""
    try:
        logged = read_newest(database, since_seconds)
    except DatabaseError as error:
        return HotTags(database, error=without_secrets(f"{type(error).__name__}: {error}"))
    counts: Counter[str] = Counter()
    last: dict[str, int] = {}
    repeated_at = None
    for tag, at in logged:
        if tag in last and repeated_at is None:
            repeated_at = at
        counts[tag] += 1
        last[tag] = at
    hottest = sorted(counts, key=lambda tag: (-counts[tag], -last[tag], tag))
    return HotTags(
        database,
        [HotTag(tag, counts[tag], time_of(last[tag])) for tag in hottest[:most]],
        time_of(logged[0][1]) if logged else None,
        time_of(repeated_at),
    )


def read_newest(database: str, since_seconds: float) -> list[tuple[str, int]]:
    """Return tag and time of the newest rows of a log, the oldest first.

    The index of the ids bounds what is read: the times have none.
    """
    found = fetch_without_pause(
        database,
        f"SELECT tag, at FROM (SELECT id, tag, at FROM {LOG} ORDER BY id DESC"
        f" LIMIT {MOST_ROWS_READ}) AS newest"
        f" WHERE at >= {NOW_MS[connections[database].vendor]} - %s AND tag NOT LIKE %s ORDER BY id",
        [int(since_seconds * 1000), f"{KEY_TAG}%"],
    )
    return [(tag, at) for tag, at in found]
