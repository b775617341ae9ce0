"""Say once per statement why what is made of it is not kept, with its place in the project."""

from __future__ import annotations

import sys

from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.invalidation.log import logger
from cachelayers.samples import line_of_project

MOST_SAID = 1_000  # then all may be said again
LONGEST_SHOWN = 120  # characters of a statement

_said: set[tuple[str, str]] = set()


def warn_once(connection: BaseDatabaseWrapper, text: str, what: str) -> None:
    """Log what becomes of a value that is made of a statement."""
    about = connection.alias, text
    if about in _said:
        return
    if len(_said) >= MOST_SAID:
        _said.clear()
    _said.add(about)
    shown = " ".join(text.split())
    logger.warning(
        "What is made of the statement %r of DATABASES[%r], run at %s, %s. See docs/limits.md.",
        shown if len(shown) <= LONGEST_SHOWN else f"{shown[:LONGEST_SHOWN]}...",
        connection.alias,
        line_of_project(sys._getframe(1)) or "an unknown place",
        what,
    )


def forget_said() -> None:
    """Say everything again; for tests."""
    _said.clear()
