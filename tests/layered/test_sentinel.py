"""Redis Sentinel through django-redis: the layer follows the master."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.conf import settings
from django.core.cache import caches
from django.test import override_settings

from cachelayers import unit_of_work
from cachelayers.backends.layered import circuit_breaker
from tests import environment
from tests.servers import HOST, Redis
from tests.settings import layered_cache, memory_cache
from tests.state import reset

pytestmark = pytest.mark.redis


class Sentinel(Redis):
    """Watches one master, and decides alone."""

    master: Redis

    def command(self) -> list[str]:
        configuration = self.folder / "sentinel.conf"
        configuration.write_text(
            f"port {self.port}\nbind {HOST}\ndir {self.data}\n"
            f"sentinel monitor site {HOST} {self.master.port} 1\n"
            "sentinel down-after-milliseconds site 500\n"
            "sentinel failover-timeout site 3000\n"
        )
        configuration.chmod(0o666)  # it writes to it, as another user
        self.folder.chmod(0o777)
        return [self.program_path(), str(configuration), "--sentinel"]


@pytest.fixture
def watched() -> Iterator[tuple[Redis, Sentinel]]:
    """Yield a master with a replica, and a sentinel over them."""
    make = environment.make_private_folder
    with Redis(make("redis-master")) as master, Redis(make("redis-replica")) as replica:
        client: Any = redis.Redis(host=HOST, port=replica.port)
        client.replicaof(HOST, master.port)
        await_condition(lambda: client.info("replication")["master_link_status"] == "up")
        client.close()
        sentinel = Sentinel(make("redis-sentinel"))
        sentinel.master = master
        with sentinel:
            asked: Any = redis.Redis(host=HOST, port=sentinel.port)
            await_condition(lambda: asked.sentinel_master("site")["num-slaves"] == 1)
            asked.close()
            yield master, sentinel


def test_the_layer_follows_a_failover_and_serves_nothing_old(
    watched: tuple[Redis, Sentinel],
) -> None:
    master, sentinel = watched
    configured: dict[str, Any] = {
        "guarded": layered_cache("guarded-memory", "guarded-redis", bus="guarded-redis"),
        "guarded-memory": memory_cache(),
        "guarded-redis": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": "redis://site/0",
            "OPTIONS": {
                "CLIENT_CLASS": "django_redis.client.SentinelClient",
                "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
                "SENTINELS": [(HOST, sentinel.port)],
            },
        },
    }
    with override_settings(CACHES={**settings.CACHES, **configured}):
        cache = caches["guarded"]
        cache.set("key", "first")
        with unit_of_work():
            assert cache.get("key") == "first"

        master.kill()
        written = 0

        def is_followed() -> bool:
            nonlocal written
            written += 1
            with unit_of_work():
                cache.set("key", written)
                found = cache.get("key")
            assert found in {None, written}
            return not circuit_breaker.breaker_of("guarded-redis").is_open and written > 1

        await_condition(is_followed, seconds=40)
        with unit_of_work():
            cache.set("key", "last")
        with unit_of_work():
            assert cache.get("key") == "last"
    reset("backends.layered.circuit_breaker")


def await_condition(is_true: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
