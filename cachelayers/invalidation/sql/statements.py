"""Parse a statement's text: its kind, its tables, and the column by which it selects rows.

The SQL analysis uses the result.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from cachelayers.invalidation.sql.tokens import (
    Sort,
    Source,
    Token,
    calls_in,
    names,
    read_tokens,
    readings_of,
    sources_in,
)

# Names after these are not tables, until the next FROM or JOIN.
END_OF_TABLES = names(
    "select where group having order limit window union intersect except offset fetch for "
    "returning set values when"
)
BEFORE_TABLE_NAME = frozenset({"only", "lateral", "rows"})
# Keywords before a parenthesis that are not function calls.
NO_CALLS = names(
    "in as any all some exists from join and or not on where select by values over filter "
    "with materialized union except intersect lateral only using when then else case like is "
    "between returning having limit set into recursive"
)


@dataclass(slots=True)
class Level:
    """The state within one pair of parentheses."""

    is_call: bool = False  # `EXTRACT(YEAR FROM x)` names no table
    lists_tables: bool = False
    expects_table: bool = False
    is_table: bool = False  # all of it is where a table may be


class TableReader:
    """Reads a statement from left to right and collects table names."""

    def __init__(self) -> None:
        self.found: set[str] = set()
        self._levels = [Level()]

    def read(self, tokens: Sequence[Token]) -> None:
        at = 0
        while at < len(tokens):
            token = tokens[at]
            level = self._levels[-1]
            if (
                token.is_name
                and level.expects_table
                and token.word
                not in {
                    *BEFORE_TABLE_NAME,
                    "select",
                    "with",
                    "values",
                }
            ):
                at = self._take_name(tokens, at)
                continue
            before = tokens[at - 1] if at else None
            self._follow(token.word, before)
            at += 1

    def _take_name(self, tokens: Sequence[Token], at: int) -> int:
        """Read a name, or the last part of a qualified one. Return where it ends."""
        while at + 2 < len(tokens) and tokens[at + 1].word == "." and tokens[at + 2].is_name:
            at += 2
        is_call = at + 1 < len(tokens) and tokens[at + 1].word == "("
        if not is_call:
            self.found.add(tokens[at].text.lower())
        level = self._levels[-1]
        level.expects_table, level.lists_tables = False, True
        return at + 1

    def _follow(self, word: str, before: Token | None) -> None:
        """Note what a keyword or sign means for the names after it."""
        level = self._levels[-1]
        if word == "(":
            is_call = before is not None and before.is_name and before.word not in NO_CALLS
            expects = level.expects_table
            self._levels.append(Level(is_call, expects_table=expects, is_table=expects))
        elif word == ")":
            if len(self._levels) > 1:
                self._levels.pop()
            self._levels[-1].expects_table = False
            self._levels[-1].lists_tables |= level.is_table
        elif word == "from":
            is_distinct = before is not None and before.word == "distinct"
            level.expects_table = not level.is_call and not is_distinct
        elif word in {"join", "straight_join"}:
            level.expects_table = True
        elif word == ",":
            level.expects_table = level.lists_tables
        elif word in END_OF_TABLES:
            level.is_call = level.expects_table = level.lists_tables = False


def tables_read(tokens: Sequence[Token]) -> frozenset[str]:
    """Return the lower-case names after FROM and JOIN, without those that WITH defines."""
    reader = TableReader()
    reader.read(tokens)
    return frozenset(reader.found) - names_of_ctes(tokens)


def tables_written(tokens: Sequence[Token]) -> frozenset[str]:
    """Return the names after INTO, and after an initial UPDATE or TABLE."""
    found = set()
    for at, token in enumerate(tokens):
        is_first = at == 0 and token.word in {"update", "truncate"}
        if token.word == "into" or is_first or (token.word == "table" and at == 1):
            names = [one for one in tokens[at + 1 : at + 6] if one.word not in SKIPPED]
            if names[1:2] and names[1].word == "." and len(names) > 2:
                names = names[2:]
            found |= {one.text.lower() for one in names[:1]}
    return frozenset(found)


SKIPPED = frozenset({"only", "table", "temp", "temporary", "if", "not", "exists", "ignore"})


def names_of_ctes(tokens: Sequence[Token]) -> frozenset[str]:
    """Return the names in ``name AS (`` and ``name (columns) AS [NOT MATERIALIZED] (``."""
    words = [token.word for token in tokens]
    found = set()
    for at, word in enumerate(words):
        after = [one for one in words[at + 1 : at + 4] if one not in {"not", "materialized"}]
        if word != "as" or not at or after[:1] != ["("]:
            continue
        before = at - 1
        if words[before] == ")":
            while before > 0 and words[before] != "(":
                before -= 1
            before -= 1
        if before >= 0 and tokens[before].is_name:
            found.add(tokens[before].text.lower())
    return frozenset(found)


MOST_KEYS = 20  # with more, the table's tag is shorter


class KeyLookup(NamedTuple):
    """The table, the column, and the parameters that are its values."""

    table: str
    column: str
    parameters: tuple[int, ...]


NAME = r'(?:"[^"]+"|`[^`]+`)'
# Columns with aliases. Without parentheses, there is no function, subquery or aggregate.
COLUMNS = rf"(?:DISTINCT )?(?:(?:{NAME}\.)?{NAME}|[0-9]+|%s)(?: AS {NAME})?"
KEYS = r"(?P<keys>= %s|IN \(%s(?:, %s)*\))"
AFTER = (
    r"(?: ORDER BY (?:{name}\.)?[^()%;]+?(?: ASC| DESC)?)?(?: LIMIT [0-9]+)?(?: OFFSET [0-9]+)?"
    r"(?: FOR (?:NO KEY )?UPDATE)?"
).replace("{name}", NAME)
SELECT = re.compile(
    rf"(?P<before>SELECT {COLUMNS}(?:, {COLUMNS})*) FROM (?P<table>{NAME})"
    rf" WHERE \(?(?P<alias>{NAME})\.(?P<column>{NAME}) {KEYS}\)?{AFTER}\Z"
)
UPDATE = re.compile(
    rf"(?P<before>UPDATE (?P<table>{NAME}) SET (?P<sets>{NAME} = (?:%s|NULL)"
    rf"(?:, {NAME} = (?:%s|NULL))*))"
    rf" WHERE \(?(?P<alias>{NAME})\.(?P<column>{NAME}) {KEYS}\)?\Z"
)
DELETE = re.compile(
    rf"(?P<before>DELETE) FROM (?P<table>{NAME})"
    rf" WHERE \(?(?P<alias>{NAME})\.(?P<column>{NAME}) {KEYS}\)?\Z"
)


def find_key_lookup(text: str) -> KeyLookup | None:
    """Return the rows that a statement selects, if it selects them by one column's values."""
    for pattern in (SELECT, UPDATE, DELETE):
        match = pattern.match(text)
        if match is not None:
            return lookup_of(match)
    return None


def lookup_of(match: re.Match[str]) -> KeyLookup | None:
    """Return the lookup, unless it is on another table or the statement changes the column."""
    groups = match.groupdict()
    if groups["alias"] != groups["table"] or " UNION " in match[0]:
        return None
    if re.search(rf"(?:^|, ){re.escape(groups['column'])} =", groups.get("sets") or ""):
        return None
    first = groups["before"].count("%s")
    count = groups["keys"].count("%s")
    if count > MOST_KEYS:
        return None
    parameters = tuple(range(first, first + count))
    return KeyLookup(groups["table"][1:-1], groups["column"][1:-1], parameters)


OWN_PREFIX = "cachelayers_"  # of every table of this package


class Kind(IntEnum):
    """The kind of a statement. For several in one text, the highest counts."""

    NEUTRAL = 0  # transactions, settings, plans
    READ = 1
    WRITE = 2  # and everything unknown
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
# In a statement that begins as a read, these make it a write: a writing CTE, or SELECT INTO.
WRITING_WORDS = frozenset({"insert", "update", "delete", "merge", "into"})
# `FOR UPDATE`, `ON UPDATE` and `DO UPDATE` are not writes by themselves.
BEFORE_NO_WRITE = frozenset({"for", "on", "key"})

# Statements whose text does not show what they do, such as CALL, FETCH or COPY.
UNDERSTOOD_WRITES = frozenset({"insert", "update", "delete", "replace", "merge", "truncate"})
# They write nothing, but return something other than a table's rows.
SHOWING_WORDS = frozenset({"show", "pragma", "explain", "describe", "desc", "check"})


@dataclass(frozen=True, slots=True)
class Statement:
    """What a statement's text shows. Names are in lower case."""

    kind: Kind
    names: frozenset[str]
    # Names without a dot before them: columns mostly have one, tables do not.
    unqualified: frozenset[str]
    tables_read: frozenset[str]  # the names after FROM and JOIN
    calls: frozenset[str]  # names of functions, and other words before a parenthesis
    sources: frozenset[Source]  # sources of values other than tables
    key_lookup: KeyLookup | None
    replaces: bool  # conflicting rows are deleted
    truncates: bool
    returns_rows: bool  # a write with RETURNING
    reads: bool  # its result may depend on existing rows
    doubt: str  # why it is not fully understood; "": it is understood
    temporary: str | None  # the name of the temporary table that it creates
    changes_role: bool
    begins: bool  # a transaction
    is_own: bool  # uses only this package's tables


def parse_statement(text: str, vendor: str, *, has_backslashes: bool | None = None) -> Statement:
    """Parse a statement, or several in one text.

    ``has_backslashes``: whether the session interprets backslashes in strings; None: not known.
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
            return f"{first.upper()} returns something that is not in a table"
        if first and first not in KIND_OF_FIRST_WORD.keys() | UNDERSTOOD_WRITES:
            return f"{first.upper()} does not say what it reads"
        if vendor == "postgresql" and has_unicode_name(part):
            return "a name in it is written with escapes"
    return ""


def changes_role(tokens: Sequence[Token], kind: Kind) -> bool:
    """Return whether a statement may change the role on PostgreSQL: SET ROLE, or set_config()."""
    if kind is Kind.NEUTRAL:
        return any(token.word in {"role", "authorization"} for token in tokens)
    values = [token.text for token in tokens if token.sort is Sort.VALUE]
    is_of_users = any("." in value for value in values)  # as in 'app.tenant'
    return not is_of_users and "set_config" in calls_in(tokens)


def has_unicode_name(tokens: Sequence[Token]) -> bool:
    """Return whether a name is written as `U&"..."`."""
    return any(
        letter.word == "u" and sign.word == "&" and name.is_quoted
        for letter, sign, name in zip(tokens, tokens[1:], tokens[2:], strict=False)
    )


def is_plain_insert(tokens: Sequence[Token]) -> bool:
    """Return whether a statement adds rows and reads none."""
    words = {token.word for token in tokens if token.sort is Sort.WORD}
    first = next((token.word for token in tokens if token.sort is Sort.WORD), "")
    reading = {"select", "with", "table", "conflict", "duplicate", "ignore", "or"}
    return not first or (first == "insert" and not words & reading)


def temporary_in(tokens: Sequence[Token]) -> str | None:
    """Return the name of the temporary table that a statement creates, or None."""
    for at, (before, token) in enumerate(pairwise(tokens), start=2):
        if token.word in {"temp", "temporary"} and before.word in BEFORE_TEMPORARY:
            names = [one.text.lower() for one in tokens[at:] if one.word not in AFTER_TEMPORARY]
            return names[2] if names[1:2] == ["."] else next(iter(names), None)
    return None


BEFORE_TEMPORARY = frozenset({"create", "replace", "into", "local", "global"})
AFTER_TEMPORARY = frozenset({"table", "view", "recursive", "if", "not", "exists"})


def names_in(tokens: Sequence[Token]) -> tuple[frozenset[str], frozenset[str]]:
    """Return all possible names, and those without a dot before them."""
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
    """Return all possible names in a text, such as a view's definition."""
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
    """Return the kind of one statement."""
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
