"""Every fault before every store: no errors, bounded waits, no older values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.db import connections
from django.test import override_settings

from tests import environment
from tests.faults.conftest import BUSY_SECONDS, OpenCache
from tests.faults.harness import Proxy, find_breaches, find_older_values, prepare
from tests.servers import mariadb_settings, postgres_settings
from tests.settings import layered_cache, memory_cache

TIME_LIMIT = 0.3
GRACE_SECONDS = 0.25
CONNECT_SECONDS = 2.0  # psycopg's shortest limit; that of MySQL's driver is 1
LOAD_SECONDS = 2.0  # of a busy machine
# Reads and writes of the table wait once each; each may have to connect first.
TABLE_SECONDS = 2 * (BUSY_SECONDS + GRACE_SECONDS) + 2 * CONNECT_SECONDS + LOAD_SECONDS
LAYER_SECONDS = 8 * TIME_LIMIT + LOAD_SECONDS

Open = Callable[[str, int], BaseCache]


@pytest.fixture
def proxies() -> Iterator[Callable[[str], Proxy]]:
    """Return a function that puts a proxy before one of the run's servers."""
    made: list[Proxy] = []

    def make(name: str) -> Proxy:
        port = environment.server_port(name)
        assert port is not None
        made.append(Proxy(port))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()


def run_all(proxy: Proxy, open_one: Callable[[str], BaseCache], seconds: float) -> list[str]:
    """Run each fault with a new store; return the broken guarantees."""
    breaches = []
    for mode in Proxy.MODES:
        cache = open_one(mode)
        prepare(cache)
        with proxy.trouble(mode):
            found = find_breaches(cache, seconds)
        found += find_older_values(cache)
        breaches += [f"{mode}: {breach}" for breach in found]
    return breaches


@pytest.mark.parametrize(
    ("server", "settings_of"),
    [
        pytest.param("postgres", postgres_settings, marks=pytest.mark.postgres),
        pytest.param("mariadb", mariadb_settings, marks=pytest.mark.mariadb),
    ],
)
def test_a_table_on_a_server(
    server: str,
    settings_of: Callable[[int, str], dict[str, Any]],
    proxies: Callable[[str], Proxy],
    open_cache: OpenCache,
) -> None:
    proxy = proxies(server)

    def open_one(mode: str) -> BaseCache:
        database = settings_of(proxy.port, environment.database_name())
        return open_cache(f"{mode}-{server}", database, migrate=False)

    assert run_all(proxy, open_one, TABLE_SECONDS) == []
    connections.close_all()


@pytest.mark.parametrize(
    ("server", "backend", "location"),
    [
        pytest.param(
            "redis",
            "django_redis.cache.RedisCache",
            "redis://127.0.0.1:{port}/0",
            marks=pytest.mark.redis,
        ),
        pytest.param(
            "redis",
            "django.core.cache.backends.redis.RedisCache",
            "redis://127.0.0.1:{port}/0",
            marks=pytest.mark.redis,
        ),
        pytest.param(
            "memcached",
            "django.core.cache.backends.memcached.PyMemcacheCache",
            "127.0.0.1:{port}",
            marks=pytest.mark.memcached,
        ),
    ],
)
def test_a_layer_on_a_server(
    server: str, backend: str, location: str, proxies: Callable[[str], Proxy]
) -> None:
    proxy = proxies(server)
    with ExitStack() as stack:

        def open_one(mode: str) -> BaseCache:
            alias = f"{mode}-{backend.rsplit('.', maxsplit=1)[-1]}-{backend[:7]}"
            names = [f"{alias}-memory", f"{alias}-upper", f"{alias}-files"]
            layered = layered_cache(*names, bus=names[1] if server == "redis" else None)
            layered["OPTIONS"] |= {"TIME_LIMIT": TIME_LIMIT}
            upper = {
                "BACKEND": backend,
                "LOCATION": location.format(port=proxy.port),
                "KEY_PREFIX": alias,
            }
            files = {**settings.CACHES["files"], "KEY_PREFIX": alias}
            new = dict(zip([*names, alias], [memory_cache(), upper, files, layered], strict=True))
            stack.enter_context(override_settings(CACHES={**settings.CACHES, **new}))
            return caches[alias]

        assert run_all(proxy, open_one, LAYER_SECONDS) == []
