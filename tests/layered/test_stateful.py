"""LayeredCache beside a dictionary with a clock, while layers fail at random, before and after."""

from __future__ import annotations

import itertools
import time
from typing import Any
from unittest.mock import patch

from django.conf import settings
from django.core.cache import caches
from django.test import override_settings
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cachelayers.backends.layered import circuit_breaker
from tests.layered.backends import server_of
from tests.settings import layered_cache, memory_cache
from tests.state import reset

KEYS = st.sampled_from(["a", "b", "c"])
VALUES = st.one_of(st.integers(), st.text(max_size=5), st.none(), st.lists(st.integers()))
TIMEOUTS = st.sampled_from([None, 5, 50, 500])
NUMBERS = itertools.count()
MISSING: Any = object()


class LayeredMachine(RuleBasedStateMachine):
    """A read returns the last value written, or nothing if a layer has failed since."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000_000_000.0
        self.expected: dict[str, tuple[Any, float]] = {}
        # Entries of a layer that was down may be lost, but not stay as they were.
        self.may_be_lost = False
        self.patches: list[Any] = [
            patch.object(time, "time", lambda: self.now),
            patch.object(circuit_breaker, "FIRST_PAUSE_SECONDS", 0.0),
            patch.object(circuit_breaker, "LONGEST_PAUSE_SECONDS", 0.0),
        ]
        for one in self.patches:
            one.start()

    @initialize(layers=st.sampled_from([("memory", "upper", "lower"), ("upper", "lower")]))
    def make(self, layers: tuple[str, ...]) -> None:
        self.alias = f"machine-{next(NUMBERS)}"
        names = {name: f"{self.alias}-{name}" for name in ("memory", "upper", "lower")}
        backend = "tests.layered.backends.WatchedCache"
        self.settings = override_settings(
            CACHES={
                **settings.CACHES,
                self.alias: layered_cache(*(names[layer] for layer in layers)),
                names["memory"]: memory_cache(),
                names["upper"]: {"BACKEND": backend, "LOCATION": names["upper"]},
                names["lower"]: {"BACKEND": backend, "LOCATION": names["lower"]},
            }
        )
        self.settings.enable()
        self.cache = caches[self.alias]
        self.servers = [server_of(names["upper"]), server_of(names["lower"])]

    def teardown(self) -> None:
        if hasattr(self, "settings"):
            self.settings.disable()
        for one in self.patches:
            one.stop()
        reset("backends.layered.circuit_breaker")

    # Layers and time

    @rule(which=st.integers(0, 1), after=st.booleans())
    def fail(self, which: int, after: bool) -> None:
        self.servers[which].is_down, self.servers[which].fails_after = True, after
        self.may_be_lost = True

    @rule(which=st.integers(0, 1))
    def work_again(self, which: int) -> None:
        self.servers[which].is_down = False

    @rule(which=st.integers(0, 1))
    def lose_everything(self, which: int) -> None:
        self.servers[which].entries.clear()
        self.may_be_lost = True

    @rule(seconds=st.sampled_from([1.0, 10.0, 100.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def ask_from_another_process(self) -> None:
        """Read as another process, without memory or earlier state."""
        if any(server.is_down for server in self.servers):
            # if no layer could record it, only the process that missed the write knows of it
            return
        for key in ("a", "b", "c"):
            self.read(key)
        reset("backends.layered.state")
        caches[f"{self.alias}-memory"].clear()
        del caches[self.alias]
        self.cache = caches[self.alias]

    # Operations

    @rule(key=KEYS, value=VALUES, timeout=TIMEOUTS)
    def set(self, key: str, value: Any, timeout: float | None) -> None:
        self.cache.set(key, value, timeout)
        self.expect(key, value, timeout)

    @rule(values=st.dictionaries(KEYS, VALUES, min_size=1), timeout=TIMEOUTS)
    def set_many(self, values: dict[str, Any], timeout: float | None) -> None:
        self.cache.set_many(values, timeout)
        for key, value in values.items():
            self.expect(key, value, timeout)

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.cache.delete(key)
        self.expected.pop(key, None)

    @rule()
    def clear(self) -> None:
        self.cache.clear()
        self.expected.clear()

    @rule(key=KEYS, value=VALUES)
    def add(self, key: str, value: Any) -> None:
        is_added = self.cache.add(key, value, 50)
        if is_added:
            assert self.may_be_lost or self.live(key) is MISSING
            self.expect(key, value, 50)
        else:
            assert self.may_be_lost or self.live(key) is not MISSING

    @rule(key=KEYS, delta=st.integers(-5, 5))
    def incr(self, key: str, delta: int) -> None:
        value = self.live(key)
        if value is not MISSING and type(value) is not int:
            return
        try:
            total = self.cache.incr(key, delta)
        except ValueError:
            # If the deciding layer is down, memory may still have a value that cannot be counted.
            assert self.may_be_lost or value is MISSING
        else:
            assert total == value + delta
            self.expected[key] = total, self.expected[key][1]

    @rule(key=KEYS)
    def touch(self, key: str) -> None:
        value = self.live(key)
        if self.cache.touch(key, 30):
            assert value is not MISSING
            self.expected[key] = value, self.now + 30
        else:
            assert self.may_be_lost or value is MISSING

    @rule(key=KEYS)
    def read(self, key: str) -> None:
        self.compare(key, self.cache.get(key, MISSING))

    @rule()
    def read_many(self) -> None:
        found = self.cache.get_many(["a", "b", "c"])
        for key in ("a", "b", "c"):
            self.compare(key, found.get(key, MISSING))

    @invariant()
    def nothing_expired_is_expected(self) -> None:
        self.expected = {
            key: (value, expires)
            for key, (value, expires) in self.expected.items()
            if expires > self.now
        }

    def expect(self, key: str, value: Any, timeout: float | None) -> None:
        self.expected[key] = value, float("inf") if timeout is None else self.now + timeout

    def live(self, key: str) -> Any:
        value, expires = self.expected.get(key, (MISSING, 0.0))
        return value if expires > self.now else MISSING

    def compare(self, key: str, found: Any) -> None:
        expected = self.live(key)
        if found is MISSING and self.may_be_lost:
            return
        assert (found is MISSING) == (expected is MISSING)
        assert found is MISSING or found == expected


TestLayeredCacheBesideADictionary = LayeredMachine.TestCase
TestLayeredCacheBesideADictionary.settings = hypothesis_settings(
    max_examples=80,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
