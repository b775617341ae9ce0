"""Warming is measured beside the plain loop, on pages that were all warmed."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.warming.__main__ import CLIENT, WAITING, describe
from tests.benchmarks.test_run import run


def test_ways_of_warming_are_measured_beside_each_other(tmp_path: Path) -> None:
    path = tmp_path / "warming.json"
    # One that is a loop, and one that is two processes.
    chosen = ("--kind", WAITING, "--way", CLIENT, "--way", "2 processes")

    printed = run("benchmarks.warming", *chosen, "--pages=4", "--rounds=1", "--json", path)

    written = json.loads(path.read_text())
    assert written["pages"] == 4
    assert set(written["seconds"]) == {WAITING}
    assert set(written["seconds"][WAITING]) == {CLIENT, "2 processes"}
    assert all(
        len(rounds) == 1 and rounds[0] > 0 for rounds in written["seconds"][WAITING].values()
    )
    assert "4 pages warmed: pages a second" in printed


def test_a_way_is_compared_round_by_round_with_the_loop() -> None:
    client = [2.0, 4.0, 8.0]

    assert describe([1.0, 4.0, 2.0], client, 100) == "50 (2.00x)"
    assert describe(client, client, 100) == "25"
