"""What ends entries: read from the sums of all processes, and in plain words.

`utils.endings` counts, and the statistics thread stores the sums as timings of a kind of their own.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db.models import Max, Min, Sum
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from cachelayers.conf import statistics_database
from cachelayers.models import Timing
from cachelayers.statistics.table import ENDED, HOUR_SECONDS, MICROSECONDS

WHAT: dict[str, Promise] = {
    "table": _("any change in %(name)s"),
    "slice": _("rows of %(name)s with one %(column)s"),
    "row": _("single rows of %(name)s"),
    "rows": _("a write to many rows of %(name)s"),
    "slices": _("a write to rows of %(name)s whose slices are not known"),
    "word": _("the tag %(name)s"),
    "key": _("entries that were removed or invalidated by their key"),
    "schema": _("changes of the schema"),
    "others": _("others, of which there were too many to tell apart"),
}
NOT_KNOWN = _("what cannot be found any more")

# Why a query depends on a whole table. %(column)s: a column, or several.
REASONS: dict[str, Promise] = {
    "condition": _(
        "The query has no condition on an indexed column. With = or IN on one of these, only"
        " changes of its rows would end the entry: %(column)s."
    ),
    "function": _("There is a function or a cast around %(column)s. Compare the column itself."),
    "or": _("The condition on %(column)s is under OR. Two queries would have slices."),
    "compared": _("The condition on %(column)s is not = or IN with values."),
    "join": _(
        "%(column)s is only compared with another table's column, and no condition gives it a"
        " value."
    ),
    "migrate": _("The triggers do not log %(column)s yet. Run `migrate`."),
    "odd": _("The database does not compare %(column)s by its text: see its collation."),
    "values": _("The query lists more than 100 values of %(column)s."),
    "type": _("A value for %(column)s is not of the column's type."),
    "many": _("The entry is made from more than 100 rows or slices."),
    "view": _("It is read through a view, or its name or its key does not identify its rows."),
    "columns": _("No column of it can have slices."),
    "unread": _("The statement was not understood well enough."),
}
# With a query written in another way, or with `migrate`, fewer changes would end the entry.
SPARED = frozenset({"condition", "function", "or", "compared", "join", "migrate", "values", "type"})


@dataclass(frozen=True, slots=True)
class Ended:
    """The entries that changes of one dependency have ended, in all processes."""

    database: str
    # A tag without values: "table:blog_post", "slice:blog_comment:post_id", "word:homepage".
    dependency: str
    entries: int  # that were computed again
    seconds: float  # that this took
    since: datetime  # the beginning of the hour with the first of them
    # Of a whole table: a query that depends on it, the reason by its short name, and the columns.
    place: str
    reason: str
    columns: tuple[str, ...]

    @property
    def would_be_spared(self) -> bool | None:
        """Return whether a slice would have spared entries; None: they do not end by a table."""
        return self.reason in SPARED if self.dependency.startswith("table:") else None

    @property
    def what(self) -> str:
        """Return the dependency in words."""
        return what_of(self.dependency)

    @property
    def why(self) -> str:
        """Return in words why a query depends on the whole table; "": it is not known."""
        return words_of(self.reason, self.columns)


def what_of(dependency: str) -> str:
    """Return a dependency in words."""
    kind, _colon, rest = dependency.partition(":")
    name, _colon, column = rest.partition(":")
    if kind == "word":
        name = rest
    return str(WHAT.get(kind, NOT_KNOWN)) % {"name": name, "column": column}


def words_of(reason: str, columns: tuple[str, ...]) -> str:
    """Return a reason in words."""
    return str(REASONS.get(reason, "")) % {"column": ", ".join(columns)}


def parsed_reason(text: str) -> tuple[str, tuple[str, ...]]:
    """Return a reason's short name and its columns, from the text that is stored."""
    reason, _space, columns = text.partition(" ")
    return reason, tuple(columns.split(",")) if columns else ()


def ended(since_seconds: float = 86_400, most: int = 20) -> list[Ended]:
    """Return what has ended entries in the last seconds, most entries first.

    The time covers whole hours, from the one in which it began.
    """
    first_hour = int(time.time() - since_seconds) // HOUR_SECONDS * HOUR_SECONDS
    rows = (
        Timing.objects.using(statistics_database())
        .filter(hour__gte=first_hour, kind=ENDED)
        .values_list("name")
        .annotate(
            entries=Sum("changed"),
            us=Sum("total_us"),
            since=Min("hour"),
            at=Max("place"),
            why=Max("tables"),
        )
        .order_by("-entries", "-us", "name")[:most]
    )
    return [ended_by(*row) for row in rows]


def ended_by(name: str, entries: int, total_us: int, hour: int, place: str, reason: str) -> Ended:
    database, _space, dependency = name.partition(" ")
    return Ended(
        database,
        dependency,
        int(entries),
        int(total_us) / MICROSECONDS,
        datetime.fromtimestamp(hour, UTC),
        place,
        *parsed_reason(reason),
    )
