"""Say once per statement why what is made of it is not kept, with its place in the project."""

from __future__ import annotations

import sys

from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.invalidation.log import logger
from cachelayers.utils.tracing import line_of_project

MOST_REPORTS = 1_000  # then all may be said again
LONGEST_SHOWN = 120  # characters of a statement

_reported: set[tuple[str, str]] = set()


def warn_once(connection: BaseDatabaseWrapper, text: str, what: str) -> None:
    """Log what becomes of a value that is made of a statement."""
    if not is_first_report(connection.alias, text):
        return
    shown = " ".join(text.split())
    logger.warning(
        "What is made of the statement %r of DATABASES[%r], run at %s, %s. See docs/limits.md.",
        shown if len(shown) <= LONGEST_SHOWN else f"{shown[:LONGEST_SHOWN]}...",
        connection.alias,
        line_of_project(sys._getframe(1)) or "an unknown place",
        what,
    )


def warn_of_plain_get_once(cache: str) -> None:
    """Log that a value is made of what somebody has put into a cache by hand."""
    place = line_of_project(sys._getframe(1)) or "an unknown place"
    if is_first_report(cache, place):
        logger.warning(
            "What is made of a plain get() from CACHES[%r], run at %s, is kept for its timeout"
            " only: nobody knows what that value was made of. See docs/limits.md.",
            cache,
            place,
        )


def warn_of_draft_once() -> None:
    """Log that a value is made of a row whose values are in no database."""
    place = line_of_project(sys._getframe(1)) or "an unknown place"
    if is_first_report("drafts", place):
        logger.warning(
            "What is made at %s is not kept: it is made of a model instance that was not read from"
            " a database, such as a draft. See docs/recall.md.",
            place,
        )


def warn_of_old_permissions_once() -> None:
    """Log that a value is made of a user who has kept permissions for too long."""
    place = line_of_project(sys._getframe(1)) or "an unknown place"
    if is_first_report("permissions", place):
        logger.warning(
            "What is made at %s is not kept: its user has kept permissions from before this unit"
            " of work. Fetch the user again. See docs/limits.md.",
            place,
        )


def warn_of_token_once() -> None:
    """Log that a value has a CSRF token in it."""
    place = line_of_project(sys._getframe(1)) or "an unknown place"
    if is_first_report("tokens", place):
        logger.warning(
            "What is made at %s is not kept: a CSRF token is in it, which is one visitor's. Put"
            " that part of the template into a hole of a {%% fragment %%}. See docs/recall.md.",
            place,
        )


def warn_of_other_route_once(table: str, home: str, chosen: str) -> None:
    """Log that a router chooses the database of an entry, and nothing in its key says which."""
    if is_first_report("routers", table):
        logger.warning(
            "A value that was made from the table %r of DATABASES[%r] was asked for where the"
            " routers choose DATABASES[%r]. It is computed anew whenever the choice changes. Give"
            " what is cached the name of the database, or of the tenant, as an argument. See"
            " docs/limits.md.",
            table,
            home,
            chosen,
        )


def is_first_report(about: str, text: str) -> bool:
    """Tell whether this was not said yet, and remember that it is now."""
    if (about, text) in _reported:
        return False
    if len(_reported) >= MOST_REPORTS:
        _reported.clear()
    _reported.add((about, text))
    return True


def forget_reports() -> None:
    """Say everything again; for tests."""
    _reported.clear()
