"""All statements of a connection are noticed, also where its first one was our own."""

from __future__ import annotations

from django.db import connections

from cachelayers.invalidation.log import log_of
from cachelayers.invalidation.noticing import notice
from tests.invalidation.conftest import Site


def test_a_connection_that_reads_the_log_first_is_watched(site: Site) -> None:
    connections[site.database].close()
    del connections[site.database]

    log_of(site.database).refresh()

    assert notice in connections[site.database].execute_wrappers
