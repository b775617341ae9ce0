"""What a trigger is here, and the words its text is made of. Used by the vendors' modules."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import NamedTuple

from cachelayers.invalidation.tags import table_tag
from cachelayers.invalidation.tracked import TrackedTable

PREFIX = "cachelayers_"  # of every trigger and function of ours
TABLE_LOGGED = re.compile(rf"'{table_tag('')}((?:[^']|'')+)'")  # in a trigger's text
OWN_NAME = re.compile(rf"{PREFIX}[a-z]+_[0-9a-f]{{16}}\Z")


class TableLocation(NamedTuple):
    """A table of the database that holds rows of a tracked table."""

    table: TrackedTable  # with the key that the database's own table has
    name: str  # as the database's catalogue has it: what a trigger there is compared by
    sql: str  # as a statement names it
    bare: str  # alone, in lower case
    within: tuple[str, ...] = ()  # tracked tables of their own whose rows are also its
    is_in_sight: bool = True  # this connection's statements mean it
    is_partition: bool = False
    is_divided: bool = False  # other places hold rows of it, or have


class Installed(NamedTuple):
    """All that makes a trigger the right one: where it is, and what it does there."""

    name: str
    place: str
    facts: tuple[object, ...]  # whether it fires, and last its text


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger that is to be."""

    installed: Installed
    place: TableLocation
    creation: tuple[str, ...]  # statements, in order

    @property
    def table(self) -> str:
        """Return the name of the tracked table."""
        return self.place.table.name


@dataclass(frozen=True, slots=True)
class Found:
    """A trigger of ours that is there."""

    installed: Installed
    bare_location: str
    is_in_sight: bool
    removal: str

    @property
    def logged_tables(self) -> set[str]:
        """Return the tables whose changes it logs; the code need not know them any more."""
        return {name.replace("''", "'") for name in TABLE_LOGGED.findall(self.text)}

    @property
    def text(self) -> str:
        """Return what it does, in the database's own words."""
        return str(self.installed.facts[-1])


def name_for(event: str, *texts: str) -> str:
    """Return the name of a trigger with that text."""
    digest = blake2b("\0".join(texts).encode(), digest_size=8).hexdigest()
    return f"{PREFIX}{event}_{digest}"


def fit_key(table: TrackedTable, key_columns: Collection[str]) -> TrackedTable:
    """Return the table with its key as far as the database has it; without one all rows count.

    Old and new code run side by side while a deploy lasts. A column that is not there would make
    every write fail, and one that only the new code takes for the key names no row of the old's.
    """
    if table.key_column in key_columns:
        return table
    return replace(table, key_column=None, key_kind=None)


def literal(text: str) -> str:
    """Return text as an SQL literal: definitions take no parameters.

    >>> literal("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def mysql_literal(text: str) -> str:
    """Return text as MySQL's literal, where a backslash means something too."""
    return literal(text.replace("\\", "\\\\"))
