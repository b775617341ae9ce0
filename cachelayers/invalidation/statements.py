"""Read a statement as text: what kind it is, and which names are in it. Knows no database.

It need not understand SQL to be right: a name too many costs a miss, a name too few would cost a
stale value. So everything that may be a name counts, and only what is certain narrows it down.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from cachelayers.invalidation.lookups import KeyLookup, find_key_lookup

OWN_TABLES = frozenset({"cachelayers_invalidation", "cachelayers_logstate", "cachelayers_entry"})


class Kind(IntEnum):
    """What a statement does; of several in one text the gravest counts."""

    NEUTRAL = 0  # transactions, settings, plans
    READ = 1
    WRITE = 2  # also whatever is unknown
    SCHEMA = 3


KIND_OF_FIRST_WORD = {
    **dict.fromkeys(("select", "values", "table", "with"), Kind.READ),
    **dict.fromkeys(("create", "alter", "drop", "rename", "comment"), Kind.SCHEMA),
    **dict.fromkeys(
        (
            *("savepoint", "release", "rollback", "commit", "begin", "start", "end", "abort"),
            *("set", "reset", "show", "pragma", "use", "lock", "unlock", "analyze", "analyse"),
            *("vacuum", "explain", "describe", "desc", "discard", "listen", "notify", "unlisten"),
            *("close", "checkpoint", "deallocate", "optimize", "kill", "attach", "detach"),
            *("grant", "revoke", "flush", "xa", "check", "cluster", "reindex"),
        ),
        Kind.NEUTRAL,
    ),
}
# Within a statement that begins as a read, these make it a write: a CTE that writes, SELECT INTO.
WRITING_WORDS = frozenset({"insert", "update", "delete", "merge", "into"})
# `FOR UPDATE`, `ON UPDATE`, `DO UPDATE` are no writes of their own.
BEFORE_NO_WRITE = frozenset({"for", "on", "key"})

BEFORE_TABLES = frozenset({"from", "into", "update", "join", "table"})
NO_TABLES = frozenset({"set", "select", "unnest", "values"})  # what may stand there instead


@dataclass(frozen=True, slots=True)
class Statement:
    """What can be told of a statement's text. Names are in lower case."""

    kind: Kind
    names: frozenset[str]
    # Those that no dot precedes: a column is mostly qualified, a table is not.
    unqualified: frozenset[str]
    key_lookup: KeyLookup | None
    replaces: bool  # a row that is in the way is deleted
    truncates: bool
    returns_rows: bool  # a write with RETURNING
    is_own: bool  # of the cache itself


class Token(NamedTuple):
    """A word, a quoted name or a sign."""

    text: str
    is_quoted: bool = False

    @property
    def is_name(self) -> bool:
        """Tell whether it may name something."""
        return self.is_quoted or self.text[0].isalpha() or self.text[0] == "_"


# One alternative per thing that hides what is in it, then what counts. Each is linear in time.
TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<comment>--[^\n]*|\#[^\n]*|/\*(?![!M])(?:[^*]|\*(?!/))*(?:\*/|\Z))
    | (?P<dollar>\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z))
    | (?P<string>[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)|[nNbBxX]?'(?:[^']|'')*(?:'|\Z))
    | "(?P<double>(?:[^"]|"")*)(?:"|\Z)
    | `(?P<back>(?:[^`]|``)*)(?:`|\Z)
    | \[(?P<bracket>[^\[\]\n]+)\]
    | (?P<placeholder>%\(\w+\)s|%s|%%|\$\d+|\?\d*)
    | (?P<word>[^\W\d][\w$]*)
    | (?P<number>\d[\w.]*)
    | (?P<sign>.)
    """,
    re.VERBOSE | re.DOTALL,
)


def parse_statement(text: str, vendor: str) -> Statement:
    """Return what can be told of a statement, or of several in one text."""
    tokens = list(read_tokens(text, vendor))
    words = [token.text.lower() for token in tokens if token.is_name and not token.is_quoted]
    kind = max((kind_of(part) for part in split_statements(tokens)), default=Kind.NEUTRAL)
    names, unqualified = names_in(tokens)
    word_set = frozenset(words)
    return Statement(
        kind,
        names,
        unqualified,
        find_key_lookup(text) if kind in {Kind.READ, Kind.WRITE} else None,
        replaces="replace" in word_set and kind is Kind.WRITE,
        truncates="truncate" in word_set,
        returns_rows="returning" in word_set,
        is_own=is_own(tokens, names),
    )


def read_tokens(text: str, vendor: str) -> Iterator[Token]:
    """Yield words, names and signs; strings, comments, numbers and placeholders are passed over."""
    if vendor == "mysql":
        # There a backslash hides the quote after it; and "..." is a string, or a name: both.
        text = re.sub(r"\\.", "  ", text, flags=re.DOTALL)
        text = re.sub(r"/\*[!M]+\d*", " ", text)  # what MySQL runs and others take for a comment
    elif "/*" in text:
        text = without_nested_comments(text)
    for match in TOKEN.finditer(text):
        group = match.lastgroup
        if group == "word" or group == "sign":
            yield Token(match[0])
        elif group in {"double", "back", "bracket"}:
            name = match[group]
            doubled = {"double": '""', "back": "``"}.get(group)
            yield Token(name.replace(doubled, doubled[0]) if doubled else name, is_quoted=True)
        elif group in {"placeholder", "number", "string", "dollar"}:
            yield Token("?")


def without_nested_comments(text: str) -> str:
    """Return the text with block comments within block comments flattened, as PostgreSQL has them.

    Only where all of them are closed; elsewhere the text is as it was, and shows more names.
    """
    flat = re.compile(r"/\*(?:(?!/\*|\*/).)*\*/", re.DOTALL)
    for _ in range(8):
        text, count = flat.subn(" ", text)
        if not count:
            break
    return text


def split_statements(tokens: list[Token]) -> Iterator[list[Token]]:
    """Yield the tokens of each statement of the text."""
    part: list[Token] = []
    for token in tokens:
        if token.text == ";" and not token.is_quoted:
            yield part
            part = []
        else:
            part.append(token)
    yield part


def kind_of(tokens: list[Token]) -> Kind:
    """Return what one statement does."""
    words = [token.text.lower() for token in tokens if token.is_name and not token.is_quoted]
    if not words:
        return Kind.NEUTRAL
    if words[0] in {"explain", "describe", "desc"} and words[1:2] in (["analyze"], ["analyse"]):
        return Kind.WRITE if any(word in WRITING_WORDS for word in words) else Kind.READ
    kind = KIND_OF_FIRST_WORD.get(words[0], Kind.WRITE)
    if kind is Kind.READ:
        for before, word in pairwise(words):
            if word in WRITING_WORDS and before not in BEFORE_NO_WRITE:
                return Kind.WRITE
    return kind


def names_in(tokens: list[Token]) -> tuple[frozenset[str], frozenset[str]]:
    """Return all that may be names, and those that no dot precedes."""
    names, unqualified = set(), set()
    before = ""
    for token in tokens:
        if token.is_name:
            name = token.text.lower()
            names.add(name)
            if before != ".":
                unqualified.add(name)
        before = "" if token.is_quoted else token.text
    return frozenset(names), frozenset(unqualified)


def is_own(tokens: list[Token], names: frozenset[str]) -> bool:
    """Tell whether the first table that a statement names is the cache's own.

    Its statements name no other table; one of the user's that does names it later or first.
    """
    if not names & OWN_TABLES:
        return False
    words = [token.text.lower() for token in tokens if token.is_name]
    for before, word in pairwise(words):
        if before in BEFORE_TABLES and word not in OWN_TABLES | NO_TABLES:
            return False
    return True


@lru_cache(maxsize=512)
def names_of(text: str, vendor: str) -> frozenset[str]:
    """Return all that may be names in a text, such as a view's definition."""
    return names_in(list(read_tokens(text, vendor)))[0]
