"""Find the rows, tags and fragments that are typed into a form."""

from __future__ import annotations

from collections.abc import Iterable

from django.core.exceptions import ValidationError
from django.db import models, router

from cachelayers.clearing.names import (
    UnknownName,
    check_spelling,
    check_spelling_of_fragment,
    known_fragments,
    known_words,
    model_named,
)
from cachelayers.invalidation.tracked import tracked_models
from cachelayers.suggestions import unknown_name

Model = type[models.Model]


def labels_of_tracked() -> dict[str, Model]:
    """Return the tracked models by label, in alphabetical order."""
    found = {model._meta.label: model for model in tracked_models()}
    return dict(sorted(found.items()))


def row_named(text: str) -> models.Model:
    """Return the row that is written as ``shop.Product 42``."""
    label, _, key = text.partition(" ")
    model = model_named(label)
    if not key.strip():
        raise UnknownName(f"{text!r} names no row. Write model and primary key: '{label} 42'.")
    rows = model._base_manager.using(router.db_for_write(model))
    try:
        row = rows.filter(pk=key.strip()).first()
    except (ValidationError, ValueError, TypeError, OverflowError):
        row = None
    if row is None:
        raise UnknownName(f"There is no {model._meta.label} with the primary key {key.strip()!r}.")
    return row


def checked_words(words: Iterable[str], *, unknown_too: bool) -> list[str]:
    """Return words that can be; without ``unknown_too`` only those that something is known by."""
    return _checked(words, known_words(), "tag", unknown_too=unknown_too)


def checked_fragments(names: Iterable[str], *, unknown_too: bool) -> list[str]:
    """Return the names of fragments, in the same way."""
    return _checked(names, known_fragments(), "fragment", unknown_too=unknown_too)


def _checked(given: Iterable[str], known: set[str], kind: str, *, unknown_too: bool) -> list[str]:
    names = list(dict.fromkeys(given))
    for name in names:
        if kind == "fragment":
            check_spelling_of_fragment(name)
        else:
            check_spelling(name)
        if not unknown_too and name not in known:
            raise UnknownName(unknown_name(kind, name, sorted(known)))
    return names
