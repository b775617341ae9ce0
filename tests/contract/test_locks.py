"""Locks of the table and of the process: they expire, and say who holds them."""

from __future__ import annotations

import os
import threading
from typing import Any, cast

import pytest
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.db import connections

from cachelayers.exceptions import LockError, LockNotOwnedError
from tests.contract.fixtures import TABLES, Clock, MakeCache, each_table

each_own = pytest.mark.parametrize(
    "cache_alias", [*TABLES, "memory", "memory_table"], indirect=True
)


@pytest.fixture
def named(cache: BaseCache) -> Any:
    return cast(Any, cache)


@each_own
def test_another_may_take_a_lock_that_has_expired(named: Any, clock: Clock) -> None:
    first, second = named.lock("door", timeout="10s"), named.lock("door", timeout=10)
    assert first.acquire()
    clock.advance(9)
    assert second.acquire(blocking=False) is False
    clock.advance(2)

    assert second.acquire(blocking=False)

    assert (first.owned(), second.owned()) == (False, True)
    with pytest.raises(LockNotOwnedError, match="has expired"):
        first.release()
    with pytest.raises(LockError, match="not held here"):
        first.release()
    assert second.owned()
    second.release()


@each_own
def test_a_lock_is_extended_only_by_its_holder(named: Any, clock: Clock) -> None:
    lock = named.lock("door", timeout=10)
    with pytest.raises(LockError, match="cannot extend"):
        lock.extend(10)
    with lock:
        assert lock.extend(10) is True
        clock.advance(15)
        assert lock.owned()
        assert lock.reacquire() is True
        clock.advance(9)
        assert lock.extend(3, replace_ttl=True) is True
        clock.advance(2)
        assert lock.owned()
        clock.advance(2)
        assert not lock.locked()
        with pytest.raises(LockNotOwnedError):
            lock.extend(10)
        assert lock.acquire()
    endless = named.lock("door")
    with endless, pytest.raises(LockError, match="no timeout"):
        endless.extend(10)


@each_own
def test_clear_ends_locks_as_in_redis(named: Any) -> None:
    lock = named.lock("door")
    assert lock.acquire()

    named.clear()

    assert named.lock("door").acquire(blocking=False)
    with pytest.raises(LockNotOwnedError):
        lock.release()


@each_own
def test_the_fencing_number_grows(named: Any, clock: Clock) -> None:
    numbers: list[int] = []
    for seconds in (0, 100, -3_600):  # a clock that goes back too
        clock.advance(seconds)
        with named.lock("door", timeout=10_000) as lock:
            numbers.append(lock.fencing)

    assert numbers == sorted(set(numbers))
    assert named.lock("door").fencing is None


@each_own
def test_of_many_threads_one_at_a_time_holds_it(named: Any, cache_alias: str) -> None:
    inside: list[int] = []
    most: list[int] = []
    lock = named.lock("door", timeout=10, sleep=0.001)

    def work() -> None:
        for _ in range(3):
            with lock:
                inside.append(1)
                most.append(len(inside))
                inside.pop()
        connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == [1] * 9


@pytest.mark.parametrize("timeout", [0, -1, "soon", True])
def test_a_wrong_timeout_is_an_error_with_the_cure(timeout: object) -> None:
    with pytest.raises(ValueError, match="'2h30m', above 0"):
        cast(Any, caches["memory"]).lock("door", timeout=timeout)


@each_table
def test_a_signed_and_bounded_table_keeps_locks(make_cache: MakeCache, clock: Clock) -> None:
    cache: Any = make_cache(options={"SIGNED": True, "MAX_ENTRIES": 10})

    with cache.lock("door", timeout=1_000) as lock:
        for number in range(300):
            clock.advance(0.1)
            cache.set(str(number), number)
        assert cache.count_entries() < 200
        assert lock.owned()
        assert lock.extend(10)


@each_table
def test_a_signed_table_has_the_names_of_django_redis(make_cache: MakeCache, clock: Clock) -> None:
    cache: Any = make_cache(options={"SIGNED": True, "COMPRESSION": "zlib"})
    cache.set("answer", "42" * 1_000, 10)

    assert cache.persist("answer")
    assert cache.expire("answer", 20)
    assert (cache.get("answer"), cache.ttl("answer")) == ("42" * 1_000, 20)
    assert cache.set("answer", 43, "1m", xx=True)
    assert (cache.get("answer"), cache.ttl("answer")) == (43, 60)
    assert cache.keys("*") == ["answer"]
    with cache.lock("door", timeout=10) as lock:
        assert lock.extend(10)
        assert cache.lock("door").acquire(blocking=False) is False


def test_a_forked_child_holds_no_lock_of_its_parent() -> None:
    cache = cast(Any, caches["memory"])
    with cache.lock("parent"):
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if cache.lock("parent").acquire(blocking=False) else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert cache.lock("parent").locked()
