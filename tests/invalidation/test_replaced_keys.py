"""Old code keeps working while a deploy gives a table another primary key."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from django.db import connections

from cachelayers.invalidation.sql.analysis import database_of
from cachelayers.invalidation.tracked import KeyKind, TrackedTable
from cachelayers.invalidation.triggers.definitions import TableLocation
from cachelayers.invalidation.triggers.sqlite import triggers_of
from tests.invalidation import moving
from tests.invalidation.conftest import Site
from tests.invalidation.test_units import name_of
from tests.library.models import Author

OLD_KEY = '"id" integer NOT NULL PRIMARY KEY AUTOINCREMENT'
NEW_KEY = '"id" integer NOT NULL, "number" integer PRIMARY KEY AUTOINCREMENT'


@pytest.mark.parametrize("site", ["default"], indirect=True)
def test_rows_are_not_identified_by_a_former_key_of_the_database(
    site: Site, tmp_path: Path
) -> None:
    Author.objects.using(site.database).create(pk=1, name="Ann")
    path = moving.copy_file(tmp_path / "site.sqlite3")
    give_another_key(path)
    with moving.database("moved", moving.sqlite_file(path)) as moved:
        moved.visit("author", lambda: name_of(moved))
        assert moved.is_hit("author", lambda: name_of(moved))

        run(path, "UPDATE library_author SET name = 'Anna'")

        assert moved.visit("author", lambda: name_of(moved)) == "Anna"
        table = database_of(connections["moved"])._tables["library_author"]
        assert database_of(connections["moved"]).is_key_odd(connections["moved"], table)


def give_another_key(path: Path) -> None:
    """Rebuild the table of authors, with the new code's triggers."""
    with closing(sqlite3.connect(path)) as file:
        [(definition,)] = file.execute(
            "SELECT sql FROM sqlite_master WHERE name = 'library_author'"
        )
        columns = ", ".join(
            f'"{row[1]}"' for row in file.execute("PRAGMA table_info(library_author)")
        )
    assert OLD_KEY in definition
    renewed = definition.replace(OLD_KEY, NEW_KEY).replace('"library_author"', '"renewed"', 1)
    table = TrackedTable("library_author", "number", KeyKind.INTEGER)
    place = TableLocation(table, "library_author", '"library_author"', "library_author")
    run(
        path,
        "PRAGMA legacy_alter_table = ON",
        renewed,
        f"INSERT INTO renewed ({columns}, number) SELECT {columns}, id + 70 FROM library_author",
        "DROP TABLE library_author",
        "ALTER TABLE renewed RENAME TO library_author",
        *(statement for one in triggers_of(place, (), str) for statement in one.creation),
    )


def run(path: Path, *statements: str) -> None:
    """Run statements like another program."""
    with closing(sqlite3.connect(path)) as file:
        for statement in statements:
            file.execute(statement)
        file.commit()
