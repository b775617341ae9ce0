"""All statements of a connection are tracked, also if the first one was the cache's own."""

from __future__ import annotations

from django.db import connections

from cachelayers.invalidation.execute_wrapper import wrap_execute
from cachelayers.invalidation.log import log_of
from cachelayers.invalidation.triggers import read_guard
from tests.invalidation.conftest import Site


def test_a_connection_that_reads_the_log_first_has_the_execute_wrapper(site: Site) -> None:
    usual = connections[site.database]
    usual.close()
    del connections[site.database]
    try:
        log_of(site.database).refresh()

        assert wrap_execute in connections[site.database].execute_wrappers
    finally:
        connections[site.database].close()
        connections[site.database] = usual  # which the caches of this thread hold


def test_the_logged_tables_are_read_past_djangos_cursor(site: Site) -> None:
    """Through Django's cursor, the statement would call itself without end on MariaDB."""
    connection = connections[site.database]
    connection.ensure_connection()
    vars(connection).pop("mysql_server_data", None)
    vars(connection.features).pop("ignores_table_name_case", None)

    read_guard(connection)

    assert "mysql_server_data" not in vars(connection)
