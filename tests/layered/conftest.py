"""A stack of memory and two watched caches, made anew for each test."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.test import override_settings

from cachelayers.backends.layered import circuit_breaker
from tests.contract.fixtures import clock
from tests.layered.backends import Server, server_of
from tests.settings import layered_cache, memory_cache
from tests.state import reset

__all__ = ["clock"]
NUMBERS = itertools.count()


@dataclass
class Stack:
    """A LayeredCache of memory, an upper and a lower shared cache."""

    alias: str
    upper: Server
    lower: Server

    @property
    def cache(self) -> BaseCache:
        return caches[self.alias]

    def layer(self, name: str) -> str:
        return f"{self.alias}-{name}"

    def forget_memory(self) -> None:
        """Drop all state of this process, as in a new process."""
        forget_processes()
        caches[self.layer("memory")].clear()
        del caches[self.alias]


def forget_processes() -> None:
    reset("backends.layered.state")


MakeStack = Callable[..., Stack]


@pytest.fixture
def make_stack() -> Iterator[MakeStack]:
    """Return a function that makes a stack. Its options are those of the LayeredCache."""
    with ExitStack() as overrides:

        def make(
            backend: str = "WatchedCache",
            layers: Sequence[str] = ("memory", "upper", "lower"),
            **options: Any,
        ) -> Stack:
            alias = f"stack-{next(NUMBERS)}"
            names = {name: f"{alias}-{name}" for name in ("memory", "upper", "lower")}
            configured = layered_cache(*(names[layer] for layer in layers))
            configured["OPTIONS"] |= options
            overrides.enter_context(
                override_settings(
                    CACHES={
                        **settings.CACHES,
                        alias: configured,
                        names["memory"]: memory_cache(),
                        names["upper"]: watched(names["upper"], backend),
                        names["lower"]: watched(names["lower"], backend),
                    }
                )
            )
            return Stack(alias, server_of(names["upper"]), server_of(names["lower"]))

        yield make


@pytest.fixture
def stack(make_stack: MakeStack) -> Stack:
    return make_stack()


@pytest.fixture
def quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an open layer be tried again at once."""
    monkeypatch.setattr(circuit_breaker, "FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(circuit_breaker, "LONGEST_PAUSE_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def _closed_breakers() -> Iterator[None]:
    reset("backends.layered.circuit_breaker")
    yield
    reset("backends.layered.circuit_breaker")


def watched(location: str, backend: str) -> dict[str, Any]:
    return {"BACKEND": f"tests.layered.backends.{backend}", "LOCATION": location}
