"""If a database does not compare a key by its text, the key does not identify one row."""

from __future__ import annotations

from enum import Enum
from uuid import UUID

import pytest
from django.db import connections

from cachelayers.invalidation.sql.analysis import key_text
from cachelayers.invalidation.sql.catalogue import load_details
from cachelayers.invalidation.tracked import KeyKind, TrackedTable
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


def test_the_columns_type_counts_and_not_the_fields(site: Site) -> None:
    if site.database == "postgres":
        site.execute(
            "CREATE COLLATION IF NOT EXISTS library_loose"
            " (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
        )
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


class Code(str, Enum):  # noqa: UP042 - as models had it before StrEnum
    A = "a"


class Loud(str):
    __slots__ = ()

    def __str__(self) -> str:
        return self.upper()


@pytest.mark.parametrize("value", [Code.A, Loud("a"), 1, 1.0, b"a", None])
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
