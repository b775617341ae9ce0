"""Triggers that were left by a removed app can be dropped without it, and writes work again."""

from __future__ import annotations

import pytest
from django.db import connections

from cachelayers.invalidation import has_triggers
from cachelayers.invalidation.sql.analysis import forget_databases
from cachelayers.invalidation.triggers import install_triggers
from tests.docs.test_recall_pages import blocks_of
from tests.invalidation.conftest import Site
from tests.invalidation.test_triggers_follow import elsewhere, triggers_of_before

WRITE = "INSERT INTO library_loan (number, reader) VALUES (9, 'Cid')"


def test_the_statements_of_the_page_drop_the_triggers_that_were_left(site: Site) -> None:
    connection = connections[site.database]
    [block] = blocks_of("remove.md")
    elsewhere(site, "ALTER TABLE cachelayers_invalidation RENAME TO cachelayers_lost")
    try:
        forget_databases()
        if connection.vendor == "sqlite":
            elsewhere(site, *triggers_of_before(site))
            with pytest.raises(Exception, match="no such table"):
                elsewhere(site, WRITE)
        exec(block.replace('"default"', repr(site.database)), {})

        assert not has_triggers(connection)
        elsewhere(site, WRITE)
    finally:
        elsewhere(site, "ALTER TABLE cachelayers_lost RENAME TO cachelayers_invalidation")
        forget_databases()
        install_triggers(connection)
        site.execute("DELETE FROM library_loan")
