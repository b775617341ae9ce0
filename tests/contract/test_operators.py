"""Methods for operators: clear a cache or a part of it, and count entries."""

from __future__ import annotations

from typing import cast

import pytest
from django.core.cache.backends.base import BaseCache

from cachelayers.backends import DatabaseCache
from cachelayers.exceptions import CacheUnavailable
from cachelayers.utils.counters import counts
from tests.contract.fixtures import Clock, MakeCache, unused_name


@pytest.fixture
def operated(make_cache: MakeCache) -> DatabaseCache:
    return cast(DatabaseCache, make_cache())


def test_clear_entries_returns_their_number(operated: DatabaseCache, clock: Clock) -> None:
    operated.set_many({"a": 1, "b": 2})
    operated.set("old", 3, timeout=10)
    clock.advance(11)

    cleared = operated.clear_entries()

    assert cleared == 3
    assert operated.count_entries() == 0


def test_counting_covers_this_alias_only(operated: DatabaseCache, cache: BaseCache) -> None:
    cache.set_many({"a": 1, "b": 2})
    operated.set_many({"a": 1, "b": 2, "c": 3})

    assert operated.count_entries() == 3
    assert operated.clear_entries() == 3
    assert cache.get_many(["a", "b"]) == {"a": 1, "b": 2}


def test_expired_entries_are_counted_and_deleted_by_themselves(
    operated: DatabaseCache, clock: Clock
) -> None:
    operated.set_many({"old-1": 1, "old-2": 2}, timeout=10)
    operated.set("fresh", 3, timeout=100)
    operated.set("endless", 4, timeout=None)
    clock.advance(11)

    expired = operated.count_entries(expired_only=True)
    deleted = operated.delete_expired()

    assert (expired, deleted) == (2, 2)
    assert operated.count_entries() == 2
    assert operated.get_many(["fresh", "endless"]) == {"fresh": 3, "endless": 4}


@pytest.mark.parametrize("prefix", ["page:", "page:%", "page:_", "pag\u00e9:", "PAGE:"])
def test_a_prefix_is_taken_literally(operated: DatabaseCache, prefix: str) -> None:
    others = ["page", "page:1", "page:%1", "page:_1", "pag\u00e9:1", "PAGE:1", "a-page:1"]
    operated.set_many(dict.fromkeys(others, 1))
    meant = [key for key in others if key.startswith(prefix)]

    counted = operated.count_entries(prefix)
    deleted = operated.delete_prefix(prefix)

    assert counted == deleted == len(meant)
    assert set(operated.get_many(others)) == set(others) - set(meant)


def test_a_prefix_holds_for_one_version(operated: DatabaseCache) -> None:
    operated.set("page:1", 1)
    operated.set("page:1", 2, version=2)

    deleted = operated.delete_prefix("page:", version=2)

    assert deleted == 1
    assert operated.get("page:1") == 1
    assert operated.get("page:1", version=2) is None


def test_an_empty_prefix_means_every_key_of_the_version(operated: DatabaseCache) -> None:
    operated.set_many({"a": 1, "b": 2})

    assert operated.count_entries("") == 2
    assert operated.delete_prefix("") == 2


def hashed_key(key: str, key_prefix: str, version: int) -> str:
    return f"{version}-{sum(map(ord, key))}"


def test_a_key_function_that_hides_the_prefix_is_a_clear_error(make_cache: MakeCache) -> None:
    cache = cast(DatabaseCache, make_cache(KEY_FUNCTION=hashed_key))
    cache.set("page:1", 1)

    with pytest.raises(CacheUnavailable, match="KEY_FUNCTION"):
        cache.delete_prefix("page:")

    assert cache.get("page:1") == 1


def test_values_that_cannot_be_decoded_are_counted(make_cache: MakeCache) -> None:
    name = unused_name()
    make_cache(name).set_many({"one": [1], "two": [2]})
    reader = make_cache(name, options={"SERIALIZER": "json"})

    reader.get("one")
    reader.get_many(["one", "two"])

    assert counts.of(name, "undecodable") == 3
