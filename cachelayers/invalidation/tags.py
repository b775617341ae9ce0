"""The tags that an entry depends on: tables, rows, and the user's own."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from hashlib import blake2b
from typing import TypeVar

from django.db.models import Model

from cachelayers.invalidation.log import logger

USER_TAG = "word:"
# Of what was made of the time or of chance. It is never logged: it only says so of an entry.
CLOCK = "clock:"
# Which database a router has chosen for a table. Never logged either.
ROUTE = "home:"
# What the names in a database stand for: which tables a view reads, what a trigger writes.
SCHEMA_TAG = "schema:"
LONGEST_TAG = 255
LONGEST_USER_TAG = 200
LONGEST_KEY_TEXT = 100  # of a row; longer keys have no tag of their own
MOST_ROW_TAGS = 100  # of one database; what has more depends on the whole tables


def table_tag(table: str) -> str:
    """Name everything in a table."""
    return f"table:{fit(table, 150)}"


def row_tag(table: str, key_text: str) -> str:
    """Name one row, by the text of its primary key."""
    return f"row:{fit(table, 150)}:{key_text}"


def all_rows_tag(table: str) -> str:
    """Name every row of a table: an entry with a row's tag has this one too."""
    return f"rows:{fit(table, 150)}"


def route_tag(table: str, database: str) -> str:
    """Name the database that a router sends the writes to a table to."""
    return f"{ROUTE}{fit(table, 150)}:{database}"


def user_tag(word: object) -> str:
    """Name a word of the user's; TypeError or ValueError for what is none."""
    if not isinstance(word, str):
        raise TypeError(f"A tag is a string, not {word!r} ({type(word).__name__}).")
    if not word:
        raise ValueError("A tag is empty. Give it at least one character.")
    if len(word) > LONGEST_USER_TAG:
        raise ValueError(
            f"The tag {word[:40]!r}... has {len(word)} characters. Use at most {LONGEST_USER_TAG}."
        )
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in word):
        raise ValueError(f"The tag {word!r} has control characters. Leave them out.")
    return f"{USER_TAG}{word}"


def user_tags(words: object) -> list[str]:
    """Return the tags of several words; a lone string is the mistake it looks like."""
    if isinstance(words, str) or not isinstance(words, Iterable):
        raise TypeError(f"tags is {words!r}. Give a list of strings, as in tags=['homepage'].")
    return [user_tag(word) for word in words]


def key_tag(alias: str, key: str) -> str:
    """Name the entry under a key of a cache."""
    return f"key:{fit(f'{alias}:{key}', 250)}"


def fit(text: str, length: int) -> str:
    """Return the text, or where it is too long its beginning and a digest of all of it."""
    if len(text) <= length:
        return text
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"{text[: length - 33]}~{digest}"


def without_many_rows(tags: Sequence[str]) -> Sequence[str]:
    """Return the tags, with the tables instead of the rows where those are too many."""
    if len(tags) <= MOST_ROW_TAGS:
        return tags
    return list(dict.fromkeys(table_instead_of_row(tag) for tag in tags))


def table_instead_of_row(tag: str) -> str:
    """Return the tag of the table whose row a tag names; every other tag as it is."""
    kind, _, rest = tag.partition(":")
    if kind == "rows":
        return f"table:{rest}"
    return f"table:{rest.partition(':')[0]}" if kind == "row" else tag


MOST_DOUBTED_TAGS = 100  # words that are looked at, each of which takes a while
NEAR = 0.75  # difflib's ratio; its default of 0.6 takes 'pages' for 'prices'
MOST_REMEMBERED_TAGS = 10_000  # words may be made up as code runs; beyond, no more are remembered

ModelClass = TypeVar("ModelClass", bound=type[Model])

_models_by_user_tag: dict[str, dict[str, type[Model]]] = {}
_stored_user_tags: set[str] = set()
_tags_of_functions: set[str] = set()
_doubted_tags: set[str] = set()


def invalidates(*words: str) -> Callable[[ModelClass], ModelClass]:
    """Declare, above a model, the words that every write to its table invalidates.

    >>> @invalidates("menu", "homepage")
    ... class Page(models.Model): ...

    The model has to be tracked; a system check says so where it is not.
    """
    tags = [user_tag(word) for word in words]
    if not tags:
        raise TypeError("invalidates() names no word. Give at least one string.")

    def declare(model: ModelClass) -> ModelClass:
        for tag in tags:
            _models_by_user_tag.setdefault(tag, {})[model._meta.label] = model
        return model

    return declare


def models_declaring(tag: str) -> list[type[Model]]:
    """Return the models that declare the word of a tag."""
    declared = _models_by_user_tag.get(tag)
    return list(declared.values()) if declared else []


def remember_user_tags(words: Iterable[str]) -> None:
    """Remember words that code gives to what it keeps, so that operators can be told of them."""
    if len(_stored_user_tags) < MOST_REMEMBERED_TAGS:
        _stored_user_tags.update(words)


def remember_tags_of_function(words: Iterable[str]) -> None:
    """Remember words that a decorator declares."""
    if len(_tags_of_functions) < MOST_REMEMBERED_TAGS:
        _tags_of_functions.update(words)


def known_user_tags() -> set[str]:
    """Return the words that models and code declare, and those of entries stored here."""
    return _stored_user_tags | user_tags_in_code()


def user_tags_in_code() -> set[str]:
    """Return the words that stand in code: none that was made up as it ran."""
    return _tags_of_functions | {tag.removeprefix(USER_TAG) for tag in _models_by_user_tag}


def warn_of_misspelt_tag(word: str) -> None:
    """Log that no code declares a word, but one that is nearly the same; once for each.

    Never an error: other processes may have stored entries with it. Words that were made up as code
    ran are like each other, and say nothing.
    """
    if (
        word in _doubted_tags
        or len(_doubted_tags) >= MOST_DOUBTED_TAGS
        or word in _stored_user_tags
        or word in (declared := user_tags_in_code())
    ):
        return
    _doubted_tags.add(word)
    if near := get_close_matches(word, declared, cutoff=NEAR):
        logger.warning(
            "invalidate(%r): nothing in this process has this tag. Did you mean %s?",
            word,
            " or ".join(map(repr, near)),
        )


def forget_doubts() -> None:
    """Warn of every word again; for tests."""
    _doubted_tags.clear()


def declaring_models() -> list[type[Model]]:
    """Return every model that declares words."""
    found = {
        label: model for models in _models_by_user_tag.values() for label, model in models.items()
    }
    return list(found.values())
