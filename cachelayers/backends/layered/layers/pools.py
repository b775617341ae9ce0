"""Connection pools for django-redis that a LayeredCache does not share. Imported by their path."""

from __future__ import annotations

from django_redis.pool import ConnectionFactory
from redis import ConnectionPool


class OwnPools(ConnectionFactory):  # type: ignore[misc] # it comes without types
    """Pools that are not shared with caches of the same URL and other time limits."""

    _pools: dict[str, ConnectionPool] = {}
