"""Requests to a new site are measured for each use of the cache."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.http.__main__ import LINES, OPERATIONS, describe
from tests.benchmarks.test_run import run


def test_each_use_of_the_cache_is_asked_for_over_http(tmp_path: Path) -> None:
    path = tmp_path / "http.json"

    printed = run(
        "benchmarks.http", "--install", LINES, "--requests=3", "--rounds=1", "--json", path
    )

    found = json.loads(path.read_text())["microseconds"][LINES]
    assert set(found) == {*OPERATIONS}
    assert all(len(rounds) == 1 and rounds[0] > 0 for rounds in found.values())
    assert f"A request to a new site: microseconds (so many times as quick: {LINES})" in printed


def test_an_install_is_compared_round_by_round_with_the_first() -> None:
    first = [1_000.0, 1_000.0, 2_000.0]

    assert describe([2_000.0, 2_000.0, 2_000.0], first) == "2,000 (2.00x)"
    assert describe(first, first) == "1,000"
