"""Real servers as layers: their stored entries, time limits and refusals."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.test import override_settings

from cachelayers import unit_of_work
from cachelayers.backends.layered.cache import LayeredCache
from cachelayers.backends.layered.circuit_breaker import breaker_of
from cachelayers.backends.layered.layers import make_layer
from cachelayers.utils.counters import counts
from tests.coherence import stacks
from tests.coherence.stacks import Stack
from tests.servers import Memcached, Redis, find_free_port

RECOVERY_SECONDS = 5.0


def using(stack: Stack, alias: str) -> override_settings:
    """Give a stack's caches names of their own, so that each test begins with new state."""
    renamed: dict[str, Any] = {}
    for name, configured in stack.caches.items():
        options = dict(configured.get("OPTIONS", {}))
        if "LAYERS" in options:
            options["LAYERS"] = [f"{alias}-{layer}" for layer in options["LAYERS"]]
            if options["BUS"] not in {None, "log"}:
                options["BUS"] = f"{alias}-{options['BUS']}"
        new = alias if name == "default" else f"{alias}-{name}"
        renamed[new] = {**configured, "OPTIONS": options}
    return override_settings(CACHES={**settings.CACHES, **renamed})


# Time limits


@pytest.mark.parametrize("backend", ["django_redis", "core", "memcached"])
def test_a_client_without_time_limits_gives_up_in_time(backend: str) -> None:
    port = find_free_port()
    configured = {
        "django_redis": stacks.django_redis(f"redis://127.0.0.1:{port}/0"),
        "core": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": f"redis://127.0.0.1:{port}/0",
        },
        "memcached": {
            "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
            "LOCATION": f"127.0.0.1:{port}",
        },
    }[backend]
    with override_settings(CACHES={**settings.CACHES, "limited": configured}):
        layer: Any = make_layer("limited", 0.25)

    if backend == "memcached":
        kwargs = layer.cache._cache.default_kwargs
        assert (kwargs["timeout"], kwargs["connect_timeout"]) == (0.25, 0.25)
    else:
        kwargs = layer.access.client().connection_pool.connection_kwargs
        assert (kwargs["socket_timeout"], kwargs["socket_connect_timeout"]) == (0.25, 0.25)


def test_time_limits_of_the_user_stay() -> None:
    configured = stacks.django_redis("redis://127.0.0.1:1/3")
    configured["OPTIONS"] = {"SOCKET_TIMEOUT": 7}
    with override_settings(CACHES={**settings.CACHES, "limited": configured}):
        layer: Any = make_layer("limited", 0.25)

    kwargs = layer.access.client().connection_pool.connection_kwargs
    assert (kwargs["socket_timeout"], kwargs["socket_connect_timeout"]) == (7, 0.25)


# A Redis that is down


def stack_with(server: Redis) -> Stack:
    return stacks.memory_redis_table(server.url)


@pytest.mark.django_db(transaction=True)
def test_a_redis_that_is_down_costs_little_and_is_used_again_soon(redis_server: Redis) -> None:
    with (
        using(stack_with(redis_server), "whole"),
        using(stacks.memory_table(bus="log"), "without"),
    ):
        whole, without = caches["whole"], caches["without"]
        keys = [f"key-{number}" for number in range(300)]
        for cache in (whole, without):
            cache.set_many(dict.fromkeys(keys, "x" * 1000))
        redis_server.kill()
        with unit_of_work():
            whole.get("key-0")
        assert breaker_of("whole-redis").is_open

        in_memory = ratio_of_medians(whole, without, keys)
        in_table = ratio_of_medians(whole, without, keys, forget=True)
        redis_server.start()
        began = time.monotonic()
        while breaker_of("whole-redis").is_open:
            whole.get("key-0")
            assert time.monotonic() - began < RECOVERY_SECONDS
            time.sleep(0.01)

        # Allows for noise; `make bench` measures precisely.
        assert in_memory < 3
        assert in_table < 3
        whole.set("after", "value")
        assert client_of(redis_server).keys("*:after") != []
        whole.clear()
        without.clear()


def ratio_of_medians(
    one: BaseCache, other: BaseCache, keys: list[str], *, forget: bool = False
) -> float:
    """Return the median time of a get of the first one in multiples of the other's."""
    times: dict[BaseCache, list[float]] = {one: [], other: []}
    for cache in (one, other) * 3:
        if forget:
            assert isinstance(cache, LayeredCache)
            cache.state.drop_everything(cache.flows.locals)
        for key in keys:
            began = time.perf_counter()
            cache.get(key)
            times[cache].append(time.perf_counter() - began)
    return statistics.median(times[one]) / statistics.median(times[other])


def client_of(server: Redis) -> Any:
    return redis.Redis(host="127.0.0.1", port=server.port)


# Entries in a Redis


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("make", [stacks.memory_redis, stack_with])
def test_clear_spares_the_keys_of_others_in_the_same_redis(redis_server: Redis, make: Any) -> None:
    stack = stacks.memory_redis(redis_server.url) if make is stacks.memory_redis else None
    with using(stack or stack_with(redis_server), "mine"):
        cache = caches["mine"]
        client = client_of(redis_server)
        client.set("of somebody else", "stays")
        caches["mine-redis"].set("of-the-layer-itself", "stays")
        cache.set_many({f"key-{number}": number for number in range(3000)})
        before = client.dbsize()

        cache.clear()

        assert cache.get_many([f"key-{number}" for number in range(3000)]) == {}
        assert client.get("of somebody else") == b"stays"
        assert caches["mine-redis"].get("of-the-layer-itself") == "stays"
        assert before > 3000
        assert client.dbsize() <= 4  # these two, the stream, and the record of epochs
        client.close()


@pytest.mark.django_db(transaction=True)
def test_a_write_and_its_event_are_one_round_trip(redis_server: Redis) -> None:
    with using(stacks.memory_redis(redis_server.url), "counted"):
        cache = caches["counted"]
        cache.set("key", 1)
        client = client_of(redis_server)
        # Within the tenth of a second without another poll.
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            before = commands_of(client)
            cache.set("key", 2)
            after = commands_of(client)
            if after - before <= 5:
                break

        assert after - before == 5  # MULTI, SET, XADD, EXEC, and the second INFO
        assert client.xlen(":1:counted:bus") >= 2
        client.close()


def commands_of(client: Any) -> int:
    number: int = client.info("stats")["total_commands_processed"]
    return number


def test_a_redis_that_is_full_is_no_outage(
    redis_server: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    client = client_of(redis_server)
    with using(stacks.memory_redis(redis_server.url), "full"):
        cache = caches["full"]
        cache.set("key", "old")
        client.config_set("maxmemory", 1)
        client.config_set("maxmemory-policy", "noeviction")

        cache.set("key", "new secret")

        assert not breaker_of("full-redis").is_open
        assert counts.of("full-redis", "refused") > 0
        client.config_set("maxmemory", 0)
        assert isinstance(cache, LayeredCache)
        cache.state.drop_everything(cache.flows.locals)
        assert cache.get("key") in {None, "new secret"}
        assert "secret" not in caplog.text  # redis-py quotes the command with its value
    client.close()


def test_undecodable_stored_bytes_are_a_miss(redis_server: Redis) -> None:
    client = client_of(redis_server)
    with using(stacks.memory_redis(redis_server.url), "spoilt"):
        cache = caches["spoilt"]
        cache.set("key", "value")
        for key in client.keys("*:key"):
            client.set(key, b"\x80\x05not a pickle")
        assert isinstance(cache, LayeredCache)
        cache.state.drop_everything(cache.flows.locals)

        assert cache.get("key") is None
        assert cache.add("key", "again") is True
        assert cache.get("key") == "again"
    client.close()


# memcached


@pytest.fixture
def memcached_cache(memcached_server: Memcached) -> Iterator[BaseCache]:
    configured: dict[str, dict[str, Any]] = {
        "default": {
            "BACKEND": "cachelayers.backends.LayeredCache",
            "OPTIONS": {"LAYERS": ["memcached", "database"], "BUS": None},
        },
        "memcached": {
            "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
            "LOCATION": memcached_server.address,
        },
        "database": {"BACKEND": "cachelayers.backends.DatabaseCache", "LOCATION": "sqlite_cache"},
    }
    with using(Stack(configured), "keys"):
        yield caches["keys"]
        caches["keys"].clear()
        caches["keys"].close()


@pytest.mark.filterwarnings("ignore::django.core.cache.CacheKeyWarning")
@pytest.mark.usefixtures("django_db_setup")
@pytest.mark.parametrize(
    "key",
    ["x" * 5000, "with space", "line\nbreak", "null\x00", "ключ", "🗝" * 300, "\ud800", "é" * 250],
)
def test_memcached_takes_every_key(memcached_cache: BaseCache, key: str) -> None:
    memcached_cache.set(key, "value", version=3)
    memcached_cache.set(f"{key}.", "another", version=3)

    layer: Any = memcached_cache.flows.layers[0]  # type: ignore[attr-defined]
    name = memcached_cache._name(key, 3)  # type: ignore[attr-defined]
    head = memcached_cache.state.heads["keys-memcached"]  # type: ignore[attr-defined]

    assert memcached_cache.get(key, version=3) == "value"
    assert memcached_cache.get_many([key, f"{key}."], version=3) == {
        key: "value",
        f"{key}.": "another",
    }
    assert layer.read_many([f"{head}{name}"])[f"{head}{name}"].value == "value"
    assert memcached_cache.delete(key, version=3) is True
    assert memcached_cache.get(key, version=3) is None


@pytest.mark.usefixtures("django_db_setup")
@pytest.mark.parametrize("bulk", [False, True])
def test_a_value_that_memcached_rejects_is_skipped_and_counted(
    memcached_cache: BaseCache, bulk: bool
) -> None:
    large = "x" * (2 * 2**20)
    memcached_cache.set("large", "small")
    before = counts.of("keys-memcached", "too_large")

    if bulk:
        assert memcached_cache.set_many({"large": large, "small": "s"}) == []
    else:
        memcached_cache.set("large", large)
        memcached_cache.set("small", "s")

    assert memcached_cache.get("large") == large  # from the table below
    assert memcached_cache.get("small") == "s"
    assert counts.of("keys-memcached", "too_large") > before
    assert not breaker_of("keys-memcached").is_open


def test_a_value_that_the_only_shared_layer_rejects_is_published(
    memcached_server: Memcached,
) -> None:
    configured = stacks.memory_memcached(memcached_server.address, "redis://127.0.0.1:1").caches
    configured["default"]["OPTIONS"]["BUS"] = None
    with using(Stack(configured), "small"):
        failed = caches["small"].set_many({"large": "x" * (2 * 2**20), "small": 1})
        caches["small"].close()

    assert failed == ["large"]


@pytest.mark.usefixtures("django_db_setup")
def test_a_memcached_over_30_days_and_without_expiry(memcached_cache: BaseCache) -> None:
    memcached_cache.set("long", "1", timeout=40 * 24 * 3600)
    memcached_cache.set("ever", "2", timeout=None)
    memcached_cache.set("far", "3", timeout=10**10)

    layer: Any = memcached_cache.flows.layers[0]  # type: ignore[attr-defined]
    head = memcached_cache.state.heads["keys-memcached"]  # type: ignore[attr-defined]
    names = [head + memcached_cache._name(key, None) for key in ("long", "ever", "far")]  # type: ignore[attr-defined]
    assert sorted(entry.value for entry in layer.read_many(names).values()) == ["1", "2", "3"]
