"""Immutable values are stored as they are, others are copied: readers cannot change an entry."""

from __future__ import annotations

import datetime as dt
import pickle
import uuid
from collections import namedtuple
from decimal import Decimal
from typing import Any

import pytest
from django.core.cache import caches
from django.utils.safestring import SafeString, mark_safe

from cachelayers import recall
from cachelayers.backends.memory.store import freeze
from tests.conftest import empty_cache


class Text(str):  # noqa: SLOT000 - that is what it is about
    """A text with attributes."""


Point = namedtuple("Point", "x y")  # noqa: PYI024 - a tuple of another type

KEPT = [
    None,
    True,
    7,
    1.5,
    2j,
    "text" * 100,
    b"bytes",
    mark_safe("<b>html</b>"),
    Decimal("1.10"),
    uuid.UUID(int=5),
    dt.date(2026, 1, 2),
    dt.timedelta(1),
    (),
    ("a", (1, None)),
]
COPIED: list[Any] = [
    [1, 2],
    {"a": 1},
    {1, 2},
    bytearray(b"x"),
    ("a", [1]),
    Text("x"),
    Point(1, 2),
    dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
    tuple(range(2000)),
]


@pytest.mark.parametrize("value", KEPT, ids=repr)
def test_an_immutable_value_is_stored_as_it_is(value: Any) -> None:
    cache = empty_cache("memory")

    cache.set("value", value)

    assert cache.get("value", "missing") is value


@pytest.mark.parametrize("value", COPIED, ids=lambda value: repr(value)[:40])
def test_a_mutable_value_is_another_object_each_time(value: Any) -> None:
    cache = empty_cache("memory")

    cache.set("value", value)
    first, second = cache.get("value"), cache.get("value")

    assert first == second == value
    assert type(first) is type(value)
    assert first is not value
    assert first is not second


def test_a_change_after_set_or_get_does_not_reach_other_readers() -> None:
    cache = empty_cache("memory")
    value = {"list": [1]}

    cache.set("value", value)
    value["list"].append(2)
    cache.get("value")["list"].append(3)
    cache.set_many({"other": value})
    value["list"].append(4)

    assert cache.get("value") == {"list": [1]}
    assert cache.get("other") == {"list": [1, 2]}


@pytest.mark.django_db
def test_a_recalled_text_comes_out_of_memory_without_a_pickle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    empty_cache("memory")
    html = SafeString("<p>slow</p>")
    monkeypatch.setattr(pickle, "dumps", None)

    computed = recall("html", lambda: html, timeout=60, tags=["word"], using="memory")
    found = recall("html", lambda: SafeString("again"), timeout=60, tags=["word"], using="memory")

    assert computed is html
    assert found is html
    assert type(caches["memory"].get("html")) is tuple


@pytest.mark.parametrize("value", [*KEPT, *COPIED], ids=lambda value: repr(value)[:40])
def test_the_size_that_is_counted_is_not_below_what_the_value_takes(value: Any) -> None:
    _, _, size = freeze(value)

    assert size > len(value if isinstance(value, (str, bytes)) else b"")


def test_a_value_without_a_pickle_raises_and_stores_nothing() -> None:
    cache = empty_cache("memory")
    cache.set("value", "older")

    with pytest.raises((AttributeError, TypeError)):
        cache.set("value", lambda: None)

    assert cache.get("value") == "older"
