"""The shortest way to a hit returns nothing that the full flow would not return."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.db import DatabaseError
from pytest_django import Settings
from pytest_django.plugin import DjangoDbBlocker

from cachelayers import recall, unit_of_work
from cachelayers.entries.envelope import FORMAT
from cachelayers.invalidation.log import Known
from cachelayers.invalidation.units import Unit
from cachelayers.lookup import peeking
from cachelayers.lookup.batches import Requested, recall_many_after_peeking
from cachelayers.lookup.policy import Policy
from tests.conftest import empty_cache

ALIAS = "memory_table"


@pytest.fixture(autouse=True)
def store(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[BaseCache]:
    with django_db_blocker.unblock():
        yield empty_cache(ALIAS)


def recall_here() -> Any:
    with unit_of_work():
        return recall("value", lambda: "anew", using=ALIAS)


KNOWN = Known("this one", known_from=10, watermark=20, floor=5, last={"changed": 15})


@pytest.mark.parametrize(
    ("known", "dependency", "holds"),
    [
        (KNOWN, ["default", "this one", 16, ["changed", "not changed"]], True),
        (KNOWN, ["default", "this one", 15, ["changed"]], False),
        (KNOWN, ["default", "this one", 10, ["not changed"]], True),
        (KNOWN, ["default", "this one", 9, ["not changed"]], False),
        (KNOWN, ["default", "this one", 20, []], True),
        (KNOWN, ["default", "this one", 21, []], False),
        (KNOWN, ["default", "another", 16, []], False),
        (Known("this one", 10, 20, floor=17), ["default", "this one", 16, []], False),
        (None, ["default", "this one", 16, []], False),
        (KNOWN, ["a database that is gone", "this one", 16, []], False),
    ],
)
def test_an_entry_is_valid_if_the_known_log_confirms_it(
    monkeypatch: pytest.MonkeyPatch, known: Known | None, dependency: list[Any], holds: bool
) -> None:
    with unit_of_work() as unit:
        unit.refreshed.add("default")
        monkeypatch.setattr(peeking, "log_of", lambda database: SimpleNamespace(known=known))

        assert peeking.are_valid(unit, [dependency]) is holds
        assert peeking.are_valid(unit, [dependency] * 2) is holds


def test_every_log_of_an_entrys_dependencies_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with unit_of_work() as unit:
        unit.refreshed |= {"default", "other"}
        monkeypatch.setattr(peeking, "log_of", lambda database: SimpleNamespace(known=KNOWN))
        good, bad = ["default", "this one", 16, []], ["other", "another", 16, []]

        assert not peeking.are_valid(unit, [good, bad])


TAMPERED = {
    "another format": ["cachelayers:0", "old", None, None, [], 0.0, 0.0],
    "too short": [FORMAT, "old", None, None, []],
    "too long": [FORMAT, "old", None, None, [], 0.0, 0.0, 0.0],
    "a text": f"{FORMAT}old",
    "no dependencies": [FORMAT, "old", None, None, None, 0.0, 0.0],
    "half a dependency": [FORMAT, "old", None, None, [["default", "x"]], 0.0, 0.0],
    "a database that is a list": [FORMAT, "old", None, None, [[["default"], "x", 1, []]], 0.0, 0.0],
    "a position that is a text": [FORMAT, "old", None, None, [["default", "x", "1", []]], 0.0, 0.0],
    "tags that are lists": [FORMAT, "old", None, None, [["default", "x", 1, [["a"]]]], 0.0, 0.0],
    "times that are texts": [FORMAT, "old", "soon", "later", [], 0.0, 0.0],
    "a database that is gone": [FORMAT, "old", None, None, [["gone", "x", 1, []]], 0.0, 0.0],
    "another incarnation": [FORMAT, "old", None, None, [["default", "x", 1, []]], 0.0, 0.0],
    "a moment that is a text": [FORMAT, "old", None, None, [["default", "x", 1, []]], "now", 0.0],
}


@pytest.mark.parametrize("tampered", TAMPERED.values(), ids=TAMPERED)
def test_a_malformed_entry_is_computed_again(store: BaseCache, tampered: Any) -> None:
    store.set("value", tampered)

    assert recall_here() == "anew"


@pytest.mark.parametrize("tampered", TAMPERED.values(), ids=TAMPERED)
def test_a_malformed_entry_of_a_list_is_computed_again(store: BaseCache, tampered: Any) -> None:
    store.set("value", tampered)
    policy = Policy(ALIAS, "value", 60, 0, (), collects=True)

    with unit_of_work():
        stored = peeking.peek(ALIAS, "value")[1]
        assert recall_many_after_peeking([Requested(policy, lambda: "anew", stored)]) == ["anew"]


def test_a_log_that_cannot_be_read_is_a_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    recall_here()

    def fail(unit: Unit, database: str) -> None:
        raise DatabaseError("gone")

    monkeypatch.setattr(Unit, "refresh", fail)

    with unit_of_work():
        assert peeking.peek(ALIAS, "value")[0] is peeking.MISS


def test_an_undecodable_entry_is_computed_again(settings: Settings) -> None:
    """For example a pickle of code that has changed since."""
    local = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "peeking"}
    settings.CACHES = {**settings.CACHES, ALIAS: local}
    recall_here()
    cache: Any = caches[ALIAS]
    cache._cache[cache.make_key("value")] = b"no pickle"

    assert recall_here() == "anew"


def test_each_thread_asks_its_own_cache_object(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def get(self: BaseCache, key: str) -> None:
        asked.append(self)

    monkeypatch.setattr(type(caches[ALIAS]), "get", get)

    def look() -> BaseCache:
        for _ in range(2):
            peeking.peek(ALIAS, "value")
        return caches[ALIAS]

    with unit_of_work(), ThreadPoolExecutor(1) as pool:
        here, there = look(), pool.submit(copy_context().run, look).result()

    assert asked == [here, here, there, there]
    assert here is not there


def test_overridden_settings_take_effect_within_a_unit(settings: Settings) -> None:
    with unit_of_work():
        recall("value", lambda: "before", using=ALIAS)
        assert peeking.peek(ALIAS, "value")[0] == "before"

        local = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "other"}
        settings.CACHES = {**settings.CACHES, ALIAS: local}

        assert peeking.peek(ALIAS, "value")[0] is peeking.MISS
