"""Let any write to a model's table invalidate words of the user's.

No row of the log is written for it: an entry with the word depends on the table, so the word is
invalidated in the same transaction by every kind of write, also one by another program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import TypeVar

from django.db.models import Model

from cachelayers.invalidation.log import logger
from cachelayers.invalidation.tags import WORD, word_tag

MOST_DOUBTED = 100  # words that are looked at, each of which takes a while
NEAR = 0.75  # difflib's ratio; its default of 0.6 takes 'pages' for 'prices'
MOST_NOTED = 10_000  # words may be made up as code runs; beyond, no more are remembered

ModelClass = TypeVar("ModelClass", bound=type[Model])

_models_by_word: dict[str, dict[str, type[Model]]] = {}
_noted_words: set[str] = set()
_words_of_functions: set[str] = set()
_doubted_words: set[str] = set()


def invalidates(*words: str) -> Callable[[ModelClass], ModelClass]:
    """Declare, above a model, the words that every write to its table invalidates.

    >>> @invalidates("menu", "homepage")
    ... class Page(models.Model): ...

    The model has to be tracked; a system check says so where it is not.
    """
    tags = [word_tag(word) for word in words]
    if not tags:
        raise TypeError("invalidates() names no word. Give at least one string.")

    def declare(model: ModelClass) -> ModelClass:
        for tag in tags:
            _models_by_word.setdefault(tag, {})[model._meta.label] = model
        return model

    return declare


def models_of_word(tag: str) -> list[type[Model]]:
    """Return the models that declare the word of a tag."""
    declared = _models_by_word.get(tag)
    return list(declared.values()) if declared else []


def note_words(words: Iterable[str]) -> None:
    """Remember words that code gives to what it keeps, so that operators can be told of them."""
    if len(_noted_words) < MOST_NOTED:
        _noted_words.update(words)


def note_words_of_function(words: Iterable[str]) -> None:
    """Remember words that a decorator declares."""
    if len(_words_of_functions) < MOST_NOTED:
        _words_of_functions.update(words)


def declared_words() -> set[str]:
    """Return the words that models and code declare, and those of entries stored here."""
    return _noted_words | words_in_code()


def words_in_code() -> set[str]:
    """Return the words that stand in code: none that was made up as it ran."""
    return _words_of_functions | {tag.removeprefix(WORD) for tag in _models_by_word}


def warn_of_misspelt(word: str) -> None:
    """Log that no code declares a word, but one that is nearly the same; once for each.

    Never an error: other processes may have stored entries with it. Words that were made up as code
    ran are like each other, and say nothing.
    """
    if (
        word in _doubted_words
        or len(_doubted_words) >= MOST_DOUBTED
        or word in _noted_words
        or word in (declared := words_in_code())
    ):
        return
    _doubted_words.add(word)
    if near := get_close_matches(word, declared, cutoff=NEAR):
        logger.warning(
            "invalidate(%r): nothing in this process has this tag. Did you mean %s?",
            word,
            " or ".join(map(repr, near)),
        )


def forget_doubts() -> None:
    """Warn of every word again; for tests."""
    _doubted_words.clear()


def declaring_models() -> list[type[Model]]:
    """Return every model that declares words."""
    found = {label: model for models in _models_by_word.values() for label, model in models.items()}
    return list(found.values())
