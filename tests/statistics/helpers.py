"""The counts of this process, and async code that leaves no connection open."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connections

from cachelayers.utils.counters import Figures, figures_of_process


def counted(cache: str, layer: str = "") -> dict[str, Any]:
    """Return the counts that are not zero, without times."""
    figures = figures_of_process().get((cache, layer), Figures())
    return {
        name: number
        for name, number in figures._asdict().items()
        if number and not name.endswith("_seconds")
    }


def seconds_of(cache: str, name: str) -> float:
    found: float = getattr(figures_of_process()[cache, ""], name)
    return found


def run_async(work: Callable[[], Awaitable[None]]) -> None:
    """Run it, and close the connections opened by its database thread."""

    async def work_and_close() -> None:
        try:
            await work()
        finally:
            await sync_to_async(connections.close_all)()

    asyncio.run(work_and_close())


def await_truth(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.005)
