"""Which rows of its tracked tables a statement reads: all, or those with some values in a column.

The SQL analysis makes one ReadRows for each statement that it remembers. Parsing takes about a
millisecond, so it waits until the tags are needed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from cachelayers.invalidation.sql.conditions import (
    Fixed,
    Literal,
    Occurrence,
    Parameter,
    occurrences_in,
)
from cachelayers.invalidation.sql.explaining import unused_condition
from cachelayers.invalidation.tags import (
    LONGEST_KEY_TEXT,
    all_rows_tag,
    row_tag,
    slice_tag,
    slices_tag,
    table_tag,
)
from cachelayers.invalidation.tracked import KeyKind, TrackedTable, without_schema

UUID_DIGITS = re.compile("[0-9a-f]{32}")  # as triggers write it, without dashes

PSYCOPGS_INTEGERS = "psycopg.types.numeric"  # as Django gives the values of integer fields to it

Values = tuple[Parameter | Literal, ...]


@dataclass(frozen=True, slots=True)
class Slices:
    """The rows of a table that have one of some values in a keyed column."""

    table: TrackedTable
    column: str  # as the database spells it
    kind: KeyKind
    values: Values

    def tags(self, parameters: Any) -> list[str] | None:
        """Return the tags of the slices, or None if the text of a value may not identify it."""
        texts = [self._text_of(value, parameters) for value in self.values]
        if None in texts:
            return None
        if self.column == self.table.key_column:
            return [row_tag(self.table.name, str(text)) for text in texts]
        return [slice_tag(self.table.name, self.column, str(text)) for text in texts]

    def tags_read(self, parameters: Any) -> list[str] | None:
        """Return the same tags, with those that are logged where slices are not known."""
        tags = self.tags(parameters)
        if tags is None:
            return None
        name = self.table.name
        unknown = [] if self.column == self.table.key_column else [slices_tag(name)]
        return [*tags, all_rows_tag(name), *unknown]

    def _text_of(self, value: Parameter | Literal, parameters: Any) -> str | None:
        if isinstance(value, Literal):
            return text_of_value(self.kind, value.value)
        if not isinstance(parameters, (list, tuple)) or len(parameters) <= value.index:
            return None
        return text_of_value(self.kind, parameters[value.index])


def text_of_value(kind: KeyKind, value: Any) -> str | None:
    """Return the text of a column's value in tags, or None if it may not identify the value."""
    # Exactly these types: others may be compared or written differently.
    if kind is KeyKind.INTEGER:
        is_plain = type(value) is int or type(value).__module__ == PSYCOPGS_INTEGERS
        return str(int(value)) if is_plain and isinstance(value, int) else None
    if kind is KeyKind.TEXT:
        return value if type(value) is str and len(value) <= LONGEST_KEY_TEXT else None
    if type(value) is UUID:
        return value.hex
    digits = value.replace("-", "").lower() if type(value) is str else ""
    return digits if UUID_DIGITS.fullmatch(digits) else None  # not `{...}` or `urn:uuid:...`


@dataclass(frozen=True, slots=True)
class KeyedTable:
    """A table, and the columns whose values the log and statements write alike.

    ``kinds``: by lower-case name, the primary key first and the others by name. The first one that
    a statement fixes is taken.
    """

    table: TrackedTable
    kinds: Mapping[str, tuple[str, KeyKind]]
    # Lower-case names of columns whose values the database compares in another way.
    odd: frozenset[str] = frozenset()

    def names(self) -> dict[str, str]:
        """Return its columns that slices could be made of, by lower-case name."""
        named = {column.name.lower(): column.name for column in self.table.columns}
        if self.table.key_column is not None and self.table.key_kind is not None:
            named[self.table.key_column.lower()] = self.table.key_column
        return named


@dataclass(slots=True)
class ReadRows:
    """The rows of its tracked tables that one statement reads.

    ``keyed``: those of its tables that are named once in the code and are no views, by lower-case
    name without a schema.
    """

    text: str
    vendor: str
    tables: tuple[TrackedTable, ...]
    keyed: Mapping[str, KeyedTable]
    _parts: tuple[tuple[TrackedTable, tuple[Slices, ...]], ...] | None = field(default=None)

    def tags(self, parameters: Any) -> list[str]:
        """Return the tags of the rows."""
        if self._parts is None:
            self._parts = tuple(self._work_out())
        found: dict[str, None] = {}
        for table, slices in self._parts:
            found.update(dict.fromkeys(tags_of(table, slices, parameters)))
        return list(found)

    def _work_out(self) -> list[tuple[TrackedTable, tuple[Slices, ...]]]:
        occurrences = occurrences_in(self.text, self.vendor) if self.keyed else None
        return [
            (table, self._slices_of(table, occurrences or ()) if occurrences else ())
            for table in self.tables
        ]

    def why_whole(self, tag: str) -> str:
        """Return why it reads a whole table, by the table's tag: a reason and its columns, or "".

        Parsing may happen again: statistics ask for it, and no read.
        """
        if self._parts is None:
            self._parts = tuple(self._work_out())
        for table, slices in self._parts:
            if table_tag(table.name) == tag:
                # Each of them is the rows of some values, and the text of one was not certain.
                return f"type {slices[0].column}" if slices else self._why_no_slices(table)
        return ""

    def _why_no_slices(self, table: TrackedTable) -> str:
        name = without_schema(table.name).lower()
        keyed = self.keyed.get(name)
        if keyed is None or keyed.table is not table:
            return "columns" if table.key_kind is None and not table.columns else "view"
        occurrences = occurrences_in(self.text, self.vendor)
        if occurrences is None:
            return "unread"
        names = keyed.names()
        for occurrence in occurrences:
            if occurrence.table == name and self._slices_in(keyed, occurrence) is None:
                for fixed in occurrence.fixed:
                    if reason := self._why_not_fixed(keyed, fixed, names):
                        return reason
        found = unused_condition(self.text, self.vendor, name, frozenset(names))
        if found is None:
            return f"condition {','.join(sorted(names.values()))}"
        reason, column = found
        return f"{'unread' if reason == 'equal' else reason} {names[column]}"

    def _why_not_fixed(self, keyed: KeyedTable, fixed: Fixed, names: Mapping[str, str]) -> str:
        """Return why the values of a column make no slices; "": another column may say more."""
        if fixed.column not in names:
            return ""
        column = names[fixed.column]
        if fixed.column in keyed.odd:
            return f"odd {column}"
        if fixed.column not in keyed.kinds:
            return f"migrate {column}"
        return f"join {column}"

    def _slices_of(
        self, table: TrackedTable, occurrences: Sequence[Occurrence]
    ) -> tuple[Slices, ...]:
        """Return the slices of all occurrences of a table; none: all of its rows are read."""
        name = without_schema(table.name).lower()
        keyed = self.keyed.get(name)
        if keyed is None or keyed.table is not table:
            return ()
        found = [self._slices_in(keyed, one) for one in occurrences if one.table == name]
        return tuple(one for one in found if one is not None) if all(found) else ()

    def _slices_in(self, keyed: KeyedTable, occurrence: Occurrence) -> Slices | None:
        """Return the slices that an occurrence is limited to, by the first column that it fixes."""
        fixed = {one.column: one for one in reversed(occurrence.fixed) if self._holds(keyed, one)}
        for name, (column, kind) in keyed.kinds.items():
            if name in fixed:
                return Slices(keyed.table, column, kind, fixed[name].values)
        return None

    def _holds(self, keyed: KeyedTable, fixed: Fixed) -> bool:
        """Return whether all columns that are compared with one another compare values alike."""
        own = keyed.kinds.get(fixed.column)
        return own is not None and all(
            (other := self.keyed.get(table)) is not None
            and (found := other.kinds.get(column)) is not None
            and found[1] is own[1]
            for table, column in fixed.through
        )


def tags_of(table: TrackedTable, slices: Sequence[Slices], parameters: Any) -> list[str]:
    """Return the tags of some slices of a table, or of the whole table if one is not certain."""
    found: list[str] = []
    for one in slices:
        tags = one.tags_read(parameters)
        if tags is None:
            return [table_tag(table.name)]
        found += tags
    return found or [table_tag(table.name)]
