"""Warming in threads: how a run ends."""

import threading
from dataclasses import dataclass

import pytest

from cachelayers.warming.items import Outcome, call_item
from cachelayers.warming.run import RunOptions, warm_items


@dataclass
class Gate:
    """Lets the first item end at once, and the others when it is opened."""

    opened: threading.Event
    passed: list[int]

    def first(self) -> None:
        self.passed.append(1)

    def later(self) -> None:
        self.opened.wait(30)
        self.passed.append(1)


@pytest.mark.django_db(transaction=True)
def test_an_interrupted_worker_pool_finishes_its_items_and_begins_no_others() -> None:
    gate = Gate(opened=threading.Event(), passed=[])
    items = [
        call_item(function, label="gate", position=str(number))
        for number, function in enumerate([gate.first, *[gate.later] * 100])
    ]
    told: list[Outcome] = []

    def interrupt(_number: int, outcome: Outcome) -> None:
        told.append(outcome)
        if len(told) == 1:
            threading.Timer(0.2, gate.opened.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        warm_items(items, RunOptions(concurrency=2), interrupt)

    assert len(told) == len(gate.passed) <= 3
    assert not [each for each in threading.enumerate() if each.name.startswith("warm_cache")]
