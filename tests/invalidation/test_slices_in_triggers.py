"""Triggers log the slices that a change touches, and nothing for a change of nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import UUID

import pytest
from django.db import connections, models, transaction

from cachelayers.invalidation.sql.analysis import forget_databases
from cachelayers.invalidation.triggers import (
    install_triggers,
    read_guard,
    receive_post_migrate,
    remove_triggers,
)
from tests.invalidation.conftest import Site
from tests.invalidation.test_triggers import last_id, logged
from tests.invalidation.test_triggers_follow import elsewhere
from tests.library.models import Author, Essay

TABLE, ALL = "table:library_essay", "rows:library_essay"
ON_SQLITE = pytest.mark.parametrize("site", ["default"], indirect=True)
ON_POSTGRES = pytest.mark.parametrize(
    "site", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)
ON_MARIADB = pytest.mark.parametrize(
    "site", [pytest.param("mariadb", marks=pytest.mark.mariadb)], indirect=True
)


def essays(site: Site) -> models.QuerySet[Essay]:
    return Essay.objects.using(site.database)


def write_essay(site: Site, **values: Any) -> Essay:
    author, _ = Author.objects.using(site.database).get_or_create(pk=5, name="Ann")
    given = {"pk": 7, "author": author, "uid": UUID(int=0xAB), "slug": "first", "shelf": 3}
    return essays(site).create(**{**given, **values})


def slices(site: Site, **values: object) -> set[str]:
    """Return the tags of slices; on MariaDB without those of texts, whose collation is loose."""
    return {
        f"slice:library_essay:{name}:{value}"
        for name, value in values.items()
        if name != "slug" or site.database != "mariadb"
    }


FIRST: dict[str, object] = {"author_id": 5, "uid": UUID(int=0xAB).hex, "slug": "first", "shelf": 3}


def tags_of_first(site: Site, **others: object) -> set[str]:
    return {TABLE, "row:library_essay:7"} | slices(site, **{**FIRST, **others})


def count_logged(site: Site, since: int) -> int:
    with connections[site.database].cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM cachelayers_invalidation WHERE id > %s", [since])
        return int(cursor.fetchall()[0][0])


@pytest.fixture
def essays_anew(site: Site) -> Iterator[None]:
    """Create the table again after the test, whatever its state."""
    yield
    connection = connections[site.database]
    if "library_essay" in connection.introspection.table_names():
        site.execute("DROP TABLE library_essay")
    with connection.schema_editor() as editor:
        editor.create_model(Essay)
    receive_post_migrate(None, using=site.database, plan=["anything"])


def test_a_new_row_and_a_deleted_one_log_their_slices(site: Site) -> None:
    before = last_id(site)
    essay = write_essay(site)
    assert logged(site, before) >= tags_of_first(site)
    before = last_id(site)

    essay.delete()

    assert logged(site, before) == tags_of_first(site)


def test_a_row_that_moves_logs_its_former_and_its_new_slice(site: Site) -> None:
    write_essay(site)
    before = last_id(site)

    essays(site).update(shelf=-4, slug="second")

    moved = slices(site, shelf=-4, slug="second")
    assert logged(site, before) == tags_of_first(site) | moved


def test_null_has_no_slice(site: Site) -> None:
    essay = write_essay(site, author=None)
    before = last_id(site)

    essay.title = "Another"
    essay.save()

    assert logged(site, before) == tags_of_first(site) - slices(site, author_id=5)
    before = last_id(site)

    essays(site).update(author_id=5)

    assert logged(site, before) == tags_of_first(site)


def test_a_save_that_changes_nothing_logs_nothing(site: Site) -> None:
    essay = write_essay(site, notes={"a": [1, None]}, scan=b"\x00\xff", weight=0.1)
    write_essay(site, pk=8, uid=UUID(int=1), slug="other")
    before = last_id(site)

    essay.save()
    essays(site).update(title="")
    site.execute("UPDATE library_essay SET notes = notes, scan = scan, shelf = 3")

    assert logged(site, before) == set()


@pytest.mark.parametrize(
    "change",
    [
        {"title": "ANN "},
        {"title": "Ann"},
        {"notes": {"a": 1.0}},
        {"scan": b"a\x01"},
        {"weight": 0.30000000000000004},
        {"written": None},
    ],
)
def test_each_small_change_of_a_value_is_logged(site: Site, change: dict[str, Any]) -> None:
    write_essay(
        site,
        title="ANN",
        notes={"a": 1},
        scan=b"a\x00",
        weight=0.3,
        written="2026-03-29T01:30:00Z",
    )
    before = last_id(site)

    essays(site).update(**change)

    assert logged(site, before) == tags_of_first(site)


def test_a_changed_key_logs_both_rows_and_their_slices(site: Site) -> None:
    write_essay(site)
    before = last_id(site)

    essays(site).update(id=8)

    assert logged(site, before) == tags_of_first(site) | {"row:library_essay:8"}


def test_an_upsert_logs_the_slices_of_the_row_that_was_there(site: Site) -> None:
    write_essay(site)
    before = last_id(site)

    essays(site).bulk_create(
        [Essay(pk=7, uid=UUID(int=0xAB), slug="first", shelf=4)],
        update_conflicts=True,
        update_fields=["shelf"],
        unique_fields=None if site.database == "mariadb" else ["id"],
    )

    assert logged(site, before) >= tags_of_first(site, shelf=4) | slices(site, shelf=3)


def test_the_guard_knows_which_columns_are_logged(site: Site) -> None:
    names = {"author_id", "uid", "slug", "shelf"} - (
        {"slug"} if site.database == "mariadb" else set()
    )
    connection = connections[site.database]

    assert read_guard(connection).columns["library_essay"] == names
    assert read_guard(connection).columns["library_author"] == set()

    remove_triggers(connection)
    try:
        assert read_guard(connection).columns == {}
    finally:
        install_triggers(connection)


# Many rows in one statement


def write_many(site: Site, count: int) -> None:
    essays(site).bulk_create(
        Essay(uid=UUID(int=number + 1), slug=f"s{number}", shelf=1) for number in range(count)
    )


def test_a_statement_that_changes_many_rows_logs_all_rows(site: Site) -> None:
    write_many(site, 400)
    before = last_id(site)

    essays(site).update(shelf=2)

    assert {TABLE, ALL} <= logged(site, before) or site.database == "mariadb"
    assert count_logged(site, before) <= {"default": 320, "postgres": 2}.get(site.database, 4000)
    before = last_id(site)
    with transaction.atomic(site.database):
        essays(site).filter(slug="s3").update(shelf=3)
        essays(site).update(title="a")
        essays(site).filter(slug="s4").update(shelf=4)
    assert logged(site, before) >= slices(site, shelf=3) | slices(site, shelf=4)
    assert {TABLE, ALL} <= logged(site, before) or site.database == "mariadb"


def test_a_statement_that_changes_few_rows_of_many_logs_these(site: Site) -> None:
    write_many(site, 400)
    essays(site).filter(slug="s3").update(shelf=2)
    pk = essays(site).get(slug="s3").pk
    before = last_id(site)

    essays(site).update(shelf=1)

    assert logged(site, before) == {
        TABLE,
        f"row:library_essay:{pk}",
        *slices(site, uid=UUID(int=4).hex, slug="s3"),
        *slices(site, shelf=1),
        *slices(site, shelf=2),
    }


@ON_SQLITE
def test_a_statement_in_the_same_moment_as_another_s_is_logged_for_itself(site: Site) -> None:
    """All rows, logged by the statement before, do not stand for those of this one."""
    write_many(site, 120)
    before = last_id(site)

    for number in range(20):
        elsewhere(site, f"UPDATE library_essay SET title = 't{number}'")
        elsewhere(site, f"UPDATE library_essay SET shelf = {50 + number} WHERE slug = 's7'")

    tags = logged(site, before)
    assert ALL in tags
    assert slices(site, shelf=50) | slices(site, shelf=69) <= tags
    with connections[site.database].cursor() as cursor:
        cursor.execute(
            "SELECT COUNT(*) FROM cachelayers_invalidation WHERE id > %s AND tag = %s",
            [before, ALL],
        )
        assert cursor.fetchall() == [(20,)]


# SQLite

REPLACE = "INSERT OR REPLACE INTO library_essay (id, uid, slug, shelf, notes, scan, weight, title)"


@ON_SQLITE
@pytest.mark.parametrize(
    "statement",
    [
        f"{REPLACE} VALUES (7, 'new', 'second', 4, '{{}}', '', 0, '')",
        f"{REPLACE} VALUES (9, 'new', 'first', 4, '{{}}', '', 0, '')",
        "UPDATE OR REPLACE library_essay SET slug = 'first' WHERE id = 8",
        "UPDATE OR REPLACE library_essay SET id = 7 WHERE id = 8",
    ],
)
@pytest.mark.parametrize("recursive", ["ON", "OFF"])
def test_the_row_that_gives_way_logs_its_slices(site: Site, statement: str, recursive: str) -> None:
    write_essay(site)
    write_essay(site, pk=8, author=None, uid=UUID(int=1), slug="other", shelf=9)
    before = last_id(site)

    elsewhere(site, f"PRAGMA recursive_triggers = {recursive}")
    try:
        elsewhere(site, statement.replace("'new'", f"'{'f' * 32}'"))
    finally:
        elsewhere(site, "PRAGMA recursive_triggers = OFF")

    assert tags_of_first(site) <= logged(site, before)


@ON_SQLITE
@pytest.mark.usefixtures("essays_anew")
@pytest.mark.parametrize(
    ("definition", "old", "new", "is_change"),
    [
        ("TEXT COLLATE NOCASE", "'a'", "'A'", True),
        ("TEXT COLLATE RTRIM", "'a'", "'a '", True),
        ("TEXT COLLATE NOCASE", "'a'", "'a'", False),
        ("", "1", "1.0", True),
        ("", "1", "'1'", True),
        ("", "0.0", "-0.0", True),
        ("BLOB", "'a'", "x'61'", True),
        ("NUMERIC", "1", "1.0", False),  # stored as 1
        ("", "'a'", "'a'", False),
    ],
)
def test_a_column_s_own_equality_does_not_count(
    site: Site, definition: str, old: str, new: str, is_change: bool
) -> None:
    site.execute(f'ALTER TABLE library_essay ADD COLUMN "an odd ""one" {definition}')
    write_essay(site)
    elsewhere(site, f'UPDATE library_essay SET "an odd ""one" = {old}')
    before = last_id(site)

    elsewhere(site, f'UPDATE library_essay SET "an odd ""one" = {new}')

    assert logged(site, before) == (tags_of_first(site) if is_change else set())


@ON_SQLITE
@pytest.mark.usefixtures("essays_anew")
@pytest.mark.parametrize("end", [") WITHOUT ROWID", ", both TEXT AS (slug || shelf) STORED)"])
def test_a_table_without_row_ids_or_with_a_generated_column(site: Site, end: str) -> None:
    site.execute("DROP TABLE library_essay")
    site.execute(
        "CREATE TABLE library_essay (slug VARCHAR(50) UNIQUE, shelf INTEGER, title TEXT,"
        f" author_id BIGINT, uid CHAR(32), id INTEGER NOT NULL PRIMARY KEY{end}"
    )
    new = f"(slug, shelf, author_id, uid, id) VALUES ('first', 3, 5, '{FIRST['uid']}', 7)"
    before = last_id(site)
    elsewhere(site, f"INSERT INTO library_essay {new}")
    assert logged(site, before) == tags_of_first(site)
    before = last_id(site)

    elsewhere(site, "UPDATE library_essay SET title = title")
    assert logged(site, before) == set()
    elsewhere(site, "UPDATE library_essay SET title = 'x'")
    elsewhere(site, f"INSERT OR REPLACE INTO library_essay {new}")

    assert logged(site, before) == tags_of_first(site)


@ON_SQLITE
def test_another_program_logs_each_tag_once(site: Site) -> None:
    write_essay(site)
    before = last_id(site)
    with closing(sqlite3.connect(connections["default"].settings_dict["NAME"])) as file:
        file.execute("UPDATE library_essay SET title = 'x'")
        file.execute("UPDATE library_essay SET title = 'x'")
        file.commit()

    assert logged(site, before) == tags_of_first(site)
    assert count_logged(site, before) == 6


# Changes of the schema


@pytest.mark.usefixtures("essays_anew")
def test_a_column_that_another_program_adds_counts_at_once(site: Site) -> None:
    write_essay(site)
    elsewhere(site, "ALTER TABLE library_essay ADD COLUMN later VARCHAR(9)")
    before = last_id(site)

    elsewhere(site, "UPDATE library_essay SET later = 'x'")

    assert logged(site, before) == tags_of_first(site)


@pytest.mark.usefixtures("essays_anew")
def test_columns_may_have_the_names_that_triggers_use(site: Site) -> None:
    essay = write_essay(site)
    for name in ("n", "o", "k", "t", "tag", "tags", "number", "changed", "changed_to", "chosen"):
        site.execute(f"ALTER TABLE library_essay ADD COLUMN {name} INTEGER")
    before = last_id(site)

    essay.shelf = 4
    essay.save()
    site.execute("UPDATE library_essay SET n = 1, o = 2")

    assert slices(site, shelf=3) | slices(site, shelf=4) <= logged(site, before)
    essay.delete()


@pytest.mark.usefixtures("essays_anew")
@pytest.mark.parametrize("column", ["title", "shelf"])
def test_a_table_whose_column_is_dropped_stays_writable(site: Site, column: str) -> None:
    write_essay(site)
    for index in indexes_of(site, column):
        site.execute(f"DROP INDEX {index}")
    site.execute(f"ALTER TABLE library_essay DROP COLUMN {column}")
    before = last_id(site)

    elsewhere(site, "UPDATE library_essay SET slug = 'second'")

    tags = tags_of_first(site) | slices(site, slug="second")
    gone = slices(site, shelf=3) if column == "shelf" else set()
    assert logged(site, before) == tags - gone
    guard = read_guard(connections[site.database])
    assert ("shelf" in guard.columns["library_essay"]) is (column != "shelf")


def indexes_of(site: Site, column: str) -> list[str]:
    """Return the indexes to drop before a column; only SQLite needs that."""
    if site.database != "default":
        return []
    connection = connections[site.database]
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, "library_essay")
    return [name for name, one in found.items() if one["columns"] == [column]]


@pytest.mark.usefixtures("essays_anew")
def test_a_renamed_column_has_no_slices_under_its_old_name(site: Site) -> None:
    write_essay(site)
    site.execute("ALTER TABLE library_essay RENAME COLUMN shelf TO rack")
    before = last_id(site)

    elsewhere(site, "UPDATE library_essay SET rack = 4")

    assert logged(site, before) == tags_of_first(site) - slices(site, shelf=3)
    guard = read_guard(connections[site.database])
    assert "shelf" not in guard.columns["library_essay"]


@ON_MARIADB
@pytest.mark.usefixtures("essays_anew")
@pytest.mark.parametrize("column", ["title", "shelf"])
def test_on_mariadb_a_column_that_goes_before_its_triggers_makes_no_write_fail(
    site: Site, column: str
) -> None:
    write_essay(site)
    elsewhere(site, f"ALTER TABLE library_essay DROP COLUMN {column}")
    before = last_id(site)

    elsewhere(site, "UPDATE library_essay SET author_id = NULL")

    assert logged(site, before) == {TABLE, ALL}


# PostgreSQL's tables in several parts


@pytest.fixture
def essays_in_another_schema(site: Site) -> Iterator[None]:
    elsewhere(site, "CREATE SCHEMA one", "SET search_path = one, public")
    yield
    connections[site.database].close()
    elsewhere(site, "DROP SCHEMA one CASCADE")
    forget_databases()
    receive_post_migrate(None, using=site.database)


COLUMNS = "slug varchar(50), shelf int, author_id bigint, uid uuid, title text"
VALUES = f"(id, slug, shelf, author_id, uid) VALUES (7, 'first', 3, 5, '{UUID(int=0xAB)}')"


def write_to_part(site: Site, *tables: str) -> None:
    """Create tables, and write to the table of essays and to its part as another program."""
    elsewhere(site, *tables)
    forget_databases()
    assert install_triggers(connections[site.database]) == []
    for name in ("one.library_essay", "one.low"):
        before = last_id(site)
        elsewhere(site, f"INSERT INTO {name} {VALUES}")
        assert logged(site, before) == tags_of_first(site)
        before = last_id(site)
        elsewhere(site, "UPDATE one.library_essay SET title = 'x', shelf = 4")
        elsewhere(site, f"UPDATE {name} SET author_id = 6")
        assert logged(site, before) == tags_of_first(site) | slices(site, shelf=4) | slices(
            site, author_id=6
        )
        before = last_id(site)
        elsewhere(site, f"UPDATE {name} SET shelf = 4, title = 'x'")
        assert logged(site, before) == set() or "INHERITS" in tables[-1]
        elsewhere(site, f"DELETE FROM {name}")


@ON_POSTGRES
@pytest.mark.usefixtures("essays_in_another_schema")
def test_a_partition_s_columns_may_be_in_another_order(site: Site) -> None:
    write_to_part(
        site,
        f"CREATE TABLE one.library_essay (id bigint PRIMARY KEY, {COLUMNS})"
        " PARTITION BY RANGE (id)",
        "CREATE TABLE one.low (title text, uid uuid, gone int, author_id bigint, shelf int,"
        " slug varchar(50), id bigint NOT NULL PRIMARY KEY)",
        "ALTER TABLE one.low DROP COLUMN gone",
        "ALTER TABLE one.library_essay ATTACH PARTITION one.low FOR VALUES FROM (0) TO (100)",
    )


@ON_POSTGRES
@pytest.mark.usefixtures("essays_in_another_schema")
def test_a_row_that_moves_to_another_partition_logs_its_slices(site: Site) -> None:
    elsewhere(
        site,
        f"CREATE TABLE one.library_essay (id bigint, {COLUMNS}, PRIMARY KEY (id, shelf))"
        " PARTITION BY RANGE (shelf)",
        "CREATE TABLE one.low PARTITION OF one.library_essay FOR VALUES FROM (0) TO (5)",
        "CREATE TABLE one.high PARTITION OF one.library_essay FOR VALUES FROM (5) TO (9)",
        f"INSERT INTO one.library_essay {VALUES}",
    )
    forget_databases()
    install_triggers(connections[site.database])
    before = last_id(site)

    elsewhere(site, "UPDATE one.library_essay SET shelf = 6")

    assert logged(site, before) == tags_of_first(site) | slices(site, shelf=6)


@ON_POSTGRES
@pytest.mark.usefixtures("essays_in_another_schema")
def test_a_table_that_inherits_may_change_what_its_parent_does_not_show(site: Site) -> None:
    write_to_part(
        site,
        f"CREATE TABLE one.library_essay (id bigint PRIMARY KEY, {COLUMNS})",
        "CREATE TABLE one.low (visits int) INHERITS (one.library_essay)",
    )
    elsewhere(
        site,
        f"INSERT INTO one.low {VALUES}",
        "CREATE FUNCTION one.count() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " NEW.visits = COALESCE(NEW.visits, 0) + 1; RETURN NEW; END $$",
        "CREATE TRIGGER counting BEFORE UPDATE ON one.low"
        " FOR EACH ROW EXECUTE FUNCTION one.count()",
    )
    before = last_id(site)

    elsewhere(site, "UPDATE one.library_essay SET shelf = 3")

    assert logged(site, before) == tags_of_first(site)


@ON_POSTGRES
def test_rows_that_another_server_replicates_log_their_slices(site: Site) -> None:
    write_essay(site)
    before = last_id(site)
    elsewhere(site, "SET session_replication_role = replica")
    try:
        elsewhere(site, "UPDATE library_essay SET shelf = 3")
        assert logged(site, before) == set()
        elsewhere(site, "UPDATE library_essay SET shelf = 4")
    finally:
        elsewhere(site, "SET session_replication_role = DEFAULT")

    assert logged(site, before) == tags_of_first(site) | slices(site, shelf=4)


@ON_POSTGRES
@pytest.mark.usefixtures("essays_anew")
def test_types_without_an_equality_and_texts_too_long_for_the_log(site: Site) -> None:
    site.execute("ALTER TABLE library_essay ALTER COLUMN slug TYPE text")
    site.execute("ALTER TABLE library_essay ADD COLUMN place point, ADD COLUMN raw json")
    write_essay(site)
    elsewhere(site, """UPDATE library_essay SET place = '(1,2)', raw = '{"a": 1}'""")
    before = last_id(site)

    elsewhere(site, """UPDATE library_essay SET place = '(1,2)', raw = '{"a": 1}'""")
    assert logged(site, before) == set()
    elsewhere(site, """UPDATE library_essay SET raw = '{"a":1}'""")
    assert logged(site, before) == tags_of_first(site)

    elsewhere(site, "UPDATE library_essay SET slug = repeat('x', 3000)")
