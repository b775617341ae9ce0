"""If a database does not compare a key by its text, the key does not identify one row."""

from __future__ import annotations

from enum import Enum
from uuid import UUID

import pytest
from django.db import connections

from cachelayers.invalidation.sql.analysis import key_text
from cachelayers.invalidation.sql.catalogue import columns_in, is_plain_on_sqlite, load_details
from cachelayers.invalidation.tracked import KeyedColumn, KeyKind, TrackedTable
from tests.invalidation.conftest import Site

TYPES = {
    "default": {
        ("integer", KeyKind.INTEGER): True,
        ("numeric", KeyKind.INTEGER): False,
        ("varchar(50)", KeyKind.TEXT): True,
        ("varchar(50) COLLATE NOCASE", KeyKind.TEXT): False,
        ("text COLLATE RTRIM", KeyKind.TEXT): False,
        ("blob", KeyKind.TEXT): False,
    },
    "postgres": {
        ("bigint", KeyKind.INTEGER): True,
        ("numeric", KeyKind.INTEGER): False,
        ("varchar(50)", KeyKind.TEXT): True,
        ("char(50)", KeyKind.TEXT): False,
        ('text COLLATE "library_loose"', KeyKind.TEXT): False,
        ("uuid", KeyKind.UUID): True,
    },
    "mariadb": {
        ("bigint", KeyKind.INTEGER): True,
        ("decimal(20, 2)", KeyKind.INTEGER): False,
    },
}

LOOSE = (
    "CREATE COLLATION IF NOT EXISTS library_loose"
    " (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
)


def test_the_columns_type_counts_and_not_the_fields(site: Site) -> None:
    if site.database == "postgres":
        site.execute(LOOSE)
    types = TYPES[site.database]
    tables = {
        TrackedTable(f"library_key{number}", "id", kind): (column, is_plain)
        for number, ((column, kind), is_plain) in enumerate(types.items())
    }
    try:
        for table, (column, _) in tables.items():
            site.execute(f"CREATE TABLE {table.name} (id {column} PRIMARY KEY)")
        odd = load_details(connections[site.database], tables).odd_keys
    finally:
        for table in tables:
            site.execute(f"DROP TABLE IF EXISTS {table.name}")

    assert odd == {table.name for table, (_, is_plain) in tables.items() if not is_plain}


def test_each_column_counts_for_itself(site: Site) -> None:
    loose = {"default": "COLLATE NOCASE", "postgres": 'COLLATE "library_loose"'}
    text = f"varchar(50) {loose.get(site.database, '')}"
    if site.database == "postgres":
        site.execute(LOOSE)
    columns = {
        "number": ("bigint constraint odd_number unique", KeyKind.INTEGER),
        "rate": ("decimal(20, 2)", KeyKind.INTEGER),
        "slug": ("varchar(50)", KeyKind.TEXT),
        "loose": (text, KeyKind.TEXT),
        "missing": ("", KeyKind.INTEGER),
    }
    if site.database == "mariadb":
        columns["number"] = ("int unique", KeyKind.INTEGER)
        columns["padded"] = ("int(5) zerofill", KeyKind.INTEGER)
        del columns["slug"], columns["loose"]
    keyed = tuple(KeyedColumn(name, kind) for name, (_, kind) in columns.items())
    table = TrackedTable("library_odd", "id", KeyKind.INTEGER, keyed)
    defined = [f"{name} {of_type}" for name, (of_type, _) in columns.items() if of_type]
    try:
        site.execute(f"CREATE TABLE library_odd (id int PRIMARY KEY, {', '.join(defined)})")
        details = load_details(connections[site.database], [table])
    finally:
        site.execute("DROP TABLE IF EXISTS library_odd")

    odd = {"rate", "missing", "loose", "padded"} & columns.keys()
    assert details.odd_keys == set()
    assert details.odd_columns == {("library_odd", name) for name in odd}


@pytest.mark.parametrize(
    ("definition", "is_plain"),
    [
        ("id constraint point primary key", False),  # without a type
        ("id unsigned big int", True),
        ("id 'integer'", False),
        ("id check (id <> 'int')", False),
    ],
)
def test_a_type_on_sqlite_ends_before_its_constraints(definition: str, is_plain: bool) -> None:
    columns = columns_in(f"CREATE TABLE t (a int, {definition}, CHECK (a > (1)))")

    assert is_plain_on_sqlite(KeyedColumn("id", KeyKind.INTEGER), columns) is is_plain


class Code(str, Enum):  # noqa: UP042 - as models had it before StrEnum
    A = "a"


class Loud(str):
    __slots__ = ()

    def __str__(self) -> str:
        return self.upper()


@pytest.mark.parametrize("value", [Code.A, Loud("a"), 1, 1.0, b"a", None, "a" * 101])
def test_only_plain_strings_are_keys_of_text(value: object) -> None:
    assert key_text(TrackedTable("t", "id", KeyKind.TEXT), value) is None
    assert key_text(TrackedTable("t", "id", KeyKind.TEXT), "a") == "a"


@pytest.mark.parametrize("value", [True, "1", 1.0, None])
def test_only_plain_integers_are_keys_that_are_integers(value: object) -> None:
    assert key_text(TrackedTable("t", "id", KeyKind.INTEGER), value) is None
    assert key_text(TrackedTable("t", "id", KeyKind.INTEGER), 1) == "1"


def test_an_address_is_identified_by_its_digits() -> None:
    table, value = TrackedTable("t", "id", KeyKind.UUID), UUID(int=1)

    assert key_text(table, value) == key_text(table, str(value).upper()) == value.hex
    assert key_text(table, "1") is None
