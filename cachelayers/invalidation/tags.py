"""Name what an entry depends on. A tag is at most 255 characters, the log's column."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from hashlib import blake2b

WORD = "word:"
# Of what was made of the time or of chance. It is never logged: it only says so of an entry.
CLOCK = "clock:"
# Which database a router has chosen for a table. Never logged either.
HOME = "home:"
# What the names in a database stand for: which tables a view reads, what a trigger writes.
SCHEMA_TAG = "schema:"
LONGEST_TAG = 255
LONGEST_WORD = 200
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


def home_tag(table: str, database: str) -> str:
    """Name the database that a router sends the writes to a table to."""
    return f"{HOME}{fit(table, 150)}:{database}"


def word_tag(word: object) -> str:
    """Name a word of the user's; TypeError or ValueError for what is none."""
    if not isinstance(word, str):
        raise TypeError(f"A tag is a string, not {word!r} ({type(word).__name__}).")
    if not word:
        raise ValueError("A tag is empty. Give it at least one character.")
    if len(word) > LONGEST_WORD:
        raise ValueError(
            f"The tag {word[:40]!r}... has {len(word)} characters. Use at most {LONGEST_WORD}."
        )
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in word):
        raise ValueError(f"The tag {word!r} has control characters. Leave them out.")
    return f"{WORD}{word}"


def word_tags(words: object) -> list[str]:
    """Return the tags of several words; a lone string is the mistake it looks like."""
    if isinstance(words, str) or not isinstance(words, Iterable):
        raise TypeError(f"tags is {words!r}. Give a list of strings, as in tags=['homepage'].")
    return [word_tag(word) for word in words]


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
