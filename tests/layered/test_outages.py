"""A layer that is down is skipped and reported once; after its recovery it serves nothing old."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.test import override_settings

from cachelayers import recall
from cachelayers.backends.layered import circuit_breaker
from cachelayers.backends.layered.circuit_breaker import Breaker, breaker_of
from cachelayers.signals import layer_failed, layer_recovered
from cachelayers.utils.counters import counts
from tests.layered.conftest import MakeStack, Stack, forget_processes
from tests.settings import layered_cache
from tests.state import object_named

DJANGOS_REDIS = "django.core.cache.backends.redis.RedisCache"
LOOK_UP_SECONDS = 0.5


def test_the_next_layer_answers_for_one_that_is_down(stack: Stack) -> None:
    stack.cache.set("key", "value")
    stack.forget_memory()
    stack.upper.is_down = True

    assert stack.cache.get("key") == "value"


EVERYTHING: dict[str, tuple[Callable[[BaseCache], Any], Any]] = {
    "get": (lambda cache: cache.get("key", "default"), "default"),
    "get_many": (lambda cache: cache.get_many(["key"]), {}),
    "has_key": (lambda cache: cache.has_key("key"), False),
    "set": (lambda cache: cache.set("key", 1), None),
    "set_many": (lambda cache: cache.set_many({"key": 1}), ["key"]),
    "delete": (lambda cache: cache.delete("key"), False),
    "delete_many": (lambda cache: cache.delete_many(["key"]), None),
    "touch": (lambda cache: cache.touch("key"), False),
    "clear": (lambda cache: cache.clear(), None),
    "get_or_set": (lambda cache: cache.get_or_set("key", lambda: "made"), "made"),
    "add": (lambda cache: cache.add("key", 1), True),
}


@pytest.mark.parametrize("operation", EVERYTHING)
def test_with_all_layers_down_the_site_works(stack: Stack, operation: str) -> None:
    stack.cache.set("key", "value")
    stack.forget_memory()
    stack.upper.is_down = stack.lower.is_down = True
    perform, expected = EVERYTHING[operation]

    assert perform(stack.cache) == expected


def test_with_all_layers_down_counting_is_a_missing_key(stack: Stack) -> None:
    stack.upper.is_down = stack.lower.is_down = True

    with pytest.raises(ValueError, match="key"):
        stack.cache.incr("key")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("layers", [("memory", "upper", "lower"), ("upper", "lower")])
def test_with_all_layers_down_a_recall_does_not_wait_for_a_lease(
    make_stack: MakeStack, layers: tuple[str, ...]
) -> None:
    stack = make_stack(layers=layers)
    stack.upper.is_down = stack.lower.is_down = True

    began = time.monotonic()
    value = recall("key", lambda: "computed", using=stack.alias)

    assert value == "computed"
    assert time.monotonic() - began < 2


def test_an_outage_is_reported_once(
    stack: Stack, caplog: pytest.LogCaptureFixture, quick_probes: None
) -> None:
    alias = stack.layer("upper")
    stack.cache.set("key", "value")
    received: list[tuple[str, str]] = []

    def record_failure(sender: type, alias: str, error: BaseException, **kwargs: object) -> None:
        received.append(("failed", alias))

    def record_recovery(sender: type, alias: str, **kwargs: object) -> None:
        received.append(("recovered", alias))

    layer_failed.connect(record_failure)
    layer_recovered.connect(record_recovery)
    stack.upper.is_down = True
    with caplog.at_level(logging.WARNING, logger="cachelayers"):
        for _ in range(5):
            stack.cache.set("key", "value")
        stack.upper.is_down = False
        stack.cache.set("key", "value")
    layer_failed.disconnect(record_failure)
    layer_recovered.disconnect(record_recovery)

    assert received == [("failed", alias), ("recovered", alias)]
    failure, recovery = [one.getMessage() for one in caplog.records]
    assert alias in failure
    assert "it is down" in failure
    assert alias in recovery
    assert counts.of(alias, "errors") >= 5


@pytest.mark.usefixtures("quick_probes")
@pytest.mark.parametrize("fails_after", [False, True], ids=["not done", "done without an answer"])
@pytest.mark.parametrize("which", ["upper", "lower"])
@pytest.mark.parametrize("change", ["set", "set_many", "delete", "delete_many", "clear"])
def test_an_entry_older_than_a_missed_write_does_not_return(
    stack: Stack, change: str, which: str, fails_after: bool
) -> None:
    stack.cache.set("key", "old")
    layer = getattr(stack, which)
    layer.fails_after = fails_after
    layer.is_down = True
    arguments: dict[str, tuple[Any, ...]] = {
        "set": ("key", "new"),
        "set_many": ({"key": "new"},),
        "delete": ("key",),
        "delete_many": (["key"],),
        "clear": (),
    }
    getattr(stack.cache, change)(*arguments[change])
    layer.is_down = False

    expected = "new" if change.startswith("set") else None
    assert stack.cache.get("key") == expected
    stack.forget_memory()  # in another process
    assert stack.cache.get("key") == expected
    # and the other layer has lost everything
    other = stack.lower if which == "upper" else stack.upper
    other.entries.clear()
    stack.forget_memory()
    assert stack.cache.get("key") in {expected, None}


@pytest.mark.usefixtures("quick_probes")
def test_a_process_that_noticed_no_outage_reads_no_entry_from_before_it(stack: Stack) -> None:
    stack.cache.set("key", "old")
    other_process = dict(stack_states())
    stack.forget_memory()
    stack.upper.is_down = True
    stack.cache.set("key", "new")
    stack.upper.is_down = False
    breaker_of(stack.layer("upper")).close()

    # The other process, with its earlier state, at its next read of the record of epochs.
    forget_processes()
    stack_states().update(other_process)
    for known in other_process.values():
        known.compared_at = known.polled_at = float("-inf")
    caches[stack.layer("memory")].clear()
    del caches[stack.alias]

    assert stack.cache.get("key") == "new"


def stack_states() -> dict[Any, Any]:
    states: dict[Any, Any] = object_named("backends.layered.state._states")
    return states


@pytest.mark.usefixtures("quick_probes")
def test_a_fill_that_may_be_late_does_not_return(stack: Stack) -> None:
    stack.cache.set("key", "old")
    lose = [key for key in stack.upper.entries if not key.endswith(":epochs")]
    for key in lose:
        del stack.upper.entries[key]
    stack.forget_memory()
    assert stack.cache.get("nothing") is None

    def go_down() -> None:
        stack.upper.is_down = stack.upper.fails_after = True

    stack.upper.before["add"] = go_down
    assert stack.cache.get("key") == "old"
    stack.upper.is_down = False
    stack.cache.delete("key")
    stack.forget_memory()

    assert stack.cache.get("key") is None


def test_an_open_layer_is_not_asked_until_its_pause_is_over(stack: Stack) -> None:
    stack.cache.set("key", "value")
    stack.upper.is_down = True
    stack.cache.set("key", "value")
    stack.upper.calls.clear()

    for number in range(20):
        stack.cache.set(f"key-{number}", "value")

    assert len(stack.upper.calls) <= 2


def test_the_pause_doubles_up_to_a_bound_and_differs_between_processes() -> None:
    one = Breaker("some layer")
    pauses = []
    for _ in range(8):
        one.fail("get", OSError("down"))
        pauses.append(one.try_at - time.monotonic())

    lowest, highest = 1 - circuit_breaker.JITTER, 1 + circuit_breaker.JITTER
    for number, pause in enumerate(pauses):
        whole = min(
            circuit_breaker.FIRST_PAUSE_SECONDS * 2**number, circuit_breaker.LONGEST_PAUSE_SECONDS
        )
        assert lowest * whole - 0.1 < pause < highest * whole + 0.1
    assert highest * circuit_breaker.LONGEST_PAUSE_SECONDS < 4
    assert pauses[-1] != pauses[-2]


def test_one_caller_at_a_time_tries_an_open_layer(quick_probes: None) -> None:
    one = Breaker("some layer")
    one.fail("get", OSError("down"))

    assert [one.takes_probe() for _ in range(3)] == [True, False, False]
    one.close()
    assert not one.is_open


def test_a_layer_that_is_slow_again_and_again_is_skipped() -> None:
    one = Breaker("some layer")

    for seconds in (0.6, 0.6, 0.1, 0.6, 0.6, 0.6, 0.6):
        one.note_duration("get", seconds, 0.5)
    assert not one.is_open

    one.note_duration("get", 0.6, 0.5)
    assert one.is_open


def test_less_than_half_of_the_time_is_spent_on_a_slow_name_lookup(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_up: list[str] = []

    def look_up(host: str, *arguments: Any) -> Any:
        looked_up.append(host)
        time.sleep(LOOK_UP_SECONDS)  # as the system's resolver does if no name server answers
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    names = layered_cache("memory", "far")
    names["OPTIONS"]["TIME_LIMIT"] = LOOK_UP_SECONDS / 10
    aliases = {
        "far": {"BACKEND": DJANGOS_REDIS, "LOCATION": "redis://cache.example:6379"},
        "slow names": names,
    }
    with override_settings(CACHES={**settings.CACHES, **aliases}):
        assert caches["slow names"].get("page") is None
        end = time.monotonic() + LOOK_UP_SECONDS
        while time.monotonic() < end:
            assert caches["slow names"].get("page") is None
            time.sleep(0.01)

    assert looked_up == ["cache.example"]


def test_values_that_one_layer_cannot_serialise_leave_nothing_old(
    make_stack: MakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = make_stack()
    stack.cache.set("key", "old")

    def refuse() -> None:
        raise TypeError("no such value here")

    stack.upper.before["set_many"] = refuse
    with pytest.raises(TypeError, match="no such value"):
        stack.cache.set("key", "new")

    assert stack.cache.get("key") is None
    stack.forget_memory()
    assert stack.cache.get("key") is None


def test_a_slow_call_that_succeeds_pauses_the_layer_only_shortly() -> None:
    """A bulk write may take a minute, and the layer works."""
    breaker = Breaker("slow")

    breaker.note_duration("write_many", seconds=60.0, limit_seconds=1.0)

    assert breaker.is_open
    assert breaker.try_at - time.monotonic() < 1.0
