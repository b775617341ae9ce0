"""Which rows of its tracked tables a statement reads: all, or those with some values in a column.

The SQL analysis makes one ReadRows for each statement that it remembers. Parsing takes about a
millisecond, so it waits until the tags are needed.
"""

from __future__ import annotations

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
from cachelayers.invalidation.tags import (
    LONGEST_KEY_TEXT,
    all_rows_tag,
    row_tag,
    slice_tag,
    slices_tag,
    table_tag,
)
from cachelayers.invalidation.tracked import KeyKind, TrackedTable, without_schema

MOST_VALUES = 50  # of one column in one statement; with more, the table's tag is shorter

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
        return str(value) if type(value) is int else None
    if kind is KeyKind.TEXT:
        return value if type(value) is str and len(value) <= LONGEST_KEY_TEXT else None
    if type(value) is UUID:
        return value.hex
    try:
        return UUID(value).hex if type(value) is str else None
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class KeyedTable:
    """A table, and the columns whose values the log and statements write alike.

    ``kinds``: by lower-case name. The first column that a statement fixes is taken, so the most
    selective comes first.
    """

    table: TrackedTable
    kinds: Mapping[str, tuple[str, KeyKind]]


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
        """Return the slices that an occurrence is limited to, by the most selective column."""
        fixed = {one.column: one for one in reversed(occurrence.fixed) if self._holds(keyed, one)}
        for name, (column, kind) in keyed.kinds.items():
            if name in fixed:
                return Slices(keyed.table, column, kind, fixed[name].values)
        return None

    def _holds(self, keyed: KeyedTable, fixed: Fixed) -> bool:
        """Return whether all columns that are compared with one another compare values alike."""
        if len(fixed.values) > MOST_VALUES:
            return False
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
