"""clear_cache --unused-for: what a store does not know to be used goes, and nothing else."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.core.cache import caches
from pytest_django import Settings

from cachelayers.backends.layered.layers import make_layer
from cachelayers.management.commands import clear_cache as command
from tests.commands.runs import Run, RunCommand
from tests.settings import layered_cache, memory_cache

LOCMEM = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}


def table(**options: Any) -> dict[str, Any]:
    return {
        "BACKEND": "cachelayers.backends.DatabaseCache",
        "LOCATION": "sqlite_cache",
        "OPTIONS": options,
    }


@pytest.fixture(autouse=True)
def _no_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the logs out: most of these tests have no database."""
    monkeypatch.setattr(command, "plan_log", lambda database: None)


@pytest.fixture
def clear(run: RunCommand) -> RunCommand:
    """A function that runs clear_cache without being asked."""

    def clear_cache(*arguments: str) -> Run:
        return run("clear_cache", "--no-input", *arguments)

    return clear_cache


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that lets time pass."""
    now = time.time()

    def pass_time(seconds: float) -> None:
        nonlocal now
        now += seconds
        monkeypatch.setattr("time.time", lambda: now)

    return pass_time


def write_much(cache: Any) -> None:
    """Write until the reads that were noted are stored."""
    cache.set_many(dict.fromkeys(map(str, range(1100)), "x"))


@pytest.mark.usefixtures("own_caches")
def test_what_is_neither_written_nor_read_goes(
    clear: RunCommand, settings: Settings, later: Any
) -> None:
    settings.CACHES = {"bounded": table(MAX_ENTRIES=100_000), "local": LOCMEM}
    cache = caches["bounded"]
    cache.clear()
    cache.set_many({"read": 1, "left": 2, "rewritten": 3}, timeout=None)
    later(100)
    for _ in range(100):
        cache.get("read")
    cache.set("rewritten", 4, timeout=None)
    write_much(cache)

    tried = clear("--unused-for=60", "--dry-run")
    assert "bounded (DatabaseCache): 1 unused entry" in tried.out
    assert "local: left alone, it does not know when an entry was last used" in tried.out
    assert cache.has_key("left")

    result = clear("--unused-for=1m")
    assert "bounded: removed 1 entry" in result.out
    assert cache.get_many(["read", "left", "rewritten"]) == {"read": 1, "rewritten": 4}


@pytest.mark.usefixtures("own_caches")
def test_a_table_that_notes_no_reads_is_left_alone(
    clear: RunCommand, settings: Settings, later: Any
) -> None:
    settings.CACHES = {"default": table()}
    caches["default"].set("key", "value", timeout=None)
    later(1000)

    result = clear("--unused-for=60")

    assert "default: left alone, it records no reads" in result.out
    assert caches["default"].get("key") == "value"


@pytest.mark.usefixtures("own_caches")
def test_each_layer_that_knows_removes_its_own(
    clear: RunCommand, settings: Settings, later: Any
) -> None:
    settings.CACHES = {
        "default": layered_cache("memory", "bounded"),
        "memory": memory_cache(),
        "bounded": table(MAX_ENTRIES=100_000),
    }
    cache = caches["default"]
    cache.set_many({"old": 1, "new": 2}, timeout=None)
    later(100)
    cache.set("new", 3, timeout=None)

    result = clear("--unused-for=60", "--cache=default")

    assert "the entries unused for 60 seconds in 'bounded'; no other layer knows" in result.out
    assert "  bounded: removed 1 entry" in result.out
    caches["memory"].clear()
    assert cache.get_many(["old", "new"]) == {"new": 3}


@pytest.mark.redis
def test_a_redis_knows_when_its_keys_were_used() -> None:
    layer: Any = make_layer("redis", 5.0)
    client = layer.access.client()
    names = ["unused:idle", "unused:read", "unused:other", "another"]
    for name in names:
        key = layer.access.key(name)
        client.set(key, "value")
        client.execute_command("RESTORE", key, 0, client.dump(key), "REPLACE", "IDLETIME", 1000)
    client.get(layer.access.key("unused:read"))

    assert layer.delete_unused("unused:", 900) == 2

    assert [client.exists(layer.access.key(name)) for name in names] == [0, 1, 0, 1]
    client.delete(*map(layer.access.key, names))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--unused-for=59"], "a number of 60 or more"),
        (["--unused-for=nan"], "a number of 60 or more"),
        (["--unused-for=59s"], "a number of 60 or more, or a text such as '12h' or '7d'"),
        (["--unused-for=a week"], "a number of 60 or more"),
        (["--unused-for=60", "--prefix=a"], "cannot be combined with --prefix or --expired"),
        (["--unused-for=60", "--expired"], "cannot be combined with --prefix or --expired"),
        (["--unused-for=60", "--static"], "--static cannot be combined"),
        (["--unused-for=60", "--tag=a"], "--expired, --unused-for or --static"),
    ],
)
def test_what_it_cannot_be_combined_with(
    clear: RunCommand, arguments: list[str], said: str
) -> None:
    assert said in clear(*arguments).message


@pytest.mark.usefixtures("own_caches")
def test_sessions_are_warned_of(clear: RunCommand, settings: Settings) -> None:
    settings.CACHES = {"default": table(MAX_ENTRIES=100_000)}
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"

    assert "users may be logged out" in clear("--unused-for=60", "--dry-run").out
