"""A step of a recall that only reports that it was reached."""

from __future__ import annotations

from collections.abc import Callable


def noting(steps: list[object]) -> Callable[[object], bool]:
    """Return a replacement of a step's ``run`` that records the step and returns True."""

    def run(step: object) -> bool:
        steps.append(step)
        return True

    return run
