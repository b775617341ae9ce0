"""Cut a statement's text into words, quoted names, values and signs, as its vendor does.

Strings and comments are found in one pass: each may hold what begins the other. What a vendor reads
in two ways, depending on a setting of the session, is read in both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto
from functools import lru_cache
from typing import NamedTuple


class Sort(Enum):
    """What a token is."""

    WORD = auto()
    QUOTED = auto()  # a quoted name; on MySQL perhaps a string
    VALUE = auto()  # a string, a number or a placeholder
    SIGN = auto()


class Token(NamedTuple):
    """A word or name as it is written, what is in a string, or one sign."""

    text: str
    sort: Sort

    @property
    def is_name(self) -> bool:
        """Tell whether it may name something."""
        return self.sort is Sort.WORD or self.sort is Sort.QUOTED

    @property
    def is_quoted(self) -> bool:
        """Tell whether it is a name in quotes."""
        return self.sort is Sort.QUOTED

    @property
    def word(self) -> str:
        """Return a word in lower case, or a sign; "" for what is quoted and for a value."""
        return self.text.lower() if self.sort in {Sort.WORD, Sort.SIGN} else ""


def names(text: str) -> frozenset[str]:
    """Return the words of a text, for lists of them."""
    return frozenset(text.split())


BLOCK = "block"  # a comment whose end is looked for by itself: PostgreSQL nests them
# One alternative per thing that hides what is in it, then what counts. Each is linear in time.
LINE_COMMENT = {
    "postgresql": r"--[^\n\r]*",
    # `5--1` is a subtraction there.
    "mysql": r"--(?=[\s\x00-\x1f]|\Z)[^\n]*|\#[^\n]*",
    "sqlite": r"--[^\n]*",
}
PLAIN_STRING = r"'(?:[^']|'')*(?:'|\Z)"
BACKSLASHED = r"'(?:[^'\\]|\\.|'')*(?:'|\\?\Z)"
# A string that goes on in the next line is read as it began.
ESCAPED = rf"[eE]{BACKSLASHED}(?:\s*?\n(?:\s|--[^\n\r]*[\n\r])*{BACKSLASHED})*"
STRING = {
    "postgresql": rf"{ESCAPED}|[nNbBxX]?{PLAIN_STRING}",
    "postgresql with backslashes": rf"[eEnNbBxX]?{BACKSLASHED}",
    "mysql": rf"[nNbBxX]?{PLAIN_STRING}",
    "mysql with backslashes": rf"[nNbBxX]?{BACKSLASHED}",
    "sqlite": rf"[xX]?{PLAIN_STRING}",
}
DOUBLE = r'"(?P<double>(?:[^"]|"")*)(?:"|\Z)'
DOUBLE_BACKSLASHED = r'"(?P<double>(?:[^"\\]|\\.|"")*)(?:"|\\?\Z)'
BACK = r"`(?P<back>(?:[^`]|``)*)(?:`|\Z)"
BRACKET = r"\[(?P<bracket>[^\]]*)(?:\]|\Z)"
DOLLAR = r"\$(?P<tag>(?:[^\W\d]\w*)?)\$(?P<dollar>.*?)(?:\$(?P=tag)\$|\Z)"
QUOTED = {
    "postgresql": f"{DOUBLE}|{DOLLAR}",
    "mysql": f"{DOUBLE}|{BACK}",
    "mysql with backslashes": f"{DOUBLE_BACKSLASHED}|{BACK}",
    "sqlite": f"{DOUBLE}|{BACK}|{BRACKET}",
}
WORD = {
    "postgresql": r"[^\W\d][\w$]*",
    # They may begin with a digit there.
    "mysql": r"(?:\d*[^\W\d]|\$)[\w$]*",
    "sqlite": r"[^\W\d][\w$]*",
}


@lru_cache(maxsize=8)
def pattern_for(vendor: str, *, backslashes: bool) -> re.Pattern[str]:
    """Return what one token looks like."""
    flavour = f"{vendor} with backslashes" if backslashes else vendor
    return re.compile(
        rf"""
          (?P<space>\s+|{LINE_COMMENT[vendor]})
        | (?P<{BLOCK}>/\*)
        | (?P<string>{STRING.get(flavour, STRING[vendor])})
        | {QUOTED.get(flavour, QUOTED[vendor])}
        | (?P<placeholder>%\(\w+\)s|%s(?!\w)|%%|\$\d+|\?\d*)
        | (?P<word>{WORD[vendor]})
        | (?P<number>\d+)
        | (?P<sign>.)
        """,
        re.VERBOSE | re.DOTALL,
    )


def read_tokens(text: str, vendor: str) -> list[Token]:
    """Return the tokens of a text, read as with the vendor's own settings."""
    return list(tokens_of(text, vendor, backslashes=vendor == "mysql"))


def readings_of(text: str, vendor: str, *, has_backslashes: bool | None) -> list[list[Token]]:
    """Return the tokens of a text, in each way that it may be read.

    ``has_backslashes``: whether a backslash in a string hides what is after it; None: not known.
    """
    ways = [has_backslashes] if has_backslashes is not None else [True, False]
    if "\\" not in text:
        ways = ways[:1]
    is_run = [True, False] if vendor == "mysql" and RUN_COMMENT.search(text) else [True]
    found: list[list[Token]] = []
    for way in ways:
        for runs in is_run:
            tokens = list(tokens_of(text, vendor, backslashes=way, runs_comments=runs))
            if tokens not in found:
                found.append(tokens)
    return found


def tokens_of(
    text: str, vendor: str, *, backslashes: bool, runs_comments: bool = True
) -> Iterator[Token]:
    """Yield the tokens. Of names all that may be one: of a MySQL string in double quotes too.

    ``runs_comments``: read what is in MySQL's `/*! ... */`, which it runs or not by its version.
    """
    match_token, at = pattern_for(vendor, backslashes=backslashes).match, 0
    runs_comments = runs_comments and vendor == "mysql"
    while (match := match_token(text, at)) is not None:
        at, group = match.end(), match.lastgroup
        if group == BLOCK:
            is_run = RUN_COMMENT.match(text, match.start()) if runs_comments else None
            at = is_run.end() if is_run else end_of_comment(text, at, nests=vendor == "postgresql")
        elif group != "space":
            yield token_of(match, str(group))


def token_of(match: re.Match[str], group: str) -> Token:
    """Return the token that was matched."""
    if group in {"word", "sign"}:
        return Token(match[0], Sort.WORD if group == "word" else Sort.SIGN)
    if group in MARKS:
        return Token(match[group].replace(MARKS[group] * 2, MARKS[group]), Sort.QUOTED)
    if group == "string":
        return Token(match[0].partition("'")[2].removesuffix("'"), Sort.VALUE)
    return Token(match[group], Sort.VALUE)


MARKS = {"double": '"', "back": "`", "bracket": "]"}
RUN_COMMENT = re.compile(r"/\*M?!\d*")
COMMENT_MARK = re.compile(r"/\*|\*/")


def end_of_comment(text: str, at: int, *, nests: bool) -> int:
    """Return where a block comment ends that begins just before ``at``."""
    depth = 1
    for mark in COMMENT_MARK.finditer(text, at):
        if mark[0] == "*/":
            depth -= 1
        elif nests:
            depth += 1
        if not depth:
            return mark.end()
    return len(text)
