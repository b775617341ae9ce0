"""Log, once per statement or source line, why a value is not stored.

The execute wrapper, captures, recalls and routes call it.
"""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.invalidation.log import logger
from cachelayers.invalidation.tracked import label_of, track_with
from cachelayers.utils.counters import untracked_reads
from cachelayers.utils.rate_limit import RateLimit
from cachelayers.utils.tracing import active_traces, line_of_project, note_unkept

LONGEST_SHOWN = 120  # characters of a statement

reports = RateLimit(float("inf"))


def warn_once(connection: BaseDatabaseWrapper, text: str, what: str) -> None:
    """Log why a value that depends on a statement is not stored, or only until its timeout."""
    if active_traces:  # before the text is made, which few requests need
        note_unkept(f"{shown_statement(text)}: {what}")
    if not reports.is_due((connection.alias, text)):
        return
    logger.warning(
        "A value that depends on the statement %r of DATABASES[%r], run at %s, %s."
        " See docs/not_cached.md.",
        shown_statement(text),
        connection.alias,
        line_of_project() or "an unknown place",
        what,
    )


def shown_statement(text: str) -> str:
    """Return the beginning of a statement in one line."""
    shown = " ".join(text.split())
    return shown if len(shown) <= LONGEST_SHOWN else f"{shown[:LONGEST_SHOWN]}..."


def note_untracked(database: str, table: str) -> None:
    """Count that a value is made from a table whose changes do not invalidate, and log it once."""
    untracked_reads.add(database, table)
    if not reports.is_due(("untracked", database, table)):
        return
    label = label_of(table)
    logger.warning(
        "The value computed at %s is made from the table %r of DATABASES[%r], whose changes do not"
        " invalidate it: it can be stale until its timeout. %s See docs/not_cached.md.",
        line_of_project() or "an unknown place",
        table,
        database,
        f"To track the table, {track_with(label)}"
        if label
        else "No model has this table, so it cannot be tracked.",
    )


def warn_of_plain_get_once(cache: str) -> None:
    """Log that a value depends on a cached value of unknown origin."""
    place = line_of_project() or "an unknown place"
    if reports.is_due((cache, place)):
        logger.warning(
            "A value that depends on a plain get() from CACHES[%r], run at %s, is stored only until"
            " its timeout: the dependencies of the cached value are unknown. See"
            " docs/not_cached.md.",
            cache,
            place,
        )


def warn_of_draft_once() -> None:
    """Log that a value depends on an instance that was not read from a database."""
    note_unkept("it depends on a model instance that was not read from a database, such as a draft")
    place = line_of_project() or "an unknown place"
    if reports.is_due(("drafts", place)):
        logger.warning(
            "The value computed at %s is not stored: it depends on a model instance that was not"
            " read from a database, such as a draft. See docs/not_cached.md.",
            place,
        )


def warn_of_old_permissions_once() -> None:
    """Log that a value depends on a user whose cached permissions are too old."""
    note_unkept("its user's cached permissions are older than this unit of work")
    place = line_of_project() or "an unknown place"
    if reports.is_due(("permissions", place)):
        logger.warning(
            "The value computed at %s is not stored: its user's cached permissions are older than"
            " this unit of work. Fetch the user again. See docs/not_cached.md.",
            place,
        )


def warn_of_token_once() -> None:
    """Log that a value contains a CSRF token."""
    note_unkept("it contains a CSRF token, which belongs to one visitor")
    place = line_of_project() or "an unknown place"
    if reports.is_due(("tokens", place)):
        logger.warning(
            "The value computed at %s is not stored: it contains a CSRF token, which belongs to one"
            " visitor. Put that part of the template into a hole of a {%% fragment %%}. See"
            " docs/not_cached.md.",
            place,
        )


def warn_of_unpicklable_once(key: str, error: Exception) -> None:
    """Log that a value cannot be stored. The key of a cached function begins with its name."""
    note_unkept(f"it cannot be pickled ({type(error).__name__})")
    place = line_of_project() or "an unknown place"
    if reports.is_due(("pickles", place)):
        logger.warning(
            "The value of %r, computed at %s, is not stored: it cannot be pickled (%s: %.200s)."
            " Return data: text, numbers, model instances, or lists and dicts of them; not"
            " functions, locks, files or connections. See docs/not_cached.md.",
            key,
            place,
            type(error).__name__,
            error,
        )


def warn_of_unstable_query_once(label: str, error: Exception) -> None:
    """Log that the rows of a recalled queryset have no key."""
    place = line_of_project() or "an unknown place"
    if reports.is_due(("querysets", place)):
        logger.warning(
            "The rows of %s, read at %s, are not stored: the queryset makes no key: %.200s. Pass"
            " plain values to its filters, or leave out recalled(). See docs/not_cached.md.",
            label,
            place,
            error,
        )


def warn_of_other_route_once(table: str, first_chosen: str, chosen: str) -> None:
    """Log that a router's choice of the database differs, and that the key does not contain it."""
    if reports.is_due(("routers", table)):
        logger.warning(
            "A value made from the table %r of DATABASES[%r] was requested where the routers choose"
            " DATABASES[%r]. It is computed again whenever the choice changes. Pass the name of the"
            " database, or of the tenant, as an argument to what is cached. See"
            " docs/not_cached.md.",
            table,
            first_chosen,
            chosen,
        )
