"""The data classes of triggers and the parts of their SQL, for the vendors' modules."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import NamedTuple

from cachelayers.invalidation.tags import row_tag, slice_tag, table_tag
from cachelayers.invalidation.tracked import KeyedColumn, TrackedTable

PREFIX = "cachelayers_"  # of all our triggers and functions
TABLE_LOGGED = re.compile(rf"'{table_tag('')}((?:[^']|'')+)'")  # in a trigger's text
OWN_NAME = re.compile(rf"{PREFIX}[a-z]+_[0-9a-f]{{16}}\Z")


class TableLocation(NamedTuple):
    """A table of the database that holds rows of a tracked table."""

    table: TrackedTable  # with the key and the columns of the database's table
    name: str  # as in the database's catalogue, to compare triggers
    sql: str  # as in a statement
    bare: str  # alone, in lower case
    within: tuple[str, ...] = ()  # tracked tables whose rows are also rows of this one
    is_in_search_path: bool = True  # the table that this connection's statements mean
    is_partition: bool = False
    is_divided: bool = False  # other tables hold rows of it, or did
    # SQL: whether an UPDATE has changed the row, by the bytes of all its columns; "": not known.
    is_changed: str = ""


class Installed(NamedTuple):
    """What identifies a correct trigger: its name, its table and its text."""

    name: str
    location: str
    facts: tuple[object, ...]  # whether it fires, and last its text


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger that should exist."""

    installed: Installed
    location: TableLocation
    creation: tuple[str, ...]  # statements, in order

    @property
    def table(self) -> str:
        """Return the name of the tracked table."""
        return self.location.table.name


@dataclass(frozen=True, slots=True)
class Found:
    """One of our triggers that exists."""

    installed: Installed
    bare_location: str
    is_in_search_path: bool
    removal: str

    @property
    def logged_tables(self) -> set[str]:
        """Return the tables whose changes it logs, even if the code no longer has them."""
        return {name.replace("''", "'") for name in TABLE_LOGGED.findall(self.text)}

    @property
    def text(self) -> str:
        """Return its SQL, in the database's own form."""
        return str(self.installed.facts[-1])


def name_for(event: str, *texts: str) -> str:
    """Return the name of a trigger with that text."""
    digest = blake2b("\0".join(texts).encode(), digest_size=8).hexdigest()
    return f"{PREFIX}{event}_{digest}"


def fit(
    table: TrackedTable, key_columns: Collection[str], columns: Collection[str]
) -> TrackedTable:
    """Return the table with the key and keyed columns that the database has.

    Old and new code run side by side during a deploy. A trigger on a missing column would make
    every write fail, and a column that only the new code uses as key does not identify the old
    code's rows. Without a key, every write logs all rows, which every slice's entry depends on.
    """
    if table.key_column not in key_columns:
        return replace(table, key_column=None, key_kind=None, columns=())
    there = tuple(column for column in table.columns if column.name in columns)
    return replace(table, columns=there)


def keyed_tags(table: TrackedTable) -> Iterator[tuple[str, KeyedColumn]]:
    """Yield how the tags of each keyed column begin: those of rows, and those of slices."""
    for column in table.keyed:
        is_key = column.name == table.key_column
        yield row_tag(table.name, "") if is_key else slice_tag(table.name, column.name, ""), column


def literal(text: str) -> str:
    """Return text as an SQL literal, because definitions take no parameters.

    >>> literal("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def mysql_literal(text: str) -> str:
    """Return text as MySQL's literal, in which backslashes are escaped too."""
    return literal(text.replace("\\", "\\\\"))
