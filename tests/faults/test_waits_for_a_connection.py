"""The wait for a connection is as bounded as that for an answer."""

from __future__ import annotations

import socket
import threading
from typing import Any

import django.db
import pytest
from django.db import connections

from cachelayers.invalidation.own_statements import limited_transaction
from cachelayers.invalidation.pruning import prune_step
from tests import environment
from tests.faults.conftest import OpenCache, seconds_of
from tests.faults.harness import Proxy
from tests.faults.test_log_locked_or_frozen import log
from tests.servers import mariadb_settings, postgres_settings
from tests.state import reset

__all__ = ["log"]

CONNECT_SECONDS = 2.0  # psycopg's shortest limit
LOAD_SECONDS = 2.0  # of a busy machine


class ExhaustedPool:
    """Stands for psycopg's pool, which the tests do not install, without free connections."""

    timeout = 30.0

    def __init__(self) -> None:
        self.waited: list[float] = []

    def open(self) -> None:
        pass

    def getconn(self, timeout: float | None = None) -> Any:
        self.waited.append(self.timeout if timeout is None else timeout)
        raise django.db.OperationalError("no connection is free")


@pytest.mark.postgres
def test_a_pool_with_no_connection_left_is_waited_for_as_long_as_the_cache_may(
    open_cache: OpenCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = environment.server_port("postgres")
    assert port is not None
    database = postgres_settings(port, environment.database_name())
    database["OPTIONS"] = {**database.get("OPTIONS", {}), "pool": True}
    pool = ExhaustedPool()
    monkeypatch.setitem(vars(type(connections["postgres"]))["_connection_pools"], "exhausted", pool)
    cache = open_cache("exhausted", database, migrate=False)

    found = cache.get("page", "missing")
    with pytest.raises(django.db.OperationalError):  # the application's own waits stay its own
        connections["exhausted"].ensure_connection()

    assert found == "missing"
    assert pool.waited == [1, ExhaustedPool.timeout]


def test_a_log_to_prune_that_must_be_connected_to_first_is_waited_for_once(log: str) -> None:
    proxy = Proxy(connections[log].settings_dict["PORT"])
    usual = connections[log].settings_dict
    connections[log].close()
    connections[log].settings_dict = {**usual, "HOST": "127.0.0.1", "PORT": proxy.port}

    def prune() -> None:
        with pytest.raises(django.db.Error), limited_transaction(connections[log]):
            prune_step(connections[log])

    with proxy.trouble("frozen"):
        took = seconds_of(prune)
    connections[log].close()
    connections[log].settings_dict = usual
    proxy.close()
    reset("invalidation.own_statements")

    assert took < CONNECT_SECONDS + LOAD_SECONDS


@pytest.mark.mariadb
def test_a_process_that_does_not_know_its_server_yet_waits_no_longer_for_it(
    open_cache: OpenCache,
) -> None:
    # accepts a connection, but never answers
    with socket.create_server(("127.0.0.1", 0)) as silent:
        database = mariadb_settings(silent.getsockname()[1], "entries")
        database["OPTIONS"] = {}
        cache = open_cache("unknown-server", database, migrate=False)
        release = threading.Timer(CONNECT_SECONDS + 2 * LOAD_SECONDS, silent.close)
        release.start()

        took = seconds_of(lambda: cache.get("page"))

        release.cancel()
        release.join()
    assert took < CONNECT_SECONDS + LOAD_SECONDS


@pytest.mark.postgres
def test_a_name_that_no_host_can_have_is_a_miss(open_cache: OpenCache) -> None:
    database = {**postgres_settings(1, "entries"), "HOST": "an..empty.label"}
    cache = open_cache("no-host", database, migrate=False)

    cache.set("page", "new")

    assert cache.get("page", "missing") == "missing"
