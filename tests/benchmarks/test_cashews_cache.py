"""cashews is called as Django's caches are, and what it answers is what they would."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.cashews_cache import CashewsCache

pytest.importorskip("cashews")
# cashews closes its connections by a method that redis-py has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated close:DeprecationWarning")


@pytest.fixture(params=["mem://", pytest.param("redis", marks=pytest.mark.redis)])
def cache(request: pytest.FixtureRequest) -> Iterator[CashewsCache]:
    location = request.param
    if location == "redis":
        location = f"{request.getfixturevalue('redis_server').url}/9"
    cache = CashewsCache(location, {})
    yield cache
    cache.close()
    cache.close()  # a second time is nothing


def test_values_are_read_and_written(cache: CashewsCache) -> None:
    cache.set("a", {"is": "a dict"}, 60)
    cache.set_many({"b": "B", "c": "C"}, 60)

    assert cache.get("a") == {"is": "a dict"}
    assert cache.get("absent") is None
    assert cache.get_many(["a", "absent", "c"]) == {"a": {"is": "a dict"}, "c": "C"}


def test_add_writes_where_nothing_is(cache: CashewsCache) -> None:
    assert (cache.add("new", 1, 60), cache.add("new", 2, 60), cache.get("new")) == (True, False, 1)


def test_what_is_there_is_counted_touched_and_deleted(cache: CashewsCache) -> None:
    cache.set("number", 1, 60)

    assert (cache.incr("number"), cache.incr("number")) == (2, 3)
    assert cache.touch("number", 60)
    assert (cache.delete("number"), cache.delete("number")) == (True, False)


def test_clear_deletes_everything(cache: CashewsCache) -> None:
    cache.set("a", 1, 60)

    cache.clear()

    assert cache.get("a") is None
