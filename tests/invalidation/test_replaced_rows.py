"""SQLite's REPLACE deletes rows without a delete trigger; the replaced rows are logged."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connections

from cachelayers.invalidation.triggers import install_triggers, receive_post_migrate
from tests.invalidation.conftest import Site
from tests.invalidation.test_triggers import last_id, logged
from tests.invalidation.test_triggers_follow import elsewhere

pytestmark = pytest.mark.parametrize("site", ["default"], indirect=True)


@pytest.fixture(autouse=True)
def unique_readers(site: Site) -> Iterator[None]:
    elsewhere(
        site,
        "CREATE UNIQUE INDEX library_reader ON library_loan (reader COLLATE NOCASE)",
        "INSERT INTO library_loan (number, reader) VALUES (1, 'Ann'), (2, 'Bea')",
    )
    install_triggers(connections[site.database])
    yield
    elsewhere(site, "DROP INDEX library_reader", "DELETE FROM library_loan")
    receive_post_migrate(None, using=site.database)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT OR REPLACE INTO library_loan (number, reader) VALUES (3, 'ANN')",
        "UPDATE OR REPLACE library_loan SET reader = 'ann' WHERE number = 2",
    ],
)
def test_the_row_that_gives_way_is_logged(site: Site, statement: str) -> None:
    before = last_id(site)

    elsewhere(site, statement)

    assert "row:library_loan:1" in logged(site, before)


def test_a_row_that_replaces_none_is_logged_alone(site: Site) -> None:
    before = last_id(site)

    elsewhere(site, "INSERT INTO library_loan (number, reader) VALUES (3, 'Cid')")

    assert logged(site, before) == {"table:library_loan", "row:library_loan:3"}
