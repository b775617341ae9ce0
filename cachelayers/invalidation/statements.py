"""Read a statement as text: what kind it is, and which names are in it. Knows no database.

It need not understand SQL to be right: a name too many costs a miss, a name too few would cost a
stale value. So everything that may be a name counts, and only what is certain narrows it down.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from itertools import pairwise

from cachelayers.invalidation.functions import Source, calls_in, sources_in
from cachelayers.invalidation.lookups import KeyLookup, find_key_lookup
from cachelayers.invalidation.relations import tables_read, tables_written
from cachelayers.invalidation.tokens import Sort, Token, read_tokens, readings_of

OWN_PREFIX = "cachelayers_"  # of every table of this package


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

# Those of an unknown kind, such as CALL, FETCH or COPY, say too little of what they do.
UNDERSTOOD_WRITES = frozenset({"insert", "update", "delete", "replace", "merge", "truncate"})
# Neutral for what others read, and yet they answer with what is no row of a table.
SHOWING_WORDS = frozenset({"show", "pragma", "explain", "describe", "desc", "check"})


@dataclass(frozen=True, slots=True)
class Statement:
    """What can be told of a statement's text. Names are in lower case."""

    kind: Kind
    names: frozenset[str]
    # Those that no dot precedes: a column is mostly qualified, a table is not.
    unqualified: frozenset[str]
    tables_read: frozenset[str]  # the names after FROM and JOIN
    calls: frozenset[str]  # the names of functions, and words that a parenthesis follows
    sources: frozenset[Source]  # from where else than from tables it takes values
    key_lookup: KeyLookup | None
    replaces: bool  # a row that is in the way is deleted
    truncates: bool
    returns_rows: bool  # a write with RETURNING
    reads: bool  # its outcome may depend on rows that there were before
    doubt: str  # why it is not fully understood; "": it is
    temporary: str | None  # the name of the temporary table that it creates
    changes_role: bool
    begins: bool  # a transaction
    is_own: bool  # it reads and writes nothing but this package's tables


def parse_statement(text: str, vendor: str, *, has_backslashes: bool | None = None) -> Statement:
    """Return what can be told of a statement, or of several in one text.

    ``has_backslashes``: whether the session reads backslashes in strings; None: not known.
    """
    if vendor == "sqlite":
        has_backslashes = False
    elif vendor == "postgresql":
        has_backslashes = bool(has_backslashes)
    readings = readings_of(text, vendor, has_backslashes=has_backslashes)
    tokens = [token for reading in readings for token in [*reading, END]]
    parts = list(split_statements(tokens))
    kind = max((kind_of(part) for part in parts), default=Kind.NEUTRAL)
    names, unqualified = names_in(tokens)
    read = frozenset[str]().union(*(tables_read(part) for part in parts))
    touched = read.union(*(tables_written(part) for part in parts))
    words = frozenset(token.word for token in tokens if token.sort is Sort.WORD)
    return Statement(
        kind,
        names,
        unqualified,
        read,
        calls_in(tokens),
        sources_in(tokens, vendor),
        find_key_lookup(text) if kind in {Kind.READ, Kind.WRITE} and len(readings) == 1 else None,
        replaces="replace" in words and kind is Kind.WRITE,
        truncates="truncate" in words,
        returns_rows="returning" in words,
        reads=kind is not Kind.NEUTRAL and not all(is_plain_insert(part) for part in parts),
        doubt=doubt_of(readings, parts, vendor),
        temporary=temporary_in(tokens),
        changes_role=changes_role(tokens, kind),
        begins=bool(tokens) and tokens[0].word == "begin",
        is_own=bool(touched) and all(name.startswith(OWN_PREFIX) for name in touched),
    )


END = Token(";", Sort.SIGN)


def doubt_of(
    readings: Sequence[Sequence[Token]], parts: Sequence[Sequence[Token]], vendor: str
) -> str:
    """Return why a statement is not fully understood; "": it is."""
    if len(readings) > 1:
        return "its strings or comments can be read in two ways"
    for part in parts:
        first = next((token.word for token in part if token.sort is Sort.WORD), "")
        if first in SHOWING_WORDS:
            return f"{first.upper()} shows what is no row of a table"
        if first and first not in KIND_OF_FIRST_WORD.keys() | UNDERSTOOD_WRITES:
            return f"{first.upper()} does not say what it reads"
        if vendor == "postgresql" and has_unicode_name(part):
            return "a name in it is written with escapes"
    return ""


def changes_role(tokens: Sequence[Token], kind: Kind) -> bool:
    """Tell whether a statement may change the role on PostgreSQL: SET ROLE, or by set_config()."""
    if kind is Kind.NEUTRAL:
        return any(token.word in {"role", "authorization"} for token in tokens)
    values = [token.text for token in tokens if token.sort is Sort.VALUE]
    is_of_users = any("." in value for value in values)  # as in 'app.tenant'
    return not is_of_users and "set_config" in calls_in(tokens)


def has_unicode_name(tokens: Sequence[Token]) -> bool:
    """Tell whether a name is written as `U&"..."`."""
    return any(
        letter.word == "u" and sign.word == "&" and name.is_quoted
        for letter, sign, name in zip(tokens, tokens[1:], tokens[2:], strict=False)
    )


def is_plain_insert(tokens: Sequence[Token]) -> bool:
    """Tell whether a statement adds rows and asks for none: its outcome is what it was given."""
    words = {token.word for token in tokens if token.sort is Sort.WORD}
    first = next((token.word for token in tokens if token.sort is Sort.WORD), "")
    reading = {"select", "with", "table", "conflict", "duplicate", "ignore", "or"}
    return not first or (first == "insert" and not words & reading)


def temporary_in(tokens: Sequence[Token]) -> str | None:
    """Return the name of the temporary table that a statement creates, if it does."""
    for at, (before, token) in enumerate(pairwise(tokens), start=2):
        if token.word in {"temp", "temporary"} and before.word in BEFORE_TEMPORARY:
            names = [one.text.lower() for one in tokens[at:] if one.word not in AFTER_TEMPORARY]
            return names[2] if names[1:2] == ["."] else next(iter(names), None)
    return None


BEFORE_TEMPORARY = frozenset({"create", "replace", "into", "local", "global"})
AFTER_TEMPORARY = frozenset({"table", "view", "recursive", "if", "not", "exists"})


def names_in(tokens: Sequence[Token]) -> tuple[frozenset[str], frozenset[str]]:
    """Return all that may be names, and those that no dot precedes."""
    names, unqualified = set(), set()
    before = ""
    for token in tokens:
        if token.is_name:
            name = token.text.lower()
            names.add(name)
            if before != ".":
                unqualified.add(name)
        before = token.word
    return frozenset(names), frozenset(unqualified)


@lru_cache(maxsize=512)
def names_of(text: str, vendor: str) -> frozenset[str]:
    """Return all that may be names in a text, such as a view's definition."""
    return names_in(read_tokens(text, vendor))[0]


def split_statements(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """Yield the tokens of each statement of the text."""
    part: list[Token] = []
    for token in tokens:
        if token.word == ";":
            yield part
            part = []
        else:
            part.append(token)
    if part:
        yield part


def kind_of(tokens: Sequence[Token]) -> Kind:
    """Return what one statement does."""
    words = [token.word for token in tokens if token.sort is Sort.WORD]
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
