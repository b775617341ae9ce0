"""Tombstones, reads while a layer fails, and polls that are interrupted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.core.cache import caches

from cachelayers.backends.layered.layers.base import NEVER, LayerEntry
from tests.coherence import stacks
from tests.layered.conftest import MakeStack, Stack
from tests.layered.test_servers import using
from tests.servers import Redis


@pytest.mark.usefixtures("django_db_setup")
@pytest.mark.parametrize("which", [0, 1])
def test_add_replaces_a_tombstone(redis_server: Redis, which: int) -> None:
    with using(stacks.memory_redis_table(redis_server.url), "added"):
        layer: Any = caches["added"].flows.shared[which]  # type: ignore[attr-defined]
        layer.write_tombstones(["name"])

        assert layer.add("name", LayerEntry("first", NEVER)) is True
        assert layer.add("name", LayerEntry("second", NEVER)) is False
        assert layer.read_many(["name"])["name"].value == "first"
        layer.delete_many(["name"])


def test_a_layer_that_could_not_be_read_is_not_filled(stack: Stack) -> None:
    stack.cache.set("key", "value")
    stack.forget_memory()
    assert stack.cache.get("other") is None
    epochs = dict(stack.cache.state.epochs)  # type: ignore[attr-defined]

    def fail_once() -> None:
        raise ConnectionError("a moment")

    stack.upper.before["get_many"] = fail_once
    stack.upper.calls.clear()
    assert stack.cache.get("key") == "value"

    assert "add" not in stack.upper.calls
    assert stack.cache.state.epochs == epochs  # type: ignore[attr-defined]


def test_a_cancelled_poll_releases_the_lock(make_stack: MakeStack) -> None:
    stack = make_stack("AsyncWatchedCache")

    async def site() -> None:
        task = asyncio.create_task(stack.cache.aget("key"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(site())

    lock = stack.cache.state.poll_lock  # type: ignore[attr-defined]
    assert lock.acquire(timeout=10)  # the polling thread finishes, though no task waits for it
    lock.release()
