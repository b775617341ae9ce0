"""The benchmarks run from one end to the other, on SQLite and with the smallest figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.operations import OPERATIONS
from benchmarks.peers import BARE, DISKCACHE, DJANGO, OURS
from benchmarks.values import KINDS

CHECKOUT = Path(__file__).parents[2]


def run(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(
        command, cwd=CHECKOUT, check=True, stdout=subprocess.PIPE, text=True, timeout=60
    ).stdout


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What a run printed, and the JSON that it wrote."""
    path = tmp_path_factory.mktemp("bench") / "bench.json"
    printed = run("benchmarks", "--smoke", "--on=sqlite", "--json", path)
    return printed, json.loads(path.read_text())


def test_every_operation_is_timed_on_every_peer_with_every_kind_of_value(
    smoke: tuple[str, dict[str, Any]],
) -> None:
    _, written = smoke

    timed = {(each["operation"], each["peer"], each["value"]) for each in written["operations"]}

    assert timed == {
        (operation.name, peer, kind)
        for operation in OPERATIONS
        for peer in (OURS, DJANGO, DISKCACHE, BARE)
        for kind in KINDS
    }


def test_every_group_writes_its_figures(smoke: tuple[str, dict[str, Any]]) -> None:
    _, written = smoke

    figures = {name: len(written[name]) for name in ("growth", "processes", "races")}

    assert figures == {"growth": 4, "processes": 3, "races": 3}


def test_ours_loses_nothing_while_it_is_measured(smoke: tuple[str, dict[str, Any]]) -> None:
    _, written = smoke

    crowd = next(each for each in written["processes"] if each["peer"] == OURS)
    race = next(each for each in written["races"] if each["peer"] == OURS)

    assert (crowd["lost"], crowd["misses"], crowd["faults"]) == (0, 0, 0)
    assert (race["counted"], race["faults"]) == (race["expected"], 0)


def test_a_quick_run_says_that_its_figures_prove_nothing(
    smoke: tuple[str, dict[str, Any]],
) -> None:
    printed, _ = smoke

    assert "Targets, from a smoke run: a hint, no proof" in printed


@pytest.mark.parametrize("operation", ["get", "delete"])
def test_a_profile_shows_what_takes_part_in_an_operation(operation: str) -> None:
    printed = run("benchmarks.profile", "sqlite", operation, "--calls=20", "--rows=200")

    assert f"ours on sqlite, {operation}" in printed
    assert "backends/database/" in printed
