"""The running example of the page on LayeredCache does what the page shows."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from django.core.checks import CheckMessage
from pytest_django import Settings

from cachelayers.backends.layered.options import LayeredOptions
from cachelayers.checks import cache_messages
from tests.docs.test_recall_pages import blocks_of, shown_defaults, spelled
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


def test_every_option_and_its_default_are_on_the_page() -> None:
    options = LayeredOptions()
    alone, with_bus = options.memory_seconds, LayeredOptions(BUS="log").memory_seconds
    expected = {
        "LAYERS": "",
        "BUS": spelled(options.BUS),
        "MEMORY_TIMEOUT": f"{alone:g} without a bus, {with_bus:g} with one",
        "TIME_LIMIT": f"{options.TIME_LIMIT:g}",
    }

    assert set(LayeredOptions.__dataclass_fields__) == set(expected)
    for name, default in expected.items():
        assert shown_defaults("layered_cache.md", name)[0] == default
