"""A database server that is stopped, killed, started again or never there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, cast

import pytest
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.db import connections

from cachelayers.backends import DatabaseCache
from cachelayers.exceptions import CacheUnavailable
from tests.faults.conftest import OpenCache, Reports, await_recovery, await_value, probe
from tests.servers import Server, find_free_port

LONGEST_SECONDS = 3.0  # for one operation on a busy machine; a refused connection takes none


def everything(cache: BaseCache) -> dict[str, Any]:
    """Return each operation's result."""
    return {
        "get": cache.get("old", "default"),
        "has_key": cache.has_key("old"),
        "get_many": cache.get_many(["old", "new"]),
        "set": cache.set("new", 1),  # type: ignore[func-returns-value] # that it does is the test
        "add": cache.add("new", 1),
        "touch": cache.touch("old"),
        "delete": cache.delete("old"),
        "set_many": cache.set_many({"new": 1, "newer": 2}),
        "delete_many": cache.delete_many(["old", "new"]),  # type: ignore[func-returns-value]
        "get_or_set": cache.get_or_set("old", lambda: "computed"),
        "incr": value_error_of(lambda: cache.incr("old")),
        "incr_version": value_error_of(lambda: cache.incr_version("old")),
        "clear": cache.clear(),  # type: ignore[func-returns-value]
    }


def value_error_of(operation: Callable[[], object]) -> str:
    with pytest.raises(ValueError, match="old") as caught:
        operation()
    return type(caught.value).__name__


WHILE_DOWN = {
    "get": "default",
    "has_key": False,
    "get_many": {},
    "set": None,
    "add": False,
    "touch": False,
    "delete": False,
    "set_many": ["new", "newer"],
    "delete_many": None,
    "get_or_set": "computed",
    "incr": "ValueError",
    "incr_version": "ValueError",
    "clear": None,
}


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_reads_miss_and_writes_do_nothing_while_the_server_is_down(
    server_cache: BaseCache, server: Server, end: str
) -> None:
    server_cache.set("old", 1)
    getattr(server, end)()

    began = time.monotonic()
    answers = everything(server_cache)
    took_seconds = time.monotonic() - began

    assert answers == WHILE_DOWN
    assert took_seconds < LONGEST_SECONDS


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_the_cache_recovers_with_its_server_and_its_values(
    server_cache: BaseCache, server: Server, end: str
) -> None:
    server_cache.set("kept", [1], timeout=None)
    getattr(server, end)()
    assert server_cache.get("kept") is None

    server.start()

    await_value(lambda: server_cache.get("kept"), [1])
    await_recovery(server_cache)
    server_cache.set("new", 2)
    assert server_cache.incr("new") == 3


def test_a_restart_between_two_operations_has_no_effect(
    server_cache: BaseCache, server: Server, reports: Reports
) -> None:
    server_cache.set("kept", 1, timeout=None)
    server.stop()
    server.start()

    found = server_cache.get("kept")

    assert found == 1
    server.stop()
    server.start()
    server_cache.set("kept", 2, timeout=None)
    assert server_cache.get("kept") == 2
    assert reports.texts == []


@pytest.mark.parametrize(
    "write",
    [
        lambda cache: cache.set("page", "new"),
        lambda cache: cache.set_many({"page": "new", "other": 1}),
        lambda cache: cache.delete("page"),
        lambda cache: cache.delete_many(["page"]),
        lambda cache: cache.set("page", "new", timeout=0),
        lambda cache: cache.clear(),
    ],
    ids=["set", "set_many", "delete", "delete_many", "set for no time", "clear"],
)
def test_an_older_value_is_not_served_after_a_write_that_failed(
    server_cache: BaseCache, server: Server, write: Callable[[BaseCache], object]
) -> None:
    server_cache.set("page", "old", timeout=None)
    server.stop()
    write(server_cache)

    server.start()
    served: list[object] = []
    await_value(lambda: note_served(server_cache, served), True)

    assert "old" not in served
    assert server_cache.get("page", "missing") == "missing"


def note_served(cache: BaseCache, served: list[object]) -> object:
    """Collect the values served while the cache recovers; return whether it works again."""
    served += [cache.get("page"), cache.get_many(["page"]).get("page")]
    return probe(cache)


def test_a_failure_is_logged_once_a_minute_and_names_the_alias(
    server_cache: BaseCache,
    server: Server,
    reports: Reports,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    server.stop()

    for number in range(20):
        server_cache.get("page")
        server_cache.set("page", number)
    in_the_first_minute = list(reports.texts)
    now += 61
    for _ in range(20):
        server_cache.get("page")

    assert len(in_the_first_minute) == 1
    assert len(reports.texts) == 2
    assert all("private-" in text for text in reports.texts)


def test_an_operator_sees_the_failure(server_cache: BaseCache, server: Server) -> None:
    operated = cast(DatabaseCache, server_cache)
    server.stop()

    for operation in (
        operated.clear_entries,
        operated.delete_expired,
        operated.count_entries,
        lambda: operated.delete_prefix("a"),
    ):
        with pytest.raises(CacheUnavailable, match="private-"):
            operation()


@pytest.mark.parametrize(
    "engine",
    [
        pytest.param("django.db.backends.postgresql", marks=pytest.mark.postgres),
        pytest.param("django.db.backends.mysql", marks=pytest.mark.mariadb),
    ],
)
def test_a_server_that_was_never_there_is_a_miss(
    open_cache: OpenCache, reports: Reports, engine: str
) -> None:
    settings = {
        "ENGINE": engine,
        "HOST": "127.0.0.1",
        "PORT": find_free_port(),
        "USER": "nobody",
        "NAME": "nothing",
    }
    cache = open_cache(f"refused-{engine[-5:]}", settings, migrate=False)

    began = time.monotonic()
    answers = everything(cache)
    took_seconds = time.monotonic() - began

    assert answers == WHILE_DOWN
    assert took_seconds < LONGEST_SECONDS
    assert len(reports.texts) == 1


def test_threads_that_are_at_work_survive_a_kill_and_a_restart(
    server_cache: BaseCache, server: Server
) -> None:
    alias = cast(Any, server_cache).alias if hasattr(server_cache, "alias") else None
    stop = threading.Event()
    failures: list[BaseException] = []
    steps: list[int] = []

    def work() -> None:
        own = caches[alias] if alias else server_cache
        try:
            while not stop.is_set():
                own.set("shared", len(steps))
                own.get("shared")
                steps.append(1)
        except Exception as error:  # noqa: BLE001 # any error fails the test, in its own thread
            failures.append(error)
        finally:
            own.close()
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    await_steps(steps, 20)
    server.kill()
    await_steps(steps, len(steps) + 20)
    server.start()
    await_steps(steps, len(steps) + 20)
    stop.set()
    for thread in threads:
        thread.join(20)

    assert failures == []
    await_recovery(server_cache)


def await_steps(steps: list[int], count: int) -> None:
    deadline = time.monotonic() + 20
    while len(steps) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)
