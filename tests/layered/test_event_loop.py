"""A sync call from an event loop can use a stack with the log as bus, in a request too."""

from __future__ import annotations

import asyncio

import pytest

from cachelayers import unit_of_work
from tests.layered.conftest import MakeStack


@pytest.mark.django_db(transaction=True)
def test_a_sync_call_from_an_event_loop_works(make_stack: MakeStack) -> None:
    cache = make_stack(BUS="log").cache

    async def visit() -> object:
        with unit_of_work():
            cache.set("page", "from a loop")
            return cache.get("page")

    assert asyncio.run(visit()) == "from a loop"
