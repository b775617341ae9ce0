"""Compare answers by all that they hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import Model


def shown(answer: Any, above: frozenset[int] = frozenset()) -> Any:
    """Return an answer as something that can be compared: rows by all values read with them.

    ``above``: the rows that it is shown within, which point to each other.
    """
    if isinstance(answer, Model):
        return shown_row(answer, above)
    if isinstance(answer, Mapping):
        return {key: shown(value, above) for key, value in answer.items()}
    if isinstance(answer, list | tuple):
        return [shown(one, above) for one in answer]
    return answer


def shown_row(row: Model, above: frozenset[int]) -> Any:
    """Return the model, columns and annotations, and the related rows that were read too."""
    if id(row) in above:
        return row.pk
    within = above | {id(row)}
    values = {name: value for name, value in vars(row).items() if not name.startswith("_")}
    related = {name: shown(one, within) for name, one in row._state.fields_cache.items()}
    prefetched = {
        name: [shown(one, within) for one in rows]
        for name, rows in getattr(row, "_prefetched_objects_cache", {}).items()
    }
    return [row._meta.label, values, related, prefetched]
