"""Two blocks of one request, rendered at the same time, both record the use of the user."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from django.utils.functional import SimpleLazyObject

from cachelayers.fragments.lookups import standing_in_itself


def watch(user: Any, noted: list[str], name: str) -> ExitStack:
    """Begin to observe a lazy user for a block."""

    def set_up(make: Callable[[], Any]) -> Any:
        noted.append(f"{name}: used")
        return make()

    stack = ExitStack()
    stack.enter_context(
        standing_in_itself(user, set_up, lambda: noted.append(f"{name}: disturbed"))
    )
    return stack


@pytest.mark.parametrize("is_known", [True, False])
def test_a_block_that_ends_within_another_does_not_hide_its_use_of_the_user(
    *, is_known: bool
) -> None:
    user: Any = SimpleLazyObject(lambda: "ann")
    if is_known:
        str(user)
    noted: list[str] = []
    first = watch(user, noted, "first")
    second = watch(user, noted, "second")

    first.close()
    assert str(user) == "ann"  # the second one uses it
    second.close()

    assert {"second: used", "second: disturbed"} & {*noted}


def test_blocks_within_each_other_are_not_disturbed() -> None:
    user: Any = SimpleLazyObject(lambda: "ann")
    noted: list[str] = []
    with watch(user, noted, "outer"), watch(user, noted, "inner"):
        assert str(user) == "ann"

    assert sorted(noted) == ["inner: used", "outer: used"]
