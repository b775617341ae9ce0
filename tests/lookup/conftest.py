"""What the tests of recalls, single ones and batches, have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cachelayers.lookup import steps


@pytest.fixture
def before_lease(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Return a function that schedules a call just before the next lease is asked for."""

    def do_first(work: Callable[[], Any]) -> None:
        take_lease = steps.TakeLease.run
        waiting = [work]

        def run(step: steps.TakeLease) -> Any:
            if waiting:
                waiting.pop()()
            return take_lease(step)

        monkeypatch.setattr(steps.TakeLease, "run", run)

    return do_first
