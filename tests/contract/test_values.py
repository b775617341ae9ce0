"""A value that is read equals the stored one, has its type, and is a copy."""

from __future__ import annotations

import math
import os
import pickle
import threading
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache.backends.base import BaseCache
from django.utils.safestring import SafeString

from tests.contract.fixtures import each_kind
from tests.contract.values import VALUES, Point

pytestmark = each_kind

KIB = 2**10
MIB = 2**20


def test_values_come_back_with_their_types(cache: BaseCache) -> None:
    for name, value in VALUES.items():
        cache.set("value", value)

        stored = cache.get("value", "missing")

        assert stored == value, name
        assert type(stored) is type(value), name


def test_add_keeps_values_and_types(cache: BaseCache) -> None:
    for name, value in VALUES.items():
        cache.add(name.replace(" ", "-"), value)

    found = {name: cache.get(name.replace(" ", "-"), "missing") for name in VALUES}

    assert found == VALUES
    assert [type(value) for value in found.values()] == [type(value) for value in VALUES.values()]


def test_bulk_operations_keep_values_and_types(cache: BaseCache) -> None:
    values = {name.replace(" ", "-"): value for name, value in VALUES.items()}

    cache.set_many(values)
    found = cache.get_many(values)

    assert found == values
    assert {key: type(value) for key, value in found.items()} == {
        key: type(value) for key, value in values.items()
    }


def test_not_a_number_is_a_value(cache: BaseCache) -> None:
    cache.set("nan", math.nan)

    assert math.isnan(cache.get("nan"))


def test_the_sign_of_zero_is_kept(cache: BaseCache) -> None:
    cache.set("zero", -0.0)

    assert math.copysign(1, cache.get("zero")) == -1


def test_safe_text_stays_safe_and_plain_text_stays_plain(cache: BaseCache) -> None:
    cache.set_many({"safe": SafeString("<b>"), "plain": "<b>"})

    assert type(cache.get("safe")) is SafeString
    assert type(cache.get("plain")) is str


def test_a_model_instance_comes_back(cache: BaseCache) -> None:
    cache.set("user", User(pk=7, username="ada", first_name="Ada"))

    stored = cache.get("user")

    assert type(stored) is User
    assert (stored.pk, stored.username, stored.first_name) == (7, "ada", "Ada")


def test_an_unevaluated_queryset_comes_back_with_its_rows(cache: BaseCache) -> None:
    cache.set("users", User.objects.none())

    assert list(cache.get("users")) == []


@pytest.mark.parametrize(
    "size_bytes", [0, 1, 1023, 1024, 1025, 20 * KIB, 64 * KIB - 1, 64 * KIB, MIB, 5 * MIB]
)
def test_values_of_every_size_come_back(cache: BaseCache, size_bytes: int) -> None:
    noise = os.urandom(size_bytes)
    text = "x" * size_bytes

    cache.set("noise", noise)
    cache.set("text", text)
    cache.set("list", [noise, text])

    assert cache.get("noise") == noise
    assert cache.get("text") == text
    assert cache.get("list") == [noise, text]


def test_a_reader_gets_a_copy_of_its_own(cache: BaseCache) -> None:
    cache.set("list", [1, 2])

    cache.get("list").append(3)

    assert cache.get("list") == [1, 2]


def test_a_writer_keeps_its_own_copy(cache: BaseCache) -> None:
    value = {"a": [1]}
    cache.set("value", value)

    value["a"].append(2)

    assert cache.get("value") == {"a": [1]}


def test_get_or_set_returns_what_it_stored(cache: BaseCache) -> None:
    point = cache.get_or_set("point", lambda: Point(1, 2))

    assert point == Point(1, 2)


@pytest.mark.parametrize("operation", ["set", "add", "set_many"])
def test_a_value_that_cannot_be_packed_raises_and_stores_nothing(
    cache: BaseCache, operation: str
) -> None:
    lock = threading.Lock()
    arguments: tuple[Any, ...] = (
        ({"fine": 1, "lock": lock},) if operation == "set_many" else ("lock", lock)
    )

    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        getattr(cache, operation)(*arguments)

    assert cache.get("lock", "missing") == "missing"


def test_a_value_that_cannot_be_packed_leaves_the_older_one_or_deletes_it(cache: BaseCache) -> None:
    cache.set("lock", "older")

    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        cache.set("lock", threading.Lock())

    assert cache.get("lock", "missing") in {"older", "missing"}


def test_many_values_replace_each_other_under_one_key(cache: BaseCache) -> None:
    for value in [1, "one", b"one", [1], None, 2**70, "x" * 100_000, 2]:
        cache.set("value", value)
        assert cache.get("value", "missing") == value
