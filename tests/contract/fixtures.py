"""Fixtures of the backends' tests: caches with other options, and a clock that tests move."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Protocol

import pytest
from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.db import models
from django.test import override_settings

from cachelayers.conf import table_database_of
from cachelayers.models import Entry
from tests.conftest import CACHE_ALIASES

# Django's guarantees are tested on all of ours.
STACKS = [
    "memory_table",
    "memory_diskcache",
    pytest.param("memory_redis_postgres", marks=[pytest.mark.redis, pytest.mark.postgres]),
    pytest.param("memory_memcached", marks=pytest.mark.memcached),
    pytest.param("redis_table", marks=pytest.mark.redis),
    pytest.param("core_redis_table", marks=pytest.mark.redis),
    pytest.param("memcached_files", marks=pytest.mark.memcached),
]
SINGLE = [*CACHE_ALIASES, "memory"]
single_backend = pytest.mark.parametrize("cache_alias", SINGLE, indirect=True)
every_backend = pytest.mark.parametrize("cache_alias", [*SINGLE, *STACKS], indirect=True)
# Several of these share the code for values, packing and timeouts, so a suite of many cases runs on
# one of each kind.
TABLES = [
    "sqlite",
    pytest.param("postgres", marks=pytest.mark.postgres),
    pytest.param("mariadb", marks=pytest.mark.mariadb),
]
KINDS = [
    *TABLES,
    "memory",
    "memory_table",
    pytest.param("memory_memcached", marks=pytest.mark.memcached),
    pytest.param("redis_table", marks=pytest.mark.redis),
]
SEARCHABLE = [
    *TABLES,
    "memory",
    "memory_table",
    pytest.param("redis_table", marks=pytest.mark.redis),
]
each_kind = pytest.mark.parametrize("cache_alias", KINDS, indirect=True)
each_searchable = pytest.mark.parametrize("cache_alias", SEARCHABLE, indirect=True)
each_table = pytest.mark.parametrize("cache_alias", TABLES, indirect=True)
UNUSED_NUMBERS = itertools.count()


def unused_name() -> str:
    """Return an alias that no test has used before."""
    return f"variant-{next(UNUSED_NUMBERS)}"


class MakeCache(Protocol):
    """Build a cache like the one under test, but with other settings."""

    def __call__(
        self,
        name: str | None = ...,
        *,
        options: Mapping[str, object] | None = ...,
        **params: object,
    ) -> BaseCache: ...


class Clock:
    """The time of day as the cache reads it, in seconds; only tests move it."""

    def __init__(self, now_seconds: float) -> None:
        self.now_seconds = now_seconds

    def __call__(self) -> float:
        return self.now_seconds

    def advance(self, seconds: float) -> None:
        self.now_seconds += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    # Patched in the module, as Django's own tests do: this detects a backend that imports the name.
    clock = Clock(time.time())
    monkeypatch.setattr(time, "time", clock)
    return clock


@pytest.fixture
def entries(cache: BaseCache, cache_alias: str) -> models.Manager[Entry]:
    """Return the rows of the cache under test, to read and to change them."""
    return Entry.objects.db_manager(table_database_of(settings.CACHES[cache_alias]))


@pytest.fixture
def make_cache(cache: BaseCache, cache_alias: str) -> Iterator[MakeCache]:
    """Build caches that share the table of the cache under test; they are emptied at the end."""
    made: list[BaseCache] = []
    with ExitStack() as overrides:

        def make(
            name: str | None = None,
            *,
            options: Mapping[str, object] | None = None,
            **params: object,
        ) -> BaseCache:
            # A new name each time: reports are limited to one a minute for each name.
            name = name or unused_name()
            configured = add_alias(settings.CACHES, cache_alias, name, options or {}, params)
            overrides.enter_context(override_settings(CACHES=configured))
            made.append(caches[name])
            return made[-1]

        yield make
        for variant in made:
            variant.clear()
            variant.close()


def add_alias(
    configured: Mapping[str, Mapping[str, Any]],
    like: str,
    name: str,
    options: Mapping[str, object],
    params: Mapping[str, object],
) -> dict[str, Mapping[str, Any]]:
    base = configured[like]
    merged = {**base, **params, "OPTIONS": {**base.get("OPTIONS", {}), **options}}
    return {**configured, name: merged}
