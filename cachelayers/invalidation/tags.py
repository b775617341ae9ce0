"""The tags of dependencies: tables, rows, slices, keys, and the tags that users name.

The execute wrapper, triggers and invalidate() write them to the log; entries store them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from hashlib import blake2b
from typing import TypeVar

from django.db.models import Model

from cachelayers.invalidation.log import logger

USER_TAG = "word:"
KEY_TAG = "key:"
# A value that depends on the time or on chance. This tag is never logged.
CLOCK = "clock:"
# The database that a router has chosen for a table. Never logged either.
ROUTE = "home:"
# The meaning of the names in a database: which tables a view reads, what a trigger writes.
SCHEMA_TAG = "schema:"
LONGEST_USER_TAG = 200
LONGEST_KEY_TEXT = 100  # of a row; rows with longer keys have no tag of their own
# A table with a longer name, and a column with one, have no slices.
LONGEST_SLICED_TABLE = 100
LONGEST_COLUMN = 40
MOST_ROW_TAGS = 100  # of one database; with more, an entry depends on the whole tables


def table_tag(table: str) -> str:
    """Return the tag of everything in a table."""
    return f"table:{fit(table, 150)}"


def row_tag(table: str, key_text: str) -> str:
    """Return the tag of one row, by the text of its primary key."""
    return f"row:{fit(table, 150)}:{key_text}"


def all_rows_tag(table: str) -> str:
    """Return the tag of all rows of a table. An entry with a row's tag has this one too."""
    return f"rows:{fit(table, 150)}"


def slice_tag(table: str, column: str, text: str) -> str:
    """Return the tag of a slice: the rows of a table whose column has the value with this text."""
    return f"slice:{fit(table, LONGEST_SLICED_TABLE)}:{fit(column, LONGEST_COLUMN)}:{text}"


def slices_tag(table: str) -> str:
    """Return the tag of slices that are not known. An entry with a slice's tag has this one too."""
    return f"slices:{fit(table, 150)}"


def route_tag(table: str, database: str) -> str:
    """Return the tag that names the database to which a router sends a table's writes."""
    return f"{ROUTE}{fit(table, 150)}:{database}"


def user_tag(tag: object) -> str:
    """Return the stored form of a user's tag. Raise TypeError or ValueError if it is not valid."""
    if not isinstance(tag, str):
        raise TypeError(f"A tag is a string, not {tag!r} ({type(tag).__name__}).")
    if not tag:
        raise ValueError("A tag is empty. Give it at least one character.")
    if len(tag) > LONGEST_USER_TAG:
        raise ValueError(
            f"The tag {tag[:40]!r}... has {len(tag)} characters. Use at most {LONGEST_USER_TAG}."
        )
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in tag):
        raise ValueError(f"The tag {tag!r} has control characters. Leave them out.")
    return f"{USER_TAG}{tag}"


def user_tags(tags: object) -> list[str]:
    """Return the stored form of several tags. Raise TypeError for a single string."""
    if isinstance(tags, str) or not isinstance(tags, Iterable):
        raise TypeError(f"tags is {tags!r}. Give a list of strings, as in tags=['homepage'].")
    return [user_tag(tag) for tag in tags]


def key_tag(alias: str, key: str) -> str:
    """Return the tag of the entry under a key of a cache."""
    return f"{KEY_TAG}{fit(f'{alias}:{key}', 250)}"


def function_tag(name: str) -> str:
    """Return the user tag of all entries of a cached function: ``function:<module>.<name>``."""
    return f"function:{fit(name, LONGEST_USER_TAG - len('function:'))}"


def fit(text: str, length: int) -> str:
    """Return the text, or if it is too long, its beginning and a digest of the whole text."""
    if len(text) <= length:
        return text
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"{text[: length - 33]}~{digest}"


def without_many_rows(tags: Sequence[str]) -> Sequence[str]:
    """Return the tags. If there are too many of rows and slices, tables replace them."""
    if len(tags) <= MOST_ROW_TAGS:
        return tags
    if sum(tag.startswith(("row:", "slice:")) for tag in tags) <= MOST_ROW_TAGS:
        return tags
    return list(dict.fromkeys(table_instead_of_row(tag) for tag in tags))


def table_instead_of_row(tag: str) -> str:
    """Return the tag of the table of a row or slice, and every other tag unchanged."""
    kind, _, rest = tag.partition(":")
    if kind in {"rows", "slices"}:
        return f"table:{rest}"
    return f"table:{rest.partition(':')[0]}" if kind in {"row", "slice"} else tag


MOST_DOUBTED_TAGS = 100  # comparing each tag takes a while
NEAR = 0.75  # difflib's ratio; its default of 0.6 takes 'pages' for 'prices'
MOST_REMEMBERED_TAGS = 10_000  # code may build tags at run time; more are not remembered

ModelClass = TypeVar("ModelClass", bound=type[Model])

_models_by_user_tag: dict[str, dict[str, type[Model]]] = {}
_stored_user_tags: set[str] = set()
_tags_of_functions: set[str] = set()
_doubted_tags: set[str] = set()


def invalidates(*tags: str) -> Callable[[ModelClass], ModelClass]:
    """Declare, above a model, the tags that every write to its table invalidates.

    >>> @invalidates("menu", "homepage")
    ... class Page(models.Model): ...

    The model must be tracked. A system check reports models that are not.
    """
    stored_tags = [user_tag(tag) for tag in tags]
    if not stored_tags:
        raise TypeError("invalidates() names no tag. Give at least one string.")

    def declare(model: ModelClass) -> ModelClass:
        for tag in stored_tags:
            _models_by_user_tag.setdefault(tag, {})[model._meta.label] = model
        return model

    return declare


def models_declaring(tag: str) -> list[type[Model]]:
    """Return the models that declare a tag."""
    declared = _models_by_user_tag.get(tag)
    return list(declared.values()) if declared else []


def remember_user_tags(tags: Iterable[str]) -> None:
    """Remember the tags of stored entries, so that operators can be shown them."""
    if len(_stored_user_tags) < MOST_REMEMBERED_TAGS:
        _stored_user_tags.update(tags)


def remember_tags_of_function(tags: Iterable[str]) -> None:
    """Remember the tags that a decorator declares."""
    if len(_tags_of_functions) < MOST_REMEMBERED_TAGS:
        _tags_of_functions.update(tags)


def known_user_tags() -> set[str]:
    """Return the tags that models and code declare, and those of entries stored by this process."""
    return _stored_user_tags | user_tags_in_code()


def user_tags_in_code() -> set[str]:
    """Return the tags that are written in code, without those built at run time."""
    return _tags_of_functions | {tag.removeprefix(USER_TAG) for tag in _models_by_user_tag}


def warn_of_misspelt_tag(tag: str) -> None:
    """Log once that no code declares a tag, but a similar one, or that it looks like a pattern.

    This is no error: other processes may have stored entries with it. Tags that were built at run
    time resemble each other, so they are not compared.
    """
    if (
        tag in _doubted_tags
        or len(_doubted_tags) >= MOST_DOUBTED_TAGS
        or tag in _stored_user_tags
        or tag in (declared := user_tags_in_code())
    ):
        return
    _doubted_tags.add(tag)
    if "*" in tag:
        logger.warning(
            "invalidate(%r): this is one tag, not a pattern, and nothing in this process has it."
            " Give the entries a tag in common, as in tags=['menu', f'menu:{pk}'], and name that.",
            tag,
        )
        return
    if near := get_close_matches(tag, declared, cutoff=NEAR):
        logger.warning(
            "invalidate(%r): nothing in this process has this tag. Did you mean %s?",
            tag,
            " or ".join(map(repr, near)),
        )


def declaring_models() -> list[type[Model]]:
    """Return every model that declares tags."""
    found = {
        label: model for models in _models_by_user_tag.values() for label, model in models.items()
    }
    return list(found.values())
