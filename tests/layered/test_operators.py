"""Operators' methods of a LayeredCache: describe its layers, clear a part of it."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.conf import settings
from django.core.cache import caches
from django.core.management import CommandError, call_command
from django.test import override_settings
from pytest_django.plugin import DjangoDbBlocker

from tests.layered.conftest import Stack
from tests.settings import database_cache, layered_cache, memory_cache


def output_of(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out, no_color=True)
    return out.getvalue()


@pytest.mark.usefixtures("django_db_setup")
def test_stats_report_whether_each_layer_works(
    stack: Stack, django_db_blocker: DjangoDbBlocker
) -> None:
    stack.cache.set("key", "value")
    stack.upper.is_down = True
    configured = {name: it for name, it in settings.CACHES.items() if stack.alias in name}
    with (
        override_settings(CACHES={"default": memory_cache(), **configured}),
        django_db_blocker.unblock(),
    ):
        layers = json.loads(output_of("cache_stats", "--json"))["layers"]
        found = {one["layer"]: one for one in layers}
        lines = [line.split() for line in output_of("cache_stats").splitlines()]

    upper, lower, memory = (stack.layer(name) for name in ("upper", "lower", "memory"))
    assert found[memory]["entries"] == 1
    assert found[memory]["bytes"] > 0
    assert found[upper]["error"] == "ConnectionError: it is down"
    assert found[lower]["error"] is None
    assert [stack.alias, lower, "WatchedCache", "works"] in lines
    assert [stack.alias, upper, "WatchedCache", "ConnectionError:", "it", "is", "down"] in lines


@pytest.mark.usefixtures("django_db_setup")
@pytest.mark.django_db(transaction=True)
def test_a_part_of_a_cache_is_cleared_in_every_layer() -> None:
    configured = {
        "site": layered_cache("site-memory", "site-table", bus="log"),
        "site-memory": memory_cache(),
        "site-table": database_cache("sqlite_cache"),
    }
    with override_settings(CACHES={**settings.CACHES, **configured}):
        cache = caches["site"]
        cache.set_many({"country:FR": 1, "country:DE": 2, "airport:CDG": 3})

        said = output_of("clear_cache", "--cache", "site", "--prefix", "country:", "--no-input")

        assert cache.get_many(["country:FR", "country:DE", "airport:CDG"]) == {"airport:CDG": 3}
        assert "the entries of every layer whose key begins with 'country:'" in said
        call_command("clear_cache", "--cache", "site", "--no-input", stdout=StringIO())
        assert cache.get("airport:CDG") is None


def test_a_layer_that_cannot_be_searched_is_named(stack: Stack) -> None:
    with pytest.raises(CommandError) as refusal:
        output_of("clear_cache", "--cache", stack.alias, "--prefix", "a:", "--no-input")

    assert f"its layer '{stack.layer('upper')}' cannot be searched" in str(refusal.value)


def test_clearing_one_layer_of_a_stack_warns(stack: Stack) -> None:
    configured = {name: it for name, it in settings.CACHES.items() if stack.alias in name}
    with override_settings(CACHES={"default": memory_cache(), **configured}):
        said = output_of("clear_cache", "--cache", stack.layer("memory"), "--dry-run")

    assert f"it is a layer of '{stack.alias}', whose other layers keep their entries" in said
