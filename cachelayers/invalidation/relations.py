"""Find what a statement reads as a table: the names after FROM and JOIN.

Too many cost a miss. Too few are found by their names all the same, if they are tracked: this tells
only whether there is something in a statement that the catalogue does not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cachelayers.invalidation.tokens import Token, names

# After which names no longer are tables, until the next FROM or JOIN.
END_OF_TABLES = names(
    "select where group having order limit window union intersect except offset fetch for "
    "returning set values when"
)
BEFORE_TABLE_NAME = frozenset({"only", "lateral", "rows"})
# Words that a parenthesis may follow without being called.
NO_CALLS = names(
    "in as any all some exists from join and or not on where select by values over filter "
    "with materialized union except intersect lateral only using when then else case like is "
    "between returning having limit set into recursive"
)


@dataclass(slots=True)
class Level:
    """What is known within one pair of parentheses."""

    is_call: bool = False  # `EXTRACT(YEAR FROM x)` names no table
    lists_tables: bool = False
    expects_table: bool = False
    is_table: bool = False  # all of it stands where a table may


class TableReader:
    """Reads a statement from left to right."""

    def __init__(self) -> None:
        """Begin outside of all parentheses."""
        self.found: set[str] = set()
        self._levels = [Level()]

    def read(self, tokens: Sequence[Token]) -> None:
        """Collect the names of tables."""
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
        """Take a name, its last part where it is qualified; return where it ends."""
        while at + 2 < len(tokens) and tokens[at + 1].word == "." and tokens[at + 2].is_name:
            at += 2
        is_call = at + 1 < len(tokens) and tokens[at + 1].word == "("
        if not is_call:
            self.found.add(tokens[at].text.lower())
        level = self._levels[-1]
        level.expects_table, level.lists_tables = False, True
        return at + 1

    def _follow(self, word: str, before: Token | None) -> None:
        """Note what a word or a sign means for the names after it."""
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
    """Return the names after FROM and JOIN, in lower case, without those that WITH defines."""
    reader = TableReader()
    reader.read(tokens)
    return frozenset(reader.found) - names_of_ctes(tokens)


def tables_written(tokens: Sequence[Token]) -> frozenset[str]:
    """Return the names after INTO, and after UPDATE or TABLE at the beginning of a statement."""
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
