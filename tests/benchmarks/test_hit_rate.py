"""The benchmark of hit rates compares every answer, and counts hits where nothing was queried."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission

from benchmarks.hit_rate.__main__ import run
from benchmarks.hit_rate.answers import shown
from benchmarks.hit_rate.names import NEVER, NO_CACHE, ORACLE, OURS, WORKLOADS, Task
from benchmarks.hit_rate.results import Figures, Result, judge, show


@pytest.mark.parametrize("workload", WORKLOADS)
def test_the_oracle_is_right_and_who_never_invalidates_is_found(workload: str) -> None:
    task = Task(
        contestants=[ORACLE, NO_CACHE, NEVER],
        workload=workload,
        database="sqlite",
        writes=50,
        requests=40,
        settings={"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
        folder="",
    )

    oracle, no_cache, never = (one.total for one in run(task))

    assert oracle["reads"] == no_cache["reads"] == never["reads"] > 40
    assert oracle["wrong"] == no_cache["wrong"] == no_cache["hits"] == 0
    assert never["hits"] > oracle["hits"] > 0
    assert never["wrong"] >= never["hits"] - oracle["hits"]


def test_rows_are_compared_by_all_that_was_read_with_them() -> None:
    def answer(name: str = "a", related: str = "b", annotation: int = 1) -> list[Permission]:
        row = Permission(pk=1, name=name)
        row._state.fields_cache["content_type"] = Permission(pk=2, name=related)
        row.__dict__["annotation"] = annotation
        return [row]

    assert shown(answer()) == shown(answer())
    for changed in (answer(name="c"), answer(related="c"), answer(annotation=2), []):
        assert shown(changed) != shown(answer())


def test_ours_is_judged_by_its_distance_to_the_oracle_and_by_its_wrong_answers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ours = result(OURS, Figures(reads=100, hits=60, wrong=3))
    oracle = result(ORACLE, Figures(reads=100, hits=90, wrong=0))
    failed = result("cachalot", None)

    show([ours, oracle, failed])
    outcomes = judge([ours, oracle, failed])

    printed = capsys.readouterr().out.split()
    assert printed[-11:-7] == ["ours", "oracle", "cachalot", "blog,"]
    assert printed[-4:] == ["60.0%", "(3)", "90.0%", "-"]
    assert [(one.found, one.is_reached) for one in outcomes] == [
        (pytest.approx(30), False),
        (3, False),
    ]


def result(contestant: str, figures: Figures | None) -> Result:
    return Result(
        workload="blog",
        database="sqlite",
        writes=5,
        contestant=contestant,
        kinds={"post by slug": figures} if figures else {},
        failure="" if figures else "no such database",
    )
