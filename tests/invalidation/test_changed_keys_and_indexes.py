"""Rows that leave a tracked table by a change of their key, and columns that leave an index."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connections

from cachelayers.invalidation.sql.analysis import forget_databases
from cachelayers.invalidation.triggers import receive_post_migrate
from tests.invalidation.conftest import Site
from tests.invalidation.test_schemas import NEW_LOAN, PARTITIONED, value_of
from tests.invalidation.test_triggers_follow import elsewhere, loans_anew

__all__ = ["loans_anew"]

ON_SQLITE = pytest.mark.parametrize("site", ["default"], indirect=True)
ON_POSTGRES = pytest.mark.parametrize(
    "site", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)

INHERITED = (NEW_LOAN.format("one"), "CREATE TABLE one.low () INHERITS (one.library_loan)")


@pytest.fixture
def public_again(site: Site) -> Iterator[None]:
    yield
    connections[site.database].close()
    elsewhere(site, "DROP SCHEMA IF EXISTS one CASCADE")
    forget_databases()
    receive_post_migrate(None, using=site.database)


@ON_SQLITE
@pytest.mark.usefixtures("loans_anew")
@pytest.mark.parametrize("where", ["", " WHERE number > 5"])
def test_a_column_can_be_dropped_after_its_unique_index(site: Site, where: str) -> None:
    site.execute("ALTER TABLE library_loan ADD COLUMN slug VARCHAR(9)")
    site.execute(f"CREATE UNIQUE INDEX loan_slug ON library_loan (slug){where}")
    site.execute("INSERT INTO library_loan VALUES (9, 'Cid', 'c')")

    site.execute("DROP INDEX loan_slug")
    site.execute("ALTER TABLE library_loan DROP COLUMN slug")

    site.execute("INSERT INTO library_loan VALUES (10, 'Dan')")


@ON_POSTGRES
@pytest.mark.usefixtures("public_again")
@pytest.mark.parametrize(
    ("tables", "leaving"),
    [
        (PARTITIONED, "DROP TABLE low"),
        (PARTITIONED, "ALTER TABLE library_loan DETACH PARTITION low"),
        (INHERITED, "DROP TABLE low"),
    ],
)
def test_migrate_invalidates_a_table_that_another_program_has_detached_with_its_rows(
    site: Site, tables: tuple[str, ...], leaving: str
) -> None:
    elsewhere(site, "CREATE SCHEMA one", *tables, "SET search_path = one, public")
    elsewhere(site, "INSERT INTO low VALUES (9, 'Cid')")
    forget_databases()
    receive_post_migrate(None, using=site.database)
    site.settle()

    def count() -> object:
        return value_of(site, "SELECT count(*) FROM library_loan")

    assert site.visit("count", count) == 1
    elsewhere(site, leaving)
    receive_post_migrate(None, using=site.database)

    assert site.visit("count", count) == 0
