"""Values end by a clock that a test moves with time-machine."""

from __future__ import annotations

import datetime as dt
from importlib import import_module
from typing import Any
from uuid import uuid4

import pytest

from cachelayers import recall, unit_of_work
from cachelayers.testing import assert_computes
from tests.library.models import Author

NOON = dt.datetime(2030, 1, 1, 12, tzinfo=dt.UTC)
PAST = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)


def names() -> list[str]:
    with unit_of_work():
        return recall(
            "names", lambda: list(Author.objects.values_list("name", flat=True)), timeout=3600
        )


@pytest.mark.django_db
@pytest.mark.usefixtures("caching")
@pytest.mark.parametrize("start", [NOON, PAST])
@pytest.mark.parametrize("tick", [False, True])
def test_a_value_ends_when_the_clock_is_moved_past_its_timeout(
    start: dt.datetime, tick: bool
) -> None:
    travel: Any = import_module("time_machine").travel
    Author.objects.create(name="Ann")
    with travel(start, tick=tick) as clock:
        with assert_computes(1):
            names()
        clock.shift(3_590)
        with assert_computes(0):
            names()
        clock.shift(11)
        with assert_computes(1):
            names()
        Author.objects.create(name="Bob")
        with assert_computes(1):
            assert names() == names() == ["Ann", "Bob"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "alias",
    [
        "memory",
        "sqlite",
        "memory_table_alone",
        pytest.param("redis", marks=pytest.mark.redis),
    ],
)
def test_in_every_cache(alias: str) -> None:
    travel: Any = import_module("time_machine").travel
    key = f"moved:{uuid4().hex}"  # a server keeps it until its own clock has moved
    with travel(NOON, tick=False) as clock:
        with assert_computes(1):
            recall(key, lambda: 1, timeout=3600, using=alias)
            recall(key, lambda: 1, timeout=3600, using=alias)
        clock.shift(3_601)
        with assert_computes(1):
            recall(key, lambda: 1, timeout=3600, using=alias)
