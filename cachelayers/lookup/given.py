"""Depend on what a compute was given, which it reads without a statement."""

from __future__ import annotations

from django.db.models import Model

from cachelayers.entries.spelling import Unstable, spell
from cachelayers.invalidation.capture import Capture
from cachelayers.invalidation.rows import add_instance, rows_in, without_laziness


def add_given(capture: Capture, given: object) -> bool:
    """Depend on the rows in an argument. Tell whether these, and its spelling, say all of it."""
    given = without_laziness(given)
    if isinstance(given, Model):
        return add_instance(capture, given)
    try:
        spell(given)
        rows = list(rows_in(given))
    except (Unstable, RecursionError):
        return False  # nobody knows what it is made of
    are_clear = [add_instance(capture, row) for row in rows]
    return all(are_clear)
