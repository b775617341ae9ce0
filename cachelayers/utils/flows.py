"""Run a flow of steps, blocking or async.

A flow yields steps and receives their answers, so one flow serves a sync method and its async form,
and the two cannot differ. Recalls and the layered backend consist of flows.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Protocol


class Step(Protocol):
    """One operation of a flow."""

    def run(self) -> Any:
        """Do it, blocking."""

    async def arun(self) -> Any:
        """Do it without blocking the event loop."""


def run_flow(flow: Generator[Step, Any, Any]) -> Any:
    """Run the steps of a flow and return its result."""
    try:
        step = next(flow)
        while True:
            try:
                answer = step.run()
            except BaseException as error:  # noqa: BLE001 - the flow handles it
                step = flow.throw(error)
            else:
                step = flow.send(answer)
    except StopIteration as end:
        return end.value


async def arun_flow(flow: Generator[Step, Any, Any]) -> Any:
    """Run the steps of a flow in async code."""
    try:
        step = next(flow)
        while True:
            try:
                answer = await step.arun()
            except BaseException as error:  # noqa: BLE001 - a cancelled flow releases its leases
                step = flow.throw(error)
            else:
                step = flow.send(answer)
    except StopIteration as end:
        return end.value
