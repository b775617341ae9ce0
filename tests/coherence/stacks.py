"""The tested stacks of layers, as CACHES."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.settings import database_cache, layered_cache, memory_cache


@dataclass
class Stack:
    """A LayeredCache as "default", and its layers."""

    caches: dict[str, dict[str, Any]]

    @property
    def bus(self) -> str | None:
        bus: str | None = self.caches["default"]["OPTIONS"]["BUS"]
        return bus


def memory_table(database: str = "sqlite_cache", bus: str | None = "log") -> Stack:
    return Stack(
        {
            "default": layered_cache("memory", "database", bus=bus),
            "memory": memory_cache(),
            "database": database_cache(database),
        }
    )


def memory_redis_table(url: str, database: str = "sqlite_cache") -> Stack:
    return Stack(
        {
            "default": layered_cache("memory", "redis", "database", bus="redis"),
            "memory": memory_cache(),
            "redis": django_redis(url),
            "database": database_cache(database),
        }
    )


def memory_redis(url: str) -> Stack:
    return Stack(
        {
            "default": layered_cache("memory", "redis", bus="redis"),
            "memory": memory_cache(),
            "redis": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url},
        }
    )


def memory_memcached(address: str | list[str], redis_url: str) -> Stack:
    return Stack(
        {
            "default": layered_cache("memory", "memcached", bus="redis"),
            "memory": memory_cache(),
            "memcached": {
                "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
                "LOCATION": address,
            },
            "redis": django_redis(redis_url),
        }
    )


def django_redis(url: str) -> dict[str, Any]:
    return {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url}
