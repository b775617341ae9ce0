"""Depend on what a compute was given, which it reads without a statement."""

from __future__ import annotations

from django.db.models import Model

from cachelayers.entries.spelling import Unsaved, Unstable, spell
from cachelayers.invalidation.capture import Capture
from cachelayers.invalidation.rows import (
    add_instance,
    is_draft,
    mistrust_draft,
    rows_in,
    without_laziness,
)


def add_given(capture: Capture, given: object) -> bool:
    """Depend on the rows in an argument. Tell whether these, and its spelling, say all of it."""
    given = without_laziness(given)
    if isinstance(given, Model):
        return add_instance(capture, given)
    try:
        spell(given)
    except Unsaved:
        mistrust_draft([capture])
        return False
    except (Unstable, RecursionError):
        return False  # nobody knows what it is made of
    are_clear = [add_instance(capture, row) for row in rows_in(given)]
    return all(are_clear)


def holds_draft(given: object) -> bool:
    """Tell whether an argument is, or holds, a row that was not read from a database."""
    given = without_laziness(given)
    if isinstance(given, Model):
        return is_draft(given)
    try:
        spell(given)
    except Unsaved:
        return True
    except (Unstable, RecursionError):
        pass
    return False
