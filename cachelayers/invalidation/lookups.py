"""Recognise statements that choose rows of one table by one column. Used by statements.

Only the forms that Django writes; whatever else there is in a statement makes it none of these.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MOST_KEYS = 20  # beyond, the table's tag says it shorter


class KeyLookup(NamedTuple):
    """The table, the column, and which of the statement's parameters are its values."""

    table: str
    column: str
    parameters: tuple[int, ...]


NAME = r'(?:"[^"]+"|`[^`]+`)'
# Columns with aliases: no parentheses, so no function, subquery or aggregate over other rows.
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
    """Return which rows a statement chooses, if it does so by one column's values."""
    for pattern in (SELECT, UPDATE, DELETE):
        match = pattern.match(text)
        if match is not None:
            return lookup_of(match)
    return None


def lookup_of(match: re.Match[str]) -> KeyLookup | None:
    """Return the lookup, unless it is of another table or changes the column itself."""
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
