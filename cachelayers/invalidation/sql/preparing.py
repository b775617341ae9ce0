"""Prepare a SELECT for another parser: number its strings and parameters.

What the other parser, or the database with other settings, may read differently than the tokenizer
of this package makes the statement not understood.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from cachelayers.invalidation.sql.tokens import (
    BLOCK,
    MARKS,
    Token,
    end_of_comment,
    names,
    pattern_for,
    token_of,
)


class NotUnderstood(Exception):
    """A statement has a part whose meaning is not known."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A `%s`, by its place among the statement's parameters."""

    index: int


@dataclass(frozen=True, slots=True)
class Literal:
    """A value in the statement's text."""

    value: int | str


Value = Parameter | Literal


STAND_IN = re.compile(r"_[ps][0-9]+\Z")  # what stands for parameters and strings
FIRST = names("select with (")
PLACEHOLDER_LETTERS = frozenset("sbt(")  # after `%`
DEEPEST = 30  # parentheses within another
PLAIN = re.compile(r"'([^'\\%]*)'\Z")
HIDDEN = re.compile(r"%[^%]|%\Z")
# Signs that sqlglot reads in another way than the database, or that depend on its settings.
UNCLEAR_SIGNS = {
    "postgresql": re.compile(r"[{}\\]"),
    "sqlite": re.compile(r"[{}\\:@$]"),  # `:name`, `@name` and `$name` are parameters too
    "mysql": re.compile(r"[{}\\]|\|\||&&|!(?!=)|:="),
}
# A parameter between others of these tokens is compared as it is.
BEFORE_VALUE = names("= ( , and where on")
AFTER_VALUE = names(
    "; = ) , and where group having window union except intersect order limit offset fetch for lock"
    " join inner left cross straight_join"
)


@dataclass(slots=True)
class Prepared:
    """A statement whose strings and parameters are replaced by numbered strings."""

    sql: str
    tokens: list[Token]
    values: dict[str, Value]  # by what stands for them


@dataclass(slots=True)
class Preparing:
    """The state while a statement is prepared."""

    vendor: str
    parts: list[str] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    values: dict[str, tuple[Value, int]] = field(default_factory=dict)  # with the token's place
    parameters: int = 0
    strings: int = 0
    depth: int = 0  # of parentheses

    def add(self, match: re.Match[str], group: str) -> None:
        """Add one token."""
        raw = match[0]
        if group == "string" or group == "dollar" or (group == "double" and self.vendor == "mysql"):
            self.add_string(raw)
        elif group in MARKS:
            self.add_name(match[group])
        elif group == "placeholder":
            self.add_placeholder(raw)
        elif group == "word":
            demand("$" not in raw and not STAND_IN.match(raw))
            demand(self.vendor != "mysql" or raw.lower() != "xor")
            self.parts.append(raw)
        else:
            self.add_sign(raw, match.string[match.end() : match.end() + 1])
        self.tokens.append(token_of(match, group))

    def add_sign(self, raw: str, after: str) -> None:
        """Add a sign or a number. ``after``: the next character."""
        demand(raw != "%" or after not in PLACEHOLDER_LETTERS)
        self.depth += (raw == "(") - (raw == ")")
        demand(self.depth <= DEEPEST)
        is_second_minus = raw == "-" and self.parts[-1:] == ["-"]  # no comment for sqlglot
        self.parts.append(" -" if is_second_minus else raw)

    def add_string(self, raw: str) -> None:
        """Add what stands for a string. A string in double quotes may be a name on MySQL."""
        demand(not HIDDEN.search(raw.replace("%%", "")))
        mark = f"_s{self.strings}"
        self.strings += 1
        plain = PLAIN.match(raw)
        if plain is not None:
            self.values[mark] = Literal(plain[1]), len(self.tokens)
        self.parts.append(f" '{mark}' ")

    def add_name(self, name: str) -> None:
        """Add a quoted name."""
        demand(bool(name) and not re.search(r"[\"`\\%]", name) and not STAND_IN.match(name))
        mark = "`" if self.vendor == "mysql" else '"'
        self.parts.append(f"{mark}{name}{mark}")

    def add_placeholder(self, raw: str) -> None:
        """Add what stands for a parameter."""
        if raw == "%s":
            mark = f"_p{self.parameters}"
            self.values[mark] = Parameter(self.parameters), len(self.tokens)
            self.parameters += 1
            self.parts.append(f" '{mark}' ")
        else:
            # PostgreSQL has an operator `?`. Others are parameters of other kinds.
            demand(raw == "%%" or (raw == "?" and self.vendor == "postgresql"))
            self.parts.append("%" if raw == "%%" else raw)

    def is_bare(self, at: int) -> bool:
        """Return whether a value is compared, or listed, without an operator around it."""
        before = self.tokens[at - 1].word if at else ""
        after = self.tokens[at + 1].word if at + 1 < len(self.tokens) else ";"
        return before in BEFORE_VALUE and after in AFTER_VALUE


def prepare(text: str, vendor: str) -> Prepared:
    """Return the statement as it is given to sqlglot."""
    # Whether a backslash escapes depends on the session, except on SQLite.
    demand(vendor == "sqlite" or "\\" not in text)
    match_token, at, state = pattern_for(vendor, backslashes=False).match, 0, Preparing(vendor)
    while (match := match_token(text, at)) is not None:
        at, group = match.end(), str(match.lastgroup)
        if group == BLOCK:
            at = end_of_comment(text, at, nests=vendor == "postgresql")
            demand(not re.match(r"/\*(?:[!+]|M!)", match.string[match.start() : at]))
        if group in {BLOCK, "space"}:
            demand(not HIDDEN.search(text[match.start() : at].replace("%%", "")))
            state.parts.append(" ")
        else:
            state.add(match, group)
    sql = "".join(state.parts).rstrip("; ")
    demand(";" not in sql and not UNCLEAR_SIGNS[vendor].search(sql))
    demand(bool(state.tokens) and state.tokens[0].word in FIRST)
    values = {mark: value for mark, (value, at) in state.values.items() if state.is_bare(at)}
    return Prepared(sql, state.tokens, values)


def demand(condition: bool) -> None:
    if not condition:
        raise NotUnderstood
