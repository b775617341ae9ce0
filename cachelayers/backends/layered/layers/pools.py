"""Connection pools of django-redis that are a LayeredCache's own. Named in its settings."""

from __future__ import annotations

from django_redis.pool import ConnectionFactory
from redis import ConnectionPool


class OwnPools(ConnectionFactory):  # type: ignore[misc] # it comes without types
    """Keeps pools apart from those of other caches with the same URL and other time limits."""

    _pools: dict[str, ConnectionPool] = {}
