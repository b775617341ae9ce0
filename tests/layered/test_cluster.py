"""A Redis Cluster of three masters as layer and as bus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.test import override_settings

from tests.layered.cluster import running_cluster
from tests.settings import layered_cache, memory_cache

pytestmark = pytest.mark.redis


@pytest.fixture(scope="module")
def cluster_url() -> Iterator[str]:
    with running_cluster() as url:
        yield url


@pytest.fixture(params=["with memory", "alone"])
def clustered(
    request: pytest.FixtureRequest, cluster_url: str, django_db_setup: None
) -> Iterator[BaseCache]:
    layers = {
        "with memory": ["clustered-memory", "clustered-redis"],
        "alone": ["clustered-redis", "sqlite"],
    }[request.param]
    configured: dict[str, Any] = {
        "clustered": layered_cache(*layers, bus="clustered-redis"),
        "clustered-memory": memory_cache(),
        "clustered-redis": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": cluster_url,
            "OPTIONS": {"CONNECTION_FACTORY": "tests.layered.cluster.ClusterFactory"},
        },
    }
    with override_settings(CACHES={**settings.CACHES, **configured}):
        yield caches["clustered"]
        caches["clustered"].clear()


def test_every_operation_works_on_a_cluster(clustered: BaseCache) -> None:
    values = {f"key-{number}": {"number": number} for number in range(300)}

    assert clustered.set_many(values) == []
    forget_memory(clustered)
    assert clustered.get_many(values) == values
    clustered.set("counter", 1)
    assert clustered.incr("counter", 4) == 5
    assert clustered.add("counter", 9) is False
    assert clustered.touch("counter", 100) is True
    assert clustered.delete("counter") is True
    clustered.delete_many(list(values)[:100])
    assert len(clustered.get_many(values)) == 200
    clustered.clear()
    assert clustered.get_many(values) == {}


def test_a_write_is_published_through_a_cluster(clustered: BaseCache) -> None:
    flows: Any = clustered.flows  # type: ignore[attr-defined]
    clustered.set("key", 1)
    assert not flows.layers[0].is_local or flows.shared[0].carries_events is False
    before = flows.bus.access.client().xlen(flows.bus.stream)

    clustered.set("key", 2)

    after = flows.bus.access.client().xlen(flows.bus.stream)
    assert after - before == len(flows.locals)


def forget_memory(cache: BaseCache) -> None:
    flows: Any = cache.flows  # type: ignore[attr-defined]
    flows.state.drop_everything(flows.locals)
