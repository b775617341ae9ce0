"""An outage of a Redis is measured from its beginning to its end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import outage
from benchmarks.outage import DOWN, HITS, STACKS, UP, WITH_REDIS, WITHOUT, Found, judge
from tests.benchmarks.test_run import run


@pytest.mark.redis
def test_every_hit_is_timed_before_and_during_an_outage(tmp_path: Path) -> None:
    path = tmp_path / "outage.json"

    printed = run("benchmarks.outage", "--smoke", "--json", path)

    written = json.loads(path.read_text())
    assert {(each["phase"], each["stack"], each["hit"]) for each in written["gets"]} == {
        (phase, stack, hit) for phase in (UP, DOWN) for stack in STACKS for hit in HITS
    }
    assert len(written["noticed_seconds"]) == len(written["back_seconds"]) == 1
    assert "Targets, from a smoke run: a hint, no proof" in printed


def test_an_outage_is_compared_with_never_having_had_a_redis() -> None:
    found = Found(back_seconds=[1.0, 6.0])
    for hit, with_redis_us, without_us in zip(HITS, (10.0, 90.0), (10.0, 30.0), strict=True):
        found.get_us[DOWN][WITH_REDIS][hit] = [with_redis_us] * 3
        found.get_us[DOWN][WITHOUT][hit] = [without_us] * 3

    outcomes = judge(found)

    assert [(each.found, each.is_reached, each.remark) for each in outcomes] == [
        (1.0, True, ""),
        (3.0, False, "150.0% of it"),
        (6.0, False, "120.0% of it"),
    ]


def test_without_a_redis_the_rest_of_the_benchmarks_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(outage, "find_missing", lambda: {"redis": "it is elsewhere"})

    outage.main([])

    assert capsys.readouterr().out == "MISSING: redis: it is elsewhere\n"
