"""The benchmark of fragments measures every contender, and notices what is no hit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.fragments.__main__ import (
    CHANGED_STORES,
    MOST_TIMES_A_HIT,
    Found,
    checked,
    judge,
    seconds_of_a_hit,
)
from benchmarks.fragments.contenders import CONTENDERS, DJANGO, FRAGMENT, FRAGMENTS, note_row
from benchmarks.fragments.world import REDIS, ROWS, STORES
from tests.benchmarks.test_run import run


@pytest.mark.redis
@pytest.mark.memcached
def test_every_contender_is_measured_in_every_cache(tmp_path: Path) -> None:
    path = tmp_path / "fragments.json"

    printed = run("benchmarks.fragments", "--smoke", "--json", path)

    written = json.loads(path.read_text())
    names = {contender.name for contender in CONTENDERS}
    assert {(each["place"], each["contender"]) for each in written["hits"]} == {
        (place, name) for place in STORES for name in names
    }
    assert {(each["place"], each["contender"]) for each in written["edits"]} == {
        (place, name) for place in CHANGED_STORES for name in names
    }
    renders = {(each["contender"], *map(tuple, each["renders"])) for each in written["edits"]}
    assert renders == {(name, (ROWS if name == "no cache" else 1, 1)) for name in names}
    assert "MISSING" not in printed
    assert "Targets, from a smoke run: a hint, no proof" in printed


def test_a_page_that_shows_something_else_ends_the_run() -> None:
    checked(DJANGO, "a page", "a page")
    with pytest.raises(AssertionError, match="shows 'an old page' instead of 'a page'"):
        checked(DJANGO, "an old page", "a page")


def test_a_hit_that_renders_something_ends_the_run() -> None:
    with pytest.raises(AssertionError, match="A hit was none"):
        seconds_of_a_hit(note_row, 0.0, is_stored=True)
    assert seconds_of_a_hit(note_row, 0.0, is_stored=False) > 0


def test_a_hit_is_compared_round_by_round_and_an_edit_renders_one_row_once() -> None:
    found = Found()
    found.hits[REDIS, ROWS, DJANGO.name] = [1.0, 2.0, 9.0]
    found.hits[REDIS, ROWS, FRAGMENT.name] = [1.2, 2.4, 9.0]
    found.hits[REDIS, ROWS, FRAGMENTS.name] = [0.25, 0.5, 9.0]
    found.hits["memory", ROWS, DJANGO.name] = [1.0]
    found.hits["memory", ROWS, FRAGMENT.name] = [3.0]
    found.renders = {(REDIS, FRAGMENT.name): {(1, 1)}, ("layered", FRAGMENT.name): {(1, 1), (2, 1)}}
    found.renders_again = {(REDIS, FRAGMENT.name): {(0, 0)}, ("layered", FRAGMENT.name): {(0, 1)}}

    outcomes = judge(found)

    assert [(outcome.found, outcome.is_reached, outcome.remark) for outcome in outcomes] == [
        (3.0, False, f"{3.0 / MOST_TIMES_A_HIT:.1%} of it"),
        (1.2, True, ""),
        (4.0, False, "80.0% of it"),
        (1, True, ""),
        (2, False, ""),
        (0, True, ""),
        (1, False, ""),
    ]
