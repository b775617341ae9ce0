"""Versions, KEY_PREFIX and KEY_FUNCTION."""

from __future__ import annotations

import pytest
from django.core.cache.backends.base import BaseCache

from tests.contract.fixtures import Clock, MakeCache, every_backend

pytestmark = every_backend


def shouted_key(key: str, key_prefix: str, version: int) -> str:
    return f"{key_prefix}!{version}!{key.upper()}"


def test_versions_of_a_key_are_separate_entries(cache: BaseCache) -> None:
    cache.set("answer", "one", version=1)
    cache.set("answer", "two", version=2)

    assert cache.get("answer") == "one"
    assert cache.get("answer", version=2) == "two"
    assert cache.get("answer", version=3) is None


@pytest.mark.parametrize("version", [0, -1, 10**12])
def test_any_whole_number_is_a_version(cache: BaseCache, version: int) -> None:
    cache.set("answer", 42, version=version)

    assert cache.get("answer", version=version) == 42
    assert cache.get("answer") is None


def test_every_operation_honours_the_version(cache: BaseCache) -> None:
    cache.set("answer", 1, version=1)

    assert cache.add("answer", 2, version=2) is True
    assert cache.has_key("answer", version=2) is True
    assert cache.touch("answer", 100, version=3) is False
    assert cache.set_many({"answer": 3}, version=3) == []
    assert cache.get_many(["answer"], version=3) == {"answer": 3}
    cache.delete_many(["answer"], version=3)
    assert cache.get("answer", version=3) is None
    assert cache.delete("answer", version=2) is True
    assert cache.get("answer", version=1) == 1


def test_the_settings_choose_the_default_version(make_cache: MakeCache) -> None:
    cache = make_cache(VERSION=2)
    cache.set("answer", 42)

    assert cache.get("answer", version=2) == 42
    assert cache.get("answer", version=1) is None


def test_incr_version_moves_the_entry(cache: BaseCache) -> None:
    cache.set("answer", 42, version=2)

    returned = cache.incr_version("answer", version=2)

    assert returned == 3
    assert cache.get("answer", version=2) is None
    assert cache.get("answer", version=3) == 42


def test_decr_version_moves_the_entry_back(cache: BaseCache) -> None:
    cache.set("answer", 42, version=2)

    returned = cache.decr_version("answer", version=2)

    assert returned == 1
    assert cache.get("answer", version=2) is None
    assert cache.get("answer") == 42


def test_incr_version_moves_by_the_delta_and_from_the_default(cache: BaseCache) -> None:
    cache.set("answer", 42)

    returned = cache.incr_version("answer", delta=5)

    assert returned == 6
    assert cache.get("answer", version=6) == 42


def test_incr_version_replaces_an_entry_of_the_new_version(cache: BaseCache) -> None:
    cache.set("answer", "mover", version=1)
    cache.set("answer", "older", version=2)

    cache.incr_version("answer")

    assert cache.get("answer", version=2) == "mover"


def test_incr_version_moves_a_none_value(cache: BaseCache) -> None:
    cache.set("nothing", None)

    cache.incr_version("nothing")

    assert cache.get("nothing", "default", version=2) is None


@pytest.mark.parametrize("operation", ["incr_version", "decr_version"])
def test_moving_a_missing_key_is_a_value_error(cache: BaseCache, operation: str) -> None:
    with pytest.raises(ValueError, match="nobody"):
        getattr(cache, operation)("nobody")


def test_moving_an_expired_key_is_a_value_error(cache: BaseCache, clock: Clock) -> None:
    cache.set("answer", 42, timeout=10)
    clock.advance(11)

    with pytest.raises(ValueError, match="answer"):
        cache.incr_version("answer")


def test_a_key_prefix_separates_caches_on_one_table(make_cache: MakeCache) -> None:
    first = make_cache("variant", KEY_PREFIX="first")
    first.set("answer", 1)
    second = make_cache("variant", KEY_PREFIX="second")

    found = second.get("answer")
    second.set("answer", 2)

    assert found is None
    assert first.get("answer") == 1


def test_a_key_function_makes_the_key(make_cache: MakeCache) -> None:
    cache = make_cache(KEY_FUNCTION="tests.contract.test_versions.shouted_key")
    cache.set("answer", 42)

    assert cache.get("ANSWER") == 42
    assert cache.get_many(["answer", "Answer"]) == {"answer": 42, "Answer": 42}


def test_a_key_function_may_be_a_callable(make_cache: MakeCache) -> None:
    cache = make_cache(KEY_FUNCTION=shouted_key)
    cache.set_many({"answer": 42})

    assert cache.get("ANSWER") == 42
    cache.delete_many(["AnSwEr"])
    assert cache.get("answer") is None
