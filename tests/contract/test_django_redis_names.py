"""The methods that django-redis adds to Django's work on every backend, as its users expect."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from asgiref.sync import async_to_sync
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache

from tests.contract.fixtures import Clock, MakeCache, each_kind, each_searchable

DURATIONS = [90, 90.0, dt.timedelta(seconds=90), "90s", "1m30s", "1m 30s", "0.5m60s"]
EPOCH = dt.datetime.fromtimestamp(0, dt.UTC)


@pytest.fixture
def named(cache: BaseCache) -> Any:
    """Return the cache, whose methods are more than Django's."""
    return cast(Any, cache)


def run(steps: Callable[[], Awaitable[Any]]) -> Any:
    return async_to_sync(steps)()


# Expiry


@each_kind
def test_ttl_and_pttl(named: Any, clock: Clock) -> None:
    named.set("ten", 1, 10)
    named.set("half", 1, 5.5)
    named.set("endless", 1, None)
    named.set("over", 1, -1)

    assert named.ttl("ten") == 10
    assert named.pttl("half") == pytest.approx(5_500, abs=2)
    assert (named.ttl("endless"), named.pttl("endless")) == (None, None)
    assert (named.ttl("over"), named.ttl("nobody"), named.pttl("nobody")) == (0, 0, 0)
    assert named.ttl("ten", version=2) == 0
    clock.advance(11)
    assert named.ttl("ten") == 0


@each_kind
def test_persist_says_whether_there_was_an_expiry(named: Any, clock: Clock) -> None:
    named.set("answer", 42, 10)

    assert named.persist("answer") is True
    assert named.persist("answer") is False
    assert named.persist("nobody") is False
    clock.advance(1_000)
    assert named.get("answer") == 42


@each_kind
def test_every_kind_of_duration(named: Any, clock: Clock) -> None:
    for timeout in DURATIONS:
        named.set("answer", 42, timeout)
        assert named.ttl("answer") == 90
        assert named.expire("answer", timeout) is True
        assert named.ttl("answer") == 90
        assert named.expire("nobody", timeout) is False
    clock.advance(91)
    assert named.get("answer") is None


@each_kind
def test_expire_with_the_default_none_and_less_than_nothing(named: Any) -> None:
    named.set("answer", 42, None)

    assert named.expire("answer", DEFAULT_TIMEOUT) is True
    assert named.ttl("answer") == 300
    assert named.expire("answer", None) is True
    assert named.ttl("answer") is None
    assert named.expire("answer", 0) is True
    assert named.get("answer") is None
    assert named.expire("answer", -1) is False


@each_kind
def test_pexpire_counts_milliseconds(named: Any, clock: Clock) -> None:
    named.set("answer", 42, None)

    assert named.pexpire("answer", 20_500) is True
    assert named.pttl("answer") == pytest.approx(20_500, abs=2)
    assert named.pexpire("answer", dt.timedelta(seconds=30)) is True
    assert named.ttl("answer") == 30
    assert named.pexpire("nobody", 20_500) is False


@each_kind
@pytest.mark.parametrize(("name", "per_second"), [("expire_at", 1), ("pexpire_at", 1_000)])
def test_expire_at_takes_a_time_or_a_number(
    named: Any, clock: Clock, name: str, per_second: int
) -> None:
    named.set("answer", 42, None)
    expire_at = getattr(named, name)
    then = EPOCH + dt.timedelta(seconds=clock.now_seconds + 3_600)

    assert expire_at("answer", then) is True
    assert named.ttl("answer") == 3_600
    assert expire_at("answer", then.astimezone().replace(tzinfo=None)) is True
    assert named.ttl("answer") == 3_600
    assert expire_at("answer", int((clock.now_seconds + 7_200) * per_second)) is True
    assert named.ttl("answer") == pytest.approx(7_200, abs=1)
    assert expire_at("answer", then - dt.timedelta(hours=2)) is True
    assert named.get("answer") is None
    assert expire_at("nobody", then) is False


@each_kind
def test_what_is_not_a_duration_is_an_error_with_the_cure(named: Any) -> None:
    named.set("answer", 42, None)

    with pytest.raises(TypeError, match="a text such as '90s' or '2h30m'"):
        named.expire("answer", "soon")
    assert named.ttl("answer") is None


# Searching

KEYS = ["foo-aa", "foo-ab", "foo-bb", "a*c", "abc", "100%", "100_", "100x"]


PATTERNS = {
    "foo-a*": {"foo-aa", "foo-ab"},
    "*b": {"foo-ab", "foo-bb"},
    "foo-?b": {"foo-ab", "foo-bb"},
    "foo-[b-z]*": {"foo-bb"},
    "foo-[^b]*": {"foo-aa", "foo-ab"},
    r"a\*c": {"a*c"},
    "a[*]c": {"a*c"},
    "a*c": {"a*c", "abc"},
    "100%": {"100%"},
    "100_": {"100_"},
    "FOO*": set(),
    "foo": set(),
    "*f*-*b*": {"foo-ab", "foo-bb"},
    "*": set(KEYS),
}


@each_searchable
def test_keys_match_patterns_as_in_redis(named: Any) -> None:
    named.set_many(dict.fromkeys(KEYS, 1))

    for pattern, found in PATTERNS.items():
        assert sorted(named.keys(pattern)) == sorted(found), pattern
    assert sorted(named.iter_keys("foo*", itersize=2)) == ["foo-aa", "foo-ab", "foo-bb"]


@each_searchable
def test_keys_are_of_one_version_and_alive(named: Any, clock: Clock) -> None:
    named.set("first", 1)
    named.set("second", 1, version=2)
    named.set("over", 1, 1)
    named.set("deleted", 1)
    named.delete("deleted")
    clock.advance(2)

    assert named.keys("*") == ["first"]
    assert named.keys("*", version=2) == ["second"]


@each_searchable
def test_keys_of_a_prefix_with_special_letters(make_cache: MakeCache) -> None:
    one: Any = make_cache(KEY_PREFIX="a*[b]:")
    other: Any = make_cache(KEY_PREFIX="axb:")
    one.set("key", 1)
    other.set("key", 2)

    assert one.keys("k*") == ["key"]
    assert one.delete_pattern("*") == 1
    assert (one.get("key"), other.get("key")) == (None, 2)


@each_searchable
def test_internal_keys_are_not_shown(named: Any) -> None:
    named.add("answer:lease", "token", 10)
    named.set("answer", 42)
    with named.lock("answer", timeout=10):
        assert named.keys("*") == ["answer"]
        assert named.delete_pattern("answer") == 1
        named.delete_pattern("*")
        assert named.lock("answer").locked()
    named.delete("answer:lease")


@each_searchable
def test_delete_pattern_returns_the_number(named: Any, clock: Clock) -> None:
    named.set_many({"foo-aa": 1, "foo-ab": 2, "foo-bb": 3})
    named.set("foo-ac", 4, 1)
    named.set("foo-ad", 5, version=2)
    clock.advance(2)

    assert named.delete_pattern("*foo-a*", itersize=1) == 2
    assert named.keys("foo*") == ["foo-bb"]
    assert named.get("foo-aa") is None
    assert named.delete_pattern("*foo-a*") == 0
    assert named.delete_pattern("foo*", version=2) == 1


@each_searchable
def test_a_key_function_without_the_key_is_an_error_that_says_so(make_cache: MakeCache) -> None:
    cache: Any = make_cache(KEY_FUNCTION=lambda key, prefix, version: f"{len(key)}")

    with pytest.raises(NotImplementedError, match="KEY_FUNCTION"):
        cache.delete_pattern("*")


# Writing on a condition


@each_kind
def test_nx_stores_only_what_is_missing(named: Any, clock: Clock) -> None:
    assert named.set("answer", 1, 10, nx=True) is True
    assert named.set("answer", 2, 100, nx=True) is False
    assert named.set("answer", 2, -1, nx=True) is False
    assert named.get("answer") == 1
    clock.advance(11)
    assert named.set("answer", 3, nx=True) is True
    assert named.get("answer") == 3


@each_kind
def test_xx_stores_only_over_what_is_there(named: Any, clock: Clock) -> None:
    assert named.set("answer", 1, 10, xx=True) is False
    assert named.get("answer") is None
    named.set("answer", ["any", "value"], 10)
    assert named.set("answer", 2, 100, xx=True) is True
    assert (named.get("answer"), named.ttl("answer")) == (2, 100)
    clock.advance(101)
    assert named.set("answer", 3, xx=True) is False
    with pytest.raises(ValueError, match="exclude each other"):
        named.set("answer", 3, nx=True, xx=True)


# Counting


@each_kind
def test_incr_and_decr_count_from_zero_if_asked_to(named: Any, clock: Clock) -> None:
    with pytest.raises(ValueError, match="'visits' not found"):
        named.incr("visits")
    assert named.incr("visits", 5, ignore_key_check=True) == 5
    assert named.incr("visits", ignore_key_check=True) == 6
    assert named.get("visits") == 6
    assert named.ttl("visits") is None
    assert named.decr("debts", 3, ignore_key_check=True) == -3
    assert named.decr("debts") == -4
    assert named.incr("visits", version=2, ignore_key_check=True) == 1

    named.set("ending", 7, 10)
    assert named.incr("ending", ignore_key_check=True) == 8
    assert named.ttl("ending") == 10
    clock.advance(11)
    assert named.incr("ending", ignore_key_check=True) == 1

    named.set("text", "seven")
    with pytest.raises(TypeError):
        named.incr("text", ignore_key_check=True)


@each_kind
def test_of_two_that_count_first_none_is_lost(named: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def after_another(method: Any) -> Any:
        def add(*arguments: Any) -> Any:
            monkeypatch.undo()
            named.incr("visits", 10, ignore_key_check=True)
            return method(*arguments)

        return add

    monkeypatch.setattr(named, "add", after_another(named.add))
    assert named.incr("visits", 5, ignore_key_check=True) == 15


@each_kind
def test_async_code_counts_from_zero_too(named: Any) -> None:
    async def steps() -> list[int]:
        return [
            await named.aincr("visits", 5, ignore_key_check=True),
            await named.adecr("visits", ignore_key_check=True),
            await named.adecr("debts", 2, ignore_key_check=True),
        ]

    assert run(steps) == [5, 4, -2]


# Locks


@each_searchable
def test_a_lock_excludes_others_until_it_is_released(named: Any) -> None:
    lock, other = named.lock("door", timeout=10), named.lock("door", timeout=10)

    assert lock.acquire()
    assert (lock.locked(), lock.owned(), other.locked(), other.owned()) == (True, True, True, False)
    assert other.acquire(blocking=False) is False
    assert other.acquire(blocking_timeout=0.01, sleep=0.001) is False
    assert named.lock("window").acquire(blocking=False)
    lock.release()
    assert lock.locked() is False
    with (
        other,
        pytest.raises(Exception, match=r"(?i)lock") as caught,
        named.lock("door", blocking_timeout=0.01, sleep=0.001),
    ):
        pass
    assert type(caught.value).__name__ == "LockError"
    assert other.locked() is False


@each_searchable
def test_another_thread_knows_a_lock_that_is_not_of_one_thread(named: Any) -> None:
    lock = named.lock("door", thread_local=False)
    assert lock.acquire()
    tokens: list[Any] = []

    thread = threading.Thread(target=lambda: tokens.append(lock.local.token))
    thread.start()
    thread.join()

    assert tokens[0] is not None
    lock.release()
    with pytest.raises(Exception, match=r"(?i)lock"):
        lock.release()


@each_searchable
def test_async_twins(named: Any, clock: Clock) -> None:
    async def steps() -> None:
        assert await named.aset("foo-a", 1, 10, nx=True) is True
        assert await named.aset("foo-a", 2, 10, nx=True) is False
        assert await named.aset("foo-a", 3, 10, xx=True) is True
        assert (await named.attl("foo-a"), await named.apttl("nobody")) == (10, 0)
        assert await named.aexpire("foo-a", "1m") is True
        assert await named.apexpire("foo-a", 50_000) is True
        assert await named.aexpire_at("foo-a", clock.now_seconds + 70) is True
        assert await named.apexpire_at("foo-a", (clock.now_seconds + 80) * 1_000) is True
        assert await named.attl("foo-a") == 80
        assert await named.apersist("foo-a") is True
        assert await named.akeys("foo*") == ["foo-a"]
        assert [key async for key in named.aiter_keys("foo*")] == ["foo-a"]
        assert await named.adelete_pattern("foo*") == 1
        async with named.alock("door", timeout=10) as lock:
            assert await lock.owned()
            assert await named.alock("door").acquire(blocking=False) is False
            assert await lock.extend(10) is True
        assert await lock.locked() is False

    run(steps)


@each_kind
def test_the_names_of_redis_are_not_there_without_a_redis(named: Any, cache_alias: str) -> None:
    if "redis" in cache_alias:
        assert named.sadd("letters", "a", "b") == 2
        assert named.smembers("letters") == {"a", "b"}
        assert named.client.get_client().ping() is True
        named.client.delete("letters")
        return

    assert not hasattr(named, "sadd")
    assert not hasattr(named, "client")
    with pytest.raises(AttributeError, match="no Redis layer"):
        named.hset("hash", "field", 1)
