"""What counting costs is measured against the same code without it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.counting import Cost, judge, without_counting
from cachelayers.backends import MemoryCache
from tests.benchmarks.test_run import run


def test_every_operation_is_timed_with_and_without(tmp_path: Path) -> None:
    path = tmp_path / "counting.json"

    printed = run("benchmarks.counting", "--smoke", "--json", path)

    written = json.loads(path.read_text())
    assert len(written["costs"]) == 6
    assert all(cost["without_us"] > 0 and cost["with_us"] > 0 for cost in written["costs"])
    assert all(us > 0 for us in list(written["apart_us"].values())[:2])
    assert "Targets, from a smoke run: a hint, no proof" in printed


def test_a_cost_beyond_a_microsecond_is_not_what_was_promised() -> None:
    cost = {"operation": "get", "without_us": 1.0, "with_us": 3.0}

    outcomes = judge([Cost(**cost, added_us=0.5), Cost(**cost, added_us=2.0)])  # type: ignore[arg-type]

    assert [(outcome.is_reached, outcome.remark) for outcome in outcomes] == [
        (True, ""),
        (False, "200.0% of it"),
    ]


def test_code_that_counts_in_another_way_is_noticed() -> None:
    class Other(MemoryCache):
        def get(self, *arguments: object) -> None:
            self._cell.hits = self._cell.hits + 1

    with pytest.raises(RuntimeError, match="counts in a way that is not known"):
        without_counting(Other, "get")
