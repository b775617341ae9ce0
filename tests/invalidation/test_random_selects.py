"""Rows outside of what a SELECT's conditions fix do not affect it: random SELECTs and writes.

`CACHELAYERS_RANDOM_SELECTS=100000` compares that many SELECTs instead of some hundreds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cachelayers.invalidation.sql import conditions
from cachelayers.invalidation.sql.conditions import occurrences_in
from tests.invalidation.random_selects import Different, compare

FEW = 250
MANY = int(os.environ.get("CACHELAYERS_RANDOM_SELECTS", "0"))
SIZES = (2, 7)  # of SELECTs
MOST = 3_000  # SELECTs until a wrong reading must have been found


@pytest.mark.timeout(120 + MANY)
def test_rows_outside_of_what_is_fixed_do_not_affect_a_select() -> None:
    with compare(occurrences_in) as comparison:

        @settings(
            max_examples=MANY or FEW,
            derandomize=not MANY,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(st.integers(0, 2**64), st.integers(*SIZES))
        def look(seed: int, size: int) -> None:
            comparison.run(seed, size)

        look()
    counts = comparison.counts
    # It is about something: most statements are understood, and most writes are outside.
    assert counts.not_understood < counts.statements / 10
    assert counts.fixed > counts.statements / 2
    assert counts.compared > 4 * counts.statements
    assert counts.changed > counts.statements / 2


conjuncts_of = conditions.conjuncts_of


def through(kind: str) -> Callable[[Any], Iterator[Any]]:
    """Return a wrong `conjuncts_of`, which also goes into nodes of a kind."""

    def find(node: Any) -> Iterator[Any]:
        for one in conjuncts_of(node):
            if conditions.kind_of(one) == kind:
                for child in conditions.children(one):
                    yield from find(child)
            else:
                yield one

    return find


WRONG: dict[str, dict[str, Any]] = {
    "what OR joins": {"conjuncts_of": through("Or")},
    "what NOT denies": {"conjuncts_of": through("Not")},
    "the ON of a LEFT JOIN, for its left side": {
        "LEFT_JOINS": frozenset(),
        "INNER_JOINS": conditions.INNER_JOINS | conditions.LEFT_JOINS,
    },
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_conjunct_is_found(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in WRONG[wrong].items():
        monkeypatch.setattr(conditions, name, value)
    with pytest.raises(Different):
        compare_some(MOST)


def compare_some(count: int) -> None:
    with compare(occurrences_in) as comparison:
        for seed in range(count):
            comparison.run(seed, SIZES[0] + seed % SIZES[1])
