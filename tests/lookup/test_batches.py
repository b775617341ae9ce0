"""Many entries recalled at once: who computes, who waits, and what is stored."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from pytest_django import Settings
from pytest_django.plugin import DjangoDbBlocker

from cachelayers import recall, unit_of_work
from cachelayers.lookup import Policy, Requested, refresh, steps
from cachelayers.lookup.batches import policy_of_batch, recall_many_after_peeking
from cachelayers.lookup.flow import POLLS_WITHOUT_HOLDER
from cachelayers.utils.single_flight import begin_or_join, complete
from tests.conftest import empty_cache
from tests.library.models import Author
from tests.lookup.noting import noting

ALIAS = "memory_table"
FRESH_SECONDS, STALE_SECONDS = 60.0, 30.0


@pytest.fixture(autouse=True)
def store(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[BaseCache]:
    with django_db_blocker.unblock():
        Author.objects.all().delete()
        yield empty_cache(ALIAS)


def policy(key: str) -> Policy:
    return Policy(ALIAS, key, FRESH_SECONDS, STALE_SECONDS, (), collects=True)


class Computed:
    """Entries to recall. Their values say how they were computed; `keys` lists these."""

    def __init__(self, value: str = "made") -> None:
        self.value = value
        self.keys: list[str] = []

    def wanted(self, *keys: str) -> list[Requested]:
        return [Requested(policy(key), self._compute_of(key)) for key in keys]

    def _compute_of(self, key: str) -> Callable[[], str]:
        def compute() -> str:
            self.keys.append(key)
            if key.startswith("bad"):
                raise ZeroDivisionError(key)
            return f"{self.value} {key}"

        return compute

    def recall(self, *keys: str) -> list[str]:
        with unit_of_work():
            found: list[str] = recall_many_after_peeking(self.wanted(*keys))
            return found


@pytest.fixture
def computed() -> Computed:
    return Computed()


def lease_of(*keys: str) -> str:
    return policy_of_batch(Computed().wanted(*keys)).lease_key


def store_as_another(*keys: str) -> None:
    for key in keys:
        refresh(
            key,
            lambda: "another's",
            using=ALIAS,
            timeout=FRESH_SECONDS,
            stale=STALE_SECONDS,
        )


def pass_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + seconds)


@pytest.fixture
def instead_of_sleep(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], list[int]]:
    """Return a function that schedules a call at the first sleep, and returns all sleeps."""

    def do_instead(work: Callable[[], Any]) -> list[int]:
        sleeps: list[int] = []

        def run(step: steps.Sleep) -> None:
            sleeps.append(1)
            if len(sleeps) == 1:
                work()

        monkeypatch.setattr(steps.Sleep, "run", run)
        return sleeps

    return do_instead


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return the flights that would be waited for, without waiting."""
    waits: list[object] = []
    monkeypatch.setattr(steps.AwaitFlight, "run", noting(waits))
    return waits


# The lease


def test_a_lease_is_held_during_the_computation_and_released(store: BaseCache) -> None:
    seen: list[bool] = []
    one = Requested(policy("a"), lambda: seen.append(store.has_key(lease_of("a"))))

    with unit_of_work():
        recall_many_after_peeking([one])

    assert seen == [True]
    assert not store.has_key(lease_of("a"))


def test_a_failed_computation_releases_the_lease(store: BaseCache, computed: Computed) -> None:
    with pytest.raises(ZeroDivisionError):
        computed.recall("a", "bad")

    assert not store.has_key(lease_of("a", "bad"))


def test_the_lease_for_missing_entries_is_released_even_if_a_stale_one_cannot_be_computed(
    store: BaseCache, computed: Computed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others wait for the missing entries."""
    store_as_another("bad")
    pass_time(monkeypatch, FRESH_SECONDS + 1)

    assert computed.recall("bad", "b") == ["another's", "made b"]
    assert not store.has_key(lease_of("bad", "b"))


def test_values_computed_before_a_failed_one_are_stored(computed: Computed) -> None:
    with pytest.raises(ZeroDivisionError):
        computed.recall("a", "bad", "b")

    assert Computed("again").recall("a") == ["made a"]
    assert computed.keys == ["a", "bad"]


def test_a_caller_without_the_lease_waits_for_its_holder(
    store: BaseCache,
    computed: Computed,
    instead_of_sleep: Callable[[Callable[[], Any]], list[int]],
) -> None:
    store.set(lease_of("a", "b"), "another's")
    sleeps = instead_of_sleep(lambda: store_as_another("a", "b"))

    assert computed.recall("a", "b") == ["another's"] * 2
    assert computed.keys == []
    assert len(sleeps) == 1


def test_missing_entries_are_waited_for_beside_stale_ones(
    store: BaseCache,
    computed: Computed,
    monkeypatch: pytest.MonkeyPatch,
    instead_of_sleep: Callable[[Callable[[], Any]], list[int]],
) -> None:
    store_as_another("a")
    pass_time(monkeypatch, FRESH_SECONDS + 1)
    store.set(lease_of("a", "b"), "another's")
    instead_of_sleep(lambda: store_as_another("a", "b"))

    assert computed.recall("a", "b") == ["another's"] * 2
    assert computed.keys == []


def test_a_lease_that_its_holder_has_lost_is_taken_over(
    store: BaseCache, instead_of_sleep: Callable[[Callable[[], Any]], list[int]]
) -> None:
    """For example the lease of a killed process, when it has run out."""
    store.set(lease_of("a"), "another's")
    instead_of_sleep(lambda: store.delete(lease_of("a")))
    seen: list[Any] = []

    with unit_of_work():
        recall_many_after_peeking(
            [Requested(policy("a"), lambda: seen.append(store.get(lease_of("a"))))]
        )

    assert len(seen) == 1
    assert seen[0] not in (None, "another's")
    assert not store.has_key(lease_of("a"))


def test_no_caller_waits_longer_than_a_lease_lasts(
    store: BaseCache, computed: Computed, settings: Settings
) -> None:
    settings.CACHELAYERS = {**settings.CACHELAYERS, "LEASE_SECONDS": 1}
    store.set(lease_of("a"), "of one who never ends", timeout=None)
    began = time.monotonic()

    assert computed.recall("a") == ["made a"]
    assert 0.9 < time.monotonic() - began < 5
    assert store.get(lease_of("a")) == "of one who never ends"


def test_a_lease_that_cannot_be_taken_is_not_waited_for(
    computed: Computed,
    monkeypatch: pytest.MonkeyPatch,
    instead_of_sleep: Callable[[Callable[[], Any]], list[int]],
) -> None:
    """A cache that is down without raising errors takes and holds no lease."""
    monkeypatch.setattr(steps.TakeLease, "run", lambda step: False)
    sleeps = instead_of_sleep(lambda: None)

    assert computed.recall("a") == ["made a"]
    assert len(sleeps) < POLLS_WITHOUT_HOLDER


def test_fresh_entries_need_no_lease(computed: Computed, monkeypatch: pytest.MonkeyPatch) -> None:
    computed.recall("a", "b")
    asked: list[object] = []
    monkeypatch.setattr(steps.TakeLease, "run", noting(asked))

    assert Computed("again").recall("a", "b") == ["made a", "made b"]
    assert asked == []


# Others that have stored some


def test_an_entry_stored_between_the_read_and_the_lease_is_not_computed_again(
    computed: Computed, before_lease: Callable[[Callable[[], Any]], None]
) -> None:
    before_lease(lambda: store_as_another("b"))

    assert computed.recall("a", "b", "c") == ["made a", "another's", "made c"]
    assert computed.keys == ["a", "c"]


def test_a_stale_entry_that_is_deleted_meanwhile_is_still_served(
    store: BaseCache,
    computed: Computed,
    monkeypatch: pytest.MonkeyPatch,
    before_lease: Callable[[Callable[[], Any]], None],
) -> None:
    store_as_another("a")
    pass_time(monkeypatch, FRESH_SECONDS + 1)
    store.set(lease_of("a"), "another's")
    before_lease(lambda: store.delete("a"))

    assert computed.recall("a") == ["another's"]
    assert computed.keys == []


# Flights: callers of one process


def test_a_flight_lands_whether_its_compute_fails_or_not(
    store: BaseCache, computed: Computed, waits: list[object]
) -> None:
    for keys in (("a",), ("bad",)):
        for _ in range(2):
            store.clear()
            with pytest.raises(ZeroDivisionError) if "bad" in keys else unit_of_work():
                computed.recall(*keys)

    assert waits == []
    assert computed.keys == ["a", "a", "bad", "bad"]


def test_a_waiting_caller_computes_what_the_flight_has_not_stored(
    computed: Computed, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = policy_of_batch(computed.wanted("a", "b")).name
    flight, is_mine = begin_or_join(name)

    def land_with_one(step: steps.AwaitFlight) -> None:
        store_as_another("a")
        complete(name, flight)

    monkeypatch.setattr(steps.AwaitFlight, "run", land_with_one)

    assert is_mine
    assert computed.recall("a", "b") == ["another's", "made b"]
    assert computed.keys == ["b"]


def test_stale_entries_wait_for_no_flight(
    computed: Computed, monkeypatch: pytest.MonkeyPatch, waits: list[object]
) -> None:
    store_as_another("a")
    pass_time(monkeypatch, FRESH_SECONDS + 1)
    name = policy_of_batch(computed.wanted("a")).name
    flight, _ = begin_or_join(name)
    try:
        assert computed.recall("a") == ["another's"]
    finally:
        complete(name, flight)

    assert (waits, computed.keys) == ([], [])


def test_batches_that_begin_alike_are_two(computed: Computed, waits: list[object]) -> None:
    """If they were one, a nested one would wait for itself."""
    inner = Computed("within")
    outer = Requested(policy("b"), lambda: inner.recall("a", "c"))

    with unit_of_work():
        recall_many_after_peeking([*computed.wanted("a"), outer])

    assert waits == []
    assert "c" in inner.keys


# Stale ones


def test_without_a_lease_stale_ones_are_served_as_they_are(
    store: BaseCache, computed: Computed, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_as_another("a", "b")
    pass_time(monkeypatch, FRESH_SECONDS + 1)
    store.set(lease_of("a", "b"), "another's")

    assert computed.recall("a", "b") == ["another's"] * 2
    assert computed.keys == []


def test_stale_ones_that_cannot_be_computed_are_not_tried_again_at_once(
    computed: Computed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store_as_another("bad-1", "bad-2")
    pass_time(monkeypatch, FRESH_SECONDS + 1)

    assert [computed.recall("bad-1", "bad-2") for _ in range(2)] == [["another's"] * 2] * 2
    assert computed.keys == ["bad-1", "bad-2"]
    assert caplog.text.count("its refresh failed") == 2


# What is stored


def test_they_are_stored_for_as_long_as_they_may_be_served(
    computed: Computed, monkeypatch: pytest.MonkeyPatch, store: BaseCache
) -> None:
    timeouts: list[float] = []
    set_many = type(store).set_many

    def noted(self: BaseCache, data: Any, timeout: Any = 1, version: Any = None) -> Any:
        timeouts.append(timeout)
        return set_many(self, data, timeout, version)

    monkeypatch.setattr(type(store), "set_many", noted)

    computed.recall("a", "b")

    assert timeouts == [FRESH_SECONDS + STALE_SECONDS]


def test_an_undecodable_entry_is_computed_again(computed: Computed, settings: Settings) -> None:
    """For example a pickle of code that has changed since."""
    local = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "batches"}
    settings.CACHES = {**settings.CACHES, ALIAS: local}
    caches[ALIAS].set("a", "x")
    caches[ALIAS]._cache[caches[ALIAS].make_key("a")] = b"no pickle"  # type: ignore[attr-defined]

    assert computed.recall("a") == ["made a"]
    assert recall("a", lambda: "again", using=ALIAS) == "made a"
