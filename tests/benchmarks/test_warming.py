"""Warming is measured beside the plain loop, on pages that were all warmed."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.warming.__main__ import WAYS
from tests.benchmarks.test_run import run


def test_every_way_of_warming_is_measured_on_every_kind_of_page(tmp_path: Path) -> None:
    path = tmp_path / "warming.json"

    printed = run("benchmarks.warming", "--pages", "4", "--rounds", "1", "--json", path)

    written = json.loads(path.read_text())
    assert written["pages"] == 4
    assert set(written["seconds"]) == {"airport pages", "pages that wait 5 ms"}
    for by_way in written["seconds"].values():
        assert set(by_way) == set(WAYS)
        assert all(len(rounds) == 1 and rounds[0] > 0 for rounds in by_way.values())
    assert "4 pages warmed: pages a second" in printed
