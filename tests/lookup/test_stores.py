"""recall() works with any cache in CACHES: a hit is a hit, and a change invalidates it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.cache import caches
from django.test import override_settings
from pytest_django.plugin import DjangoDbBlocker

from cachelayers import recall, unit_of_work
from tests.library.models import Author

DJANGO_S = "django.core.cache.backends"
STORES: dict[str, dict[str, Any]] = {
    "LocMemCache": {"BACKEND": f"{DJANGO_S}.locmem.LocMemCache", "LOCATION": "stores"},
    "FileBasedCache": {"BACKEND": f"{DJANGO_S}.filebased.FileBasedCache", "LOCATION": "a folder"},
    "MemoryCache": {"BACKEND": "cachelayers.backends.MemoryCache"},
    "DatabaseCache": {
        "BACKEND": "cachelayers.backends.DatabaseCache",
        "LOCATION": "sqlite_cache",
        "OPTIONS": {"SERIALIZER": "json", "COMPRESSION": "zlib", "SIGNED": True},
    },
    "RedisCache": {"BACKEND": f"{DJANGO_S}.redis.RedisCache"},
    "django-redis": {"BACKEND": "django_redis.cache.RedisCache"},
    "django-redis, JSON": {
        "BACKEND": "django_redis.cache.RedisCache",
        "OPTIONS": {"SERIALIZER": "django_redis.serializers.json.JSONSerializer"},
    },
    "PyMemcacheCache": {"BACKEND": f"{DJANGO_S}.memcached.PyMemcacheCache"},
    "LayeredCache": {
        "BACKEND": "cachelayers.backends.LayeredCache",
        "OPTIONS": {"LAYERS": ["memory", "json", "table"], "BUS": "json"},
    },
}
MARKS = {
    "RedisCache": pytest.mark.redis,
    "django-redis": pytest.mark.redis,
    "django-redis, JSON": pytest.mark.redis,
    "PyMemcacheCache": pytest.mark.memcached,
    "LayeredCache": pytest.mark.redis,
}


@pytest.fixture(params=[pytest.param(name, marks=MARKS.get(name, ())) for name in STORES])
def store(
    request: pytest.FixtureRequest,
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    tmp_path: Path,
) -> Iterator[str]:
    """Return the alias of a cache of each kind, with the server that it needs."""
    name: str = request.param
    params = {**STORES[name], "KEY_PREFIX": uuid4().hex}
    if name == "FileBasedCache":
        params["LOCATION"] = str(tmp_path)
    elif "edis" in name:
        params["LOCATION"] = f"{request.getfixturevalue('redis_url')}/0"
    elif name == "PyMemcacheCache":
        params["LOCATION"] = request.getfixturevalue("memcached_address")
    configured = {"default": params}
    if name == "LayeredCache":
        url = f"{request.getfixturevalue('redis_url')}/0"
        configured["memory"] = STORES["MemoryCache"]
        configured["json"] = {**STORES["django-redis, JSON"], "LOCATION": url}
        configured["table"] = STORES["DatabaseCache"]
    with django_db_blocker.unblock(), override_settings(CACHES=configured):
        Author.objects.all().delete()
        yield "default"
        caches["default"].close()
        Author.objects.all().delete()


def test_a_value_is_a_hit_until_its_data_changes(store: str) -> None:
    Author.objects.create(pk=1, name="Ann")
    computed: list[int] = []

    def names() -> list[str]:
        computed.append(1)
        return [author.name for author in Author.objects.order_by("pk")]

    def visit() -> list[str]:
        with unit_of_work():
            return recall("names", names, timeout=60, stale=5, tags=["a word"], using=store)

    before = [visit(), visit()]
    Author.objects.create(pk=2, name="Bob")
    after = [visit(), visit()]

    assert before == [["Ann"]] * 2
    assert after == [["Ann", "Bob"]] * 2
    assert len(computed) == 2
