"""The running example of the page on LayeredCache does what the page shows."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from django.core.checks import CheckMessage
from pytest_django import Settings

from cachelayers.checks import cache_messages
from tests.docs.test_recall_pages import blocks_of
from tests.layered.cluster import ClusterFactory


@pytest.mark.django_db(transaction=True)
def test_the_running_example_runs_as_shown(settings: Settings) -> None:
    first, use, more, _ = blocks_of("layered_cache.md")
    shown: dict[str, Any] = {"__name__": "example"}
    exec(first, shown)
    settings.CACHES = shown["CACHES"]

    exec(use, shown)
    exec(more, shown)
    settings.CACHES = shown["CACHES"]
    messages: list[CheckMessage] = list(cache_messages())

    assert [message for message in messages if message.is_serious()] == []


def test_the_cluster_factory_is_the_one_that_is_tested() -> None:
    *_, block = blocks_of("layered_cache.md")
    shown = "".join(block.split("class ")[1].split("redis_options")[0].split())

    tested = inspect.getsource(ClusterFactory).split("class ")[1]
    for extra in (
        "  # type: ignore[misc] # it comes without types",
        '    """What docs/layered_cache.md tells users to write."""\n',
        ": ClassVar[dict[str, RedisCluster]]",
        ": str) -> RedisCluster",
    ):
        assert extra in tested
        tested = tested.replace(extra, ")" if "->" in extra else "")
    assert "".join(tested.split()) == shown
