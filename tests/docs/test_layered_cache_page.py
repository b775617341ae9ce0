"""The running example of the page on LayeredCache does what the page shows."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.core.cache import cache as default_cache
from django.core.cache.backends.base import BaseCache
from django.core.checks import CheckMessage
from pytest_django import Settings

from cachelayers.backends import kinds
from cachelayers.backends.faults import cache_errors
from cachelayers.backends.layered.layers.redis import RedisLayer
from cachelayers.checks import cache_messages
from tests.docs.test_recall_pages import blocks_of
from tests.layered.cluster import ClusterFactory


@pytest.mark.django_db(transaction=True)
def test_the_running_example_runs_as_shown(tmp_path: Path, settings: Settings) -> None:
    first, use, located, listed, _, disk, *_ = blocks_of("layered_cache.md")
    shown: dict[str, Any] = {"__name__": "example", "BASE_DIR": tmp_path}
    exec(first, shown)
    settings.CACHES = shown["CACHES"]

    exec(use, shown)
    for changed in (located, listed, disk):
        exec(changed, shown)
        settings.CACHES = shown["CACHES"]
        messages: list[CheckMessage] = list(cache_messages())

        assert [message for message in messages if message.is_serious()] == []


def test_a_kind_of_layer_of_ones_own_works_as_shown(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked: list[str] = []

    @contextmanager
    def lock(cache: BaseCache, name: str) -> Iterator[None]:
        locked.append(name)
        yield

    *_, layer, cache, valkey, registration = blocks_of("layered_cache.md")
    shown: dict[str, Any] = {"__name__": "mysite.layers"}
    exec(layer, shown)
    exec(cache, shown)
    exec(valkey, shown)
    shown["ShareError"] = type("ShareError", (Exception,), {})
    shown["ShareCache"].lock = lock
    for name in ("mysite", "mysite.layers", "mysite.share"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
        vars(sys.modules[name]).update(shown)
    settings.CACHES = {
        "default": {
            "BACKEND": "cachelayers.backends.LayeredCache",
            "OPTIONS": {"LAYERS": ["memory", "share"]},
        },
        "memory": {"BACKEND": "cachelayers.backends.MemoryCache"},
        "share": {"BACKEND": "mysite.layers.ShareCache", "LOCATION": str(tmp_path)},
    }

    default_cache.set("count", 1)
    assert default_cache.incr("count") == 2
    assert len(locked) == 1
    assert shown["ShareError"] in cache_errors()

    monkeypatch.setattr(kinds, "_registered", dict(kinds._registered))
    exec(registration, shown)
    assert kinds._registered["django_valkey.cache.ValkeyCache"] == "mysite.valkey.ValkeyLayer"
    assert issubclass(shown["ValkeyLayer"], RedisLayer)


def test_the_cluster_factory_is_the_one_that_is_tested() -> None:
    block = blocks_of("layered_cache.md")[4]
    shown = "".join(block.split("class ")[1].split("redis_options")[0].split())

    tested = inspect.getsource(ClusterFactory).split("class ", 1)[1]
    for extra in (
        "  # type: ignore[misc] # it comes without types",
        '    """The class that docs/layered_cache.md tells users to write."""\n',
        ": ClassVar[dict[str, RedisCluster]]",
        ": str) -> RedisCluster",
    ):
        assert extra in tested
        tested = tested.replace(extra, ")" if "->" in extra else "")
    assert "".join(tested.split()) == shown
