"""Carry out a flow of steps, in a way that blocks or in one that does not. The lowest floor.

A flow yields steps and gets their answers, so there is one flow for a sync method and its async
twin, and the two cannot differ.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Protocol


class Step(Protocol):
    """One thing to do; the flow gets its result."""

    def run(self) -> Any:
        """Do it."""

    async def arun(self) -> Any:
        """Do it without blocking the event loop."""


def run(flow: Generator[Step, Any, Any]) -> Any:
    """Carry out the steps of a flow and return its result."""
    try:
        step = next(flow)
        while True:
            try:
                answer = step.run()
            except BaseException as error:  # noqa: BLE001 - the flow is to handle it
                step = flow.throw(error)
            else:
                step = flow.send(answer)
    except StopIteration as end:
        return end.value


async def arun(flow: Generator[Step, Any, Any]) -> Any:
    """Carry out the steps of a flow in async code."""
    try:
        step = next(flow)
        while True:
            try:
                answer = await step.arun()
            except BaseException as error:  # noqa: BLE001 - a cancellation gives back leases
                step = flow.throw(error)
            else:
                step = flow.send(answer)
    except StopIteration as end:
        return end.value
