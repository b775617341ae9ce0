"""Which rows, tables and tags end most entries, in words and with what to search for.

The admin's overview screen shows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from cachelayers.dashboard.history import TABLE_KINDS, Named, models_by_table
from cachelayers.dashboard.invalidating import labels_of_tracked
from cachelayers.invalidation import USER_TAG
from cachelayers.statistics import HotTags, hot_tags


@dataclass(frozen=True)
class Hot:
    """A tag that is invalidated often. ``search`` finds the entries that are made from it."""

    what: str
    tag: str
    rows: int
    last_at: datetime | None
    search: str  # the end of the URL that searches


@dataclass(frozen=True)
class HotList:
    """The hot tags of one database. ``counted``: over which time, or why there are none."""

    counted: HotTags
    hots: list[Hot]


def read_hot(databases: Iterable[str], seconds: float) -> Iterator[HotList]:
    """Yield the hot tags in the log of each database."""
    for database in databases:
        counted, models = hot_tags(database, seconds), models_by_table(database)
        yield HotList(
            counted,
            [
                explain(Named.by(one.tag, models), one.tag, one.rows, one.last_at)
                for one in counted.tags
            ],
        )


def explain(named: Named, tag: str, rows: int, last_at: datetime | None) -> Hot:
    search = {"tag": tag}
    if named.key and named.model is not None:
        search = {"row": f"{named.model._meta.label} {named.key}"}
    return Hot(named.what, tag, rows, last_at, urlencode(search))


def fields_for(tag: str) -> dict[str, str]:
    """Return the fields of the form for invalidating that choose a tag, as the log shows it."""
    named = Named.by(tag, {})
    if named.kind in TABLE_KINDS:
        for label, model in labels_of_tracked().items():
            if model._meta.db_table == named.table:
                return {"rows": f"{label} {named.key}"} if named.key else {"models": label}
    return {"words": tag.removeprefix(USER_TAG), "unknown_too": "on"}
