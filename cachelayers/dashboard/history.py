"""The log for an operator: what was invalidated, when and by what.

The admin's log screen shows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import connections, models
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from cachelayers.clearing import FRAGMENT, session_heads
from cachelayers.invalidation import (
    guarded_tables,
    log_database,
    tracked_databases,
    tracked_models,
    tracked_tables,
)
from cachelayers.models import Invalidation

Model = type[models.Model]

ROWS_PER_PAGE = 50
# By kind: the prefix of its tags, and its name.
KINDS = {
    "row": ("row:", gettext_lazy("single rows")),
    "slice": ("slice:", gettext_lazy("rows that share a value")),
    "table": ("table:", gettext_lazy("tables")),
    "rows": ("rows:", gettext_lazy("all rows of a table")),
    "slices": ("slices:", gettext_lazy("some rows of a table")),
    "word": ("word:", gettext_lazy("tags")),
    "fragment": (f"word:{FRAGMENT}", gettext_lazy("fragments")),
    "key": ("key:", gettext_lazy("keys")),
}

TABLE_KINDS = {"row", "slice", "rows", "slices", "table"}
# Of the kinds that name a whole table.
WHOLE = {
    "table": gettext_lazy("queries on %s"),
    "rows": gettext_lazy("all rows of %s"),
    "slices": gettext_lazy("queries for some rows of %s"),
}


@dataclass(frozen=True, kw_only=True)
class Happening:
    """One row of the log. ``model`` and ``key``: what was invalidated, if known."""

    id: int
    database: str
    at: datetime
    tag: str
    what: str
    cause: str
    model: Model | None = None
    key: str = ""


@dataclass(frozen=True)
class Page:
    """Rows, the newest first; ``before`` gets the next page, None on the last."""

    rows: list[Happening]
    before: int | None


def databases_with_log() -> list[str]:
    """Return the aliases in DATABASES whose log is in use."""
    return list(dict.fromkeys([log_database(), *tracked_databases()]))


def read_log(database: str, *, kind: str = "", text: str = "", before: int | None = None) -> Page:
    """Return a page of the log, the newest first."""
    rows = Invalidation.objects.using(database).order_by("-id")
    for head in session_heads():  # with the key of a session one is logged in
        rows = rows.exclude(tag__startswith=KINDS["key"][0], tag__contains=head)
    if kind:
        rows = rows.filter(tag__startswith=KINDS[kind][0])
    if text:
        rows = rows.filter(tag__icontains=text)
    if before is not None:
        rows = rows.filter(id__lt=before)
    found = list(rows[: ROWS_PER_PAGE + 1])
    shown = found[:ROWS_PER_PAGE]
    reader = Reader(database)
    return Page(
        [reader.explain(row) for row in shown],
        shown[-1].pk if len(found) > ROWS_PER_PAGE else None,
    )


@dataclass(frozen=True)
class Named:
    """What a tag names. ``model`` and ``key``: if it is of a tracked model, and of one row."""

    kind: str
    table: str
    key: str
    model: Model | None
    what: str

    @classmethod
    def by(cls, tag: str, models: dict[str, Model]) -> Named:
        """Take a tag apart; ``models`` by their tables."""
        kind, _colon, rest = tag.partition(":")
        is_part = kind in {"row", "slice"}
        table, _colon, part = rest.partition(":") if is_part else (rest, "", "")
        model = models.get(table) if kind in TABLE_KINDS else None
        key = part if kind == "row" else ""
        return cls(kind, table, key, model, describe(kind, rest, model, part))


def models_by_table(database: str) -> dict[str, Model]:
    """Return the tracked models with a table in a database, by the table."""
    tables = tracked_tables(database)
    return {
        model._meta.db_table: model for model in tracked_models() if model._meta.db_table in tables
    }


class Reader:
    """Explains the tags in one database's log."""

    def __init__(self, database: str) -> None:
        """It finds out once which tables have triggers."""
        self.database = database
        self.guarded = guarded_tables(connections[database])
        self.models = models_by_table(database)

    def explain(self, row: Invalidation) -> Happening:
        named = Named.by(row.tag, self.models)
        return Happening(
            id=row.pk,
            database=self.database,
            at=datetime.fromtimestamp(row.at / 1000, UTC),
            tag=row.tag,
            what=named.what,
            cause=self.cause(named.kind, named.table),
            model=named.model,
            key=named.key,
        )

    def cause(self, kind: str, table: str) -> str:
        """Return what logged it, as far as the log shows."""
        if kind in TABLE_KINDS:
            if table in self.guarded:
                return _("a write to %s, by this site or another program") % table
            return _("a write to %s by this site") % table
        if kind == "word":
            return _("invalidate(), or clear_cache")
        return _("a write to a cache, or invalidate() of a cached function")


def describe(kind: str, rest: str, model: type[models.Model] | None, part: str) -> str:
    """Return what a tag names, in words. ``part``: a row's key, or a column and its value."""
    name = str(model._meta.verbose_name) if model else rest.partition(":")[0]
    if kind == "row":
        return f"{name} {part}"
    if kind == "slice":
        column, _colon, value = part.partition(":")
        return _("rows of %(model)s with %(column)s = %(value)s") % {
            "model": model._meta.label if model else name,
            "column": column,
            "value": value,
        }
    if kind in WHOLE:
        return str(WHOLE[kind]) % (str(model._meta.verbose_name_plural) if model else rest)
    if kind == "word" and rest.startswith(FRAGMENT):
        return _("fragment %s") % rest.removeprefix(FRAGMENT)
    if kind == "word":
        return _("tag %s") % rest
    if kind == "schema":
        return _("the schema")
    alias, _colon, cached = rest.partition(":")
    # Without the key, which may be long; the tag beside it shows it.
    return (_("every key of %s") if cached == "*" else _("a key of %s")) % alias
