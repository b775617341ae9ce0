"""All statements of a connection are noticed, also where its first one was our own."""

from __future__ import annotations

from django.db import connections

from cachelayers.invalidation.footprints import database_of
from cachelayers.invalidation.log import log_of
from cachelayers.invalidation.noticing import notice, watch_all_connections
from tests.invalidation.conftest import Site
from tests.library.models import Author


def test_a_connection_that_reads_the_log_first_is_watched(site: Site) -> None:
    connections[site.database].close()
    del connections[site.database]

    log_of(site.database).refresh()

    assert notice in connections[site.database].execute_wrappers


def test_the_first_statement_may_be_any_where_settings_have_asked_for_the_connection(
    site: Site,
) -> None:
    """Django asks MariaDB for its version in the middle of it, by a statement that is noticed."""
    connections[site.database].close()
    del connections[site.database]
    database_of(connections[site.database]).forget()
    watch_all_connections()

    assert Author.objects.using(site.database).count() == 0
