"""A cache declares its kind of layer and its errors, by its class or by a registration."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.filebased import FileBasedCache
from django.test import override_settings

from cachelayers import recall, unit_of_work
from cachelayers.backends import kinds, register_layer
from cachelayers.backends.layered.layers import make_layer
from cachelayers.backends.layered.layers.plain import PlainLayer
from cachelayers.backends.layered.options import find_bus_problems
from tests.layered.backends import WatchedCache, server_of
from tests.layered.conftest import MakeStack

HERE = "tests.layered.test_kinds"


class ServerGone(Exception):
    """A client's error that is not derived from any known one."""


class OwnLayer(PlainLayer):
    cache_errors = (f"{HERE}.ServerGone", "not_installed.Error")


class OtherLayer(PlainLayer):
    pass


class NamesItsLayer(WatchedCache):
    layer_class = f"{HERE}.OwnLayer"


class GivesItsLayer(WatchedCache):
    layer_class = OwnLayer


class Derived(NamesItsLayer):
    pass


class Foreign(WatchedCache):
    """A cache of a library without support for layers."""


ElsewhereNamed = Foreign


class RaisesItsOwn(WatchedCache):
    """A cache that declares errors, but no kind of layer."""

    cache_errors = (ServerGone,)

    def get_many(self, *arguments: Any, **keywords: Any) -> dict[str, Any]:
        raise ServerGone("the server is gone")

    def get(self, *arguments: Any, **keywords: Any) -> Any:
        raise ServerGone("the server is gone")


@pytest.fixture(autouse=True)
def _registrations_of_one_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "_registered", dict(kinds._registered))


def layer_of(backend: str) -> Any:
    configured = {"BACKEND": f"{HERE}.{backend}", "LOCATION": backend}
    with override_settings(CACHES={**settings.CACHES, "own": configured}):
        return make_layer("own", 0.5)


@pytest.mark.parametrize("backend", ["NamesItsLayer", "GivesItsLayer", "Derived"])
def test_a_class_declares_its_layer(backend: str) -> None:
    layer = layer_of(backend)

    assert layer.cache.server is server_of(backend)
    assert type(layer) is OwnLayer


@pytest.mark.parametrize("path", ["Foreign", "ElsewhereNamed"])
def test_a_foreign_class_is_registered_by_any_of_its_names(path: str) -> None:
    assert type(layer_of("Foreign")) is PlainLayer

    register_layer(f"{HERE}.{path}", f"{HERE}.OwnLayer")

    assert type(layer_of("Foreign")) is OwnLayer


def test_the_nearest_class_decides_and_a_registration_before_its_attribute() -> None:
    register_layer("tests.layered.backends.WatchedCache", f"{HERE}.OtherLayer")
    assert type(layer_of("Foreign")) is OtherLayer
    assert type(layer_of("Derived")) is OwnLayer

    register_layer(f"{HERE}.NamesItsLayer", f"{HERE}.OtherLayer")
    assert type(layer_of("Derived")) is OtherLayer


def test_a_registration_imports_nothing() -> None:
    register_layer("not_installed.Cache", "not_installed.Layer")

    assert type(layer_of("Foreign")) is PlainLayer
    assert kinds.declared_errors("cache_errors")


def test_a_registered_redis_may_be_the_bus() -> None:
    with override_settings(CACHES={"own": {"BACKEND": f"{HERE}.Foreign"}}):
        assert len(list(find_bus_problems("CACHES['default']", "own"))) == 1

        register_layer(f"{HERE}.Foreign", "cachelayers.backends.layered.layers.redis.RedisLayer")

        assert list(find_bus_problems("CACHES['default']", "own")) == []


def test_an_unknown_kind_is_a_plain_layer() -> None:
    assert kinds.layer_class_of(FileBasedCache) is PlainLayer


def test_errors_that_a_backend_declares_skip_its_layer(make_stack: MakeStack) -> None:
    stack = make_stack("WatchedCache")
    settings.CACHES[stack.layer("upper")]["BACKEND"] = f"{HERE}.RaisesItsOwn"

    with unit_of_work():
        stack.cache.set("key", "value")
    stack.forget_memory()

    with unit_of_work():
        assert stack.cache.get("key") == "value"  # from the lower one


@pytest.mark.django_db
def test_errors_that_a_backend_declares_are_misses_of_recall() -> None:
    configured = {"BACKEND": f"{HERE}.RaisesItsOwn", "LOCATION": "recalled"}
    with override_settings(CACHES={**settings.CACHES, "recalled": configured}), unit_of_work():
        assert recall("key", lambda: "made", using="recalled") == "made"
        del caches["recalled"]
