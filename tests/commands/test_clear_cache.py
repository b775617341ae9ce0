"""clear_cache: what it removes, what it does not, and its output."""

import time
from typing import Any

import pytest
from django.core.cache import BaseCache, cache, caches
from django.db import connection
from pytest_django import Settings

from cachelayers.management.commands import clear_cache as command
from cachelayers.management.commands import prune_cache
from tests.commands.fakes import PatternCache
from tests.commands.runs import Run, RunCommand
from tests.environment import server_port
from tests.settings import database_cache, layered_cache, memory_cache

DATABASE = {"BACKEND": "cachelayers.backends.DatabaseCache", "LOCATION": "sqlite_cache"}
LOCMEM = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "locmem"}
DOWN = {"BACKEND": "tests.commands.fakes.DownCache", "LOCATION": "down"}
PATTERNS = {"BACKEND": "tests.commands.fakes.PatternCache", "LOCATION": "patterns"}


@pytest.fixture(autouse=True)
def _no_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the logs: most of these tests have no database."""
    monkeypatch.setattr(command, "plan_log", lambda database: None)


@pytest.fixture
def clear(run: RunCommand) -> RunCommand:
    """A function that runs clear_cache without the question."""

    def clear_cache(*arguments: str) -> Run:
        return run("clear_cache", "--no-input", *arguments)

    return clear_cache


@pytest.fixture
def three_caches(settings: Settings, own_caches: BaseCache) -> None:
    """Two DatabaseCaches that share a table, and one cache of another kind."""
    settings.CACHES = {
        "default": DATABASE,
        "pages": {**DATABASE, "KEY_PREFIX": "pages"},
        "memory": LOCMEM,
    }
    for alias in settings.CACHES:
        caches[alias].clear()
        caches[alias].set_many({"country:FR": 1, "country:DE": 2, "airport:CDG": 3})


def keys_left(alias: str) -> set[str]:
    return set(caches[alias].get_many(["country:FR", "country:DE", "airport:CDG"]))


ALL_KEYS = {"country:FR", "country:DE", "airport:CDG"}


# Which target


def test_without_a_target_it_is_an_error_and_nothing_goes(
    clear: RunCommand, three_caches: None
) -> None:
    result = clear()

    assert result.message.startswith("Nothing was named to clear. Give --cache ALIAS")
    assert keys_left("default") == ALL_KEYS


def test_an_unknown_alias_is_an_error_with_similar_names(
    clear: RunCommand, three_caches: None
) -> None:
    result = clear("--cache=default", "--cache=page")

    assert result.message == "There is no alias in CACHES 'page'. Did you mean 'pages'?"
    assert keys_left("default") == ALL_KEYS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cache=default", "--all"], "--cache and --all contradict each other"),
        (["--prefix=a", "--expired"], "--prefix and --expired cannot be combined"),
        (["--static", "--cache=default"], "--static cannot be combined"),
        (["--static", "--expired"], "--static cannot be combined"),
        (["--static", "--all"], "--static cannot be combined"),
        (["--static", "--tag=news"], "--tag, --model and --fragment are for every cache"),
        (["--prefix="], "--prefix is empty, which is every key"),
    ],
)
def test_targets_that_contradict_are_an_error(
    clear: RunCommand, three_caches: None, arguments: list[str], message: str
) -> None:
    result = clear(*arguments)

    assert message in result.message
    assert keys_left("default") == ALL_KEYS


def test_an_alias_is_cleared_and_another_in_the_same_table_is_not(
    clear: RunCommand, three_caches: None
) -> None:
    result = clear("--cache=default")

    assert keys_left("default") == set()
    assert keys_left("pages") == ALL_KEYS
    assert keys_left("memory") == ALL_KEYS
    assert "default (DatabaseCache): all of its 3 entries" in result.out
    assert "default: removed 3 entries" in result.out


@pytest.mark.parametrize(
    "typed",
    [("--cache=default", "--cache=memory", "--cache=default"), ("--cache", "default", "memory")],
)
def test_several_aliases_can_be_named(
    clear: RunCommand, three_caches: None, typed: tuple[str, ...]
) -> None:
    clear(*typed)

    assert keys_left("default") == set()
    assert keys_left("pages") == ALL_KEYS
    assert keys_left("memory") == set()


def test_all_is_every_alias(clear: RunCommand, three_caches: None) -> None:
    result = clear("--all")

    assert [keys_left(alias) for alias in ("default", "pages", "memory")] == [set()] * 3
    assert "memory: cleared" in result.out


def test_a_dry_run_says_what_would_go_and_removes_nothing(
    clear: RunCommand, three_caches: None
) -> None:
    result = clear("--all", "--dry-run")

    assert "default (DatabaseCache): all of its 3 entries" in result.out
    assert keys_left("default") == ALL_KEYS
    assert keys_left("memory") == ALL_KEYS


# --prefix


def test_a_prefix_removes_the_keys_that_begin_with_it(
    clear: RunCommand, three_caches: None
) -> None:
    result = clear("--prefix=country:", "--cache=default")

    assert keys_left("default") == {"airport:CDG"}
    assert keys_left("pages") == ALL_KEYS
    assert "default (DatabaseCache): 2 entries whose key begins with 'country:'" in result.out
    assert "default: removed 2 entries" in result.out


def test_a_prefix_alone_is_looked_for_wherever_keys_can_be_searched(
    clear: RunCommand, three_caches: None
) -> None:
    result = clear("--prefix=country:")

    assert keys_left("default") == {"airport:CDG"}
    assert keys_left("pages") == {"airport:CDG"}
    assert keys_left("memory") == ALL_KEYS
    assert "memory: left alone, its keys cannot be searched" in result.out
    assert result.error is None


def test_a_prefix_for_an_alias_that_cannot_be_searched_is_an_error(
    clear: RunCommand, three_caches: None
) -> None:
    result = clear("--prefix=country:", "--cache=default", "--cache=memory")

    assert "CACHES['memory'] cannot be cleared by prefix" in result.message
    assert keys_left("default") == ALL_KEYS


def test_a_prefix_is_not_searched_for_in_the_memory_of_the_command(
    clear: RunCommand, settings: Settings
) -> None:
    settings.CACHES = {"default": memory_cache()}

    result = clear("--prefix=country:", "--cache=default")

    assert "no other process can search" in result.message


def test_a_prefix_that_no_alias_can_search_is_an_error(
    clear: RunCommand, settings: Settings
) -> None:
    settings.CACHES = {"default": LOCMEM}

    result = clear("--prefix=country:")

    assert "No alias of CACHES can be searched by prefix" in result.message


@pytest.mark.parametrize("prefix", ["100%", "a_b", "a\\b", "a*b", "é"])
def test_no_character_of_a_prefix_is_a_wildcard(
    clear: RunCommand, three_caches: None, prefix: str
) -> None:
    cache.set_many({f"{prefix}:1": 1, "100-other": 2, "axb:1": 3, "axxb:1": 4})

    result = clear(f"--prefix={prefix}", "--cache=default")

    assert "default: removed 1 entry" in result.out
    assert cache.get("axb:1") == 3


def test_the_characters_of_a_redis_pattern_are_escaped(
    clear: RunCommand, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CACHES = {"default": PATTERNS}
    monkeypatch.setattr(PatternCache, "patterns", [])

    result = clear("--prefix=a*[b]?\\")

    assert PatternCache.patterns == ["a\\*\\[b\\]\\?\\\\*"]
    assert "default: removed 3 entries" in result.out


@pytest.mark.redis
@pytest.mark.parametrize("prefix", ["country:", "a*b", "a?b", "[ab]", "a\\b", "a^b-c"])
def test_a_prefix_removes_exactly_its_keys_from_redis(
    clear: RunCommand, settings: Settings, prefix: str
) -> None:
    settings.CACHES = {"default": redis_settings()}
    others = {"axb:1": 1, "a:1": 2, "countries": 3}
    caches["default"].set_many({f"{prefix}1": 1, f"{prefix}2": 2, **others})

    result = clear(f"--prefix={prefix}")

    left = caches["default"].get_many([f"{prefix}1", f"{prefix}2", *others])
    assert set(left) == set(others)
    assert "default: removed 2 entries" in result.out


def redis_settings() -> dict[str, Any]:
    port = server_port("redis")
    return {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": f"redis://127.0.0.1:{port}/0",
        "KEY_PREFIX": "clear_cache",
    }


# --expired


def test_expired_removes_what_has_expired_and_nothing_else(
    clear: RunCommand, three_caches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.set_many({"old:1": 1, "old:2": 2}, timeout=10)
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + 11)

    result = clear("--expired")

    assert "default: removed 2 entries" in result.out
    assert "pages: removed 0 entries" in result.out
    assert "memory: left alone, it removes its expired entries by itself" in result.out
    assert keys_left("default") == ALL_KEYS


def test_expired_for_a_cache_that_sees_to_it_itself_is_no_error(
    clear: RunCommand, settings: Settings
) -> None:
    settings.CACHES = {"default": LOCMEM}

    result = clear("--expired", "--cache=default")

    assert "default: left alone, it removes its expired entries by itself" in result.out
    assert result.error is None


# Failures


def test_an_alias_that_fails_is_reported_and_the_others_are_cleared(
    clear: RunCommand, settings: Settings
) -> None:
    settings.CACHES = {"default": LOCMEM, "broken": DOWN, "last": {**LOCMEM, "LOCATION": "last"}}
    cache.set("a", 1)
    caches["last"].set("a", 1)

    result = clear("--all")

    assert "broken: failed: ConnectionRefusedError: nobody listens on port 1" in result.err
    assert result.message == "Not cleared: 'broken'; the reasons are above."
    assert cache.get("a") is None
    assert caches["last"].get("a") is None


def test_a_backend_that_cannot_be_loaded_is_reported_and_the_others_are_cleared(
    clear: RunCommand, settings: Settings
) -> None:
    settings.CACHES = {"broken": {"BACKEND": "no.such.Cache"}, "default": LOCMEM}
    cache.set("a", 1)

    result = clear("--all")

    assert "broken: failed: InvalidCacheBackendError" in result.err
    assert "'broken'" in result.message
    assert cache.get("a") is None


def test_an_address_that_its_client_cannot_read_is_reported_and_the_others_are_cleared(
    clear: RunCommand, settings: Settings
) -> None:
    redis = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://:hun/ter2@host/1"}
    settings.CACHES = {"broken": redis, "default": LOCMEM}
    cache.set("a", 1)

    result = clear("--all")

    assert "broken: failed: ValueError: Port could not be cast" in result.err
    assert "hun" not in result.out + result.err
    assert cache.get("a") is None


def test_expired_entries_of_a_database_that_is_down_are_a_failure(
    clear: RunCommand, settings: Settings
) -> None:
    settings.CACHES = {"default": DOWN}

    result = clear("--expired")

    assert "default: failed: CacheUnavailable: the database is down" in result.err
    assert "Not cleared: 'default'" in result.message


# Output


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (LOCMEM, "the memory of this command only; running servers keep theirs"),
        ({"BACKEND": "django.core.cache.backends.dummy.DummyCache"}, "nothing; it never holds"),
        (
            {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "LOCATION": "redis://user:secret@127.0.0.1:6379/3?password=secret",
            },
            "the whole Redis database at redis://***@127.0.0.1:6379/3?password=***, also the keys",
        ),
        (
            {
                "BACKEND": "django_redis.cache.RedisCache",
                "LOCATION": ["redis://:secret@127.0.0.1:6379/3", "redis://127.0.0.1:6380/3"],
            },
            "at redis://***@127.0.0.1:6379/3, redis://127.0.0.1:6380/3, also the keys",
        ),
        (
            {
                "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
                "LOCATION": "127.0.0.1:11211",
            },
            "the whole memcached server at 127.0.0.1:11211",
        ),
        (
            {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "old_cache"},
            "every row of table old_cache",
        ),
    ],
)
def test_it_says_what_clear_reaches_and_hides_passwords(
    clear: RunCommand, settings: Settings, config: dict[str, Any], words: str
) -> None:
    settings.CACHES = {"default": config}

    result = clear("--all", "--dry-run")

    assert words in result.out
    assert "secret" not in result.out + result.err


def test_it_warns_where_sessions_live_in_the_cache(clear: RunCommand, settings: Settings) -> None:
    settings.CACHES = {"default": LOCMEM, "other": {**LOCMEM, "LOCATION": "other"}}
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"
    settings.SESSION_CACHE_ALIAS = "other"

    result = clear("--all", "--dry-run")

    assert result.out.count("sessions are kept in it: users may be logged out") == 1


@pytest.mark.parametrize("part", ["--prefix=a", "--expired"])
def test_it_does_not_warn_of_sessions_where_only_a_part_goes(
    clear: RunCommand, settings: Settings, part: str
) -> None:
    settings.CACHES = {"default": database_cache("default")}
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"

    result = clear("--all", part, "--dry-run")

    assert result.error is None
    assert "logged out" not in result.out


def test_it_warns_of_sessions_in_a_layer_too(clear: RunCommand, settings: Settings) -> None:
    settings.CACHES = {
        "default": layered_cache("memory", "table"),
        "memory": memory_cache(),
        "table": database_cache("sqlite_cache"),
    }
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"

    of_table, of_memory = clear("--cache=table", "--dry-run"), clear("--cache=memory", "--dry-run")

    assert "sessions are kept in it: users may be logged out" in of_table.out
    assert "sessions" not in of_memory.out


def test_it_names_the_aliases_that_are_emptied_with_it(
    clear: RunCommand, settings: Settings
) -> None:
    settings.CACHES = {"default": LOCMEM, "twin": LOCMEM}

    result = clear("--cache=default", "--dry-run")

    assert "CACHES['twin'] has the same LOCATION and may be emptied with it" in result.out


def test_aliases_without_a_location_are_not_taken_for_one_cache(
    clear: RunCommand, settings: Settings
) -> None:
    dummy = {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}
    settings.CACHES = {"default": dummy, "other": dummy}

    result = clear("--cache=default", "--dry-run")

    assert "Note" not in result.out


def test_where_there_is_nothing_to_remove_it_says_so_and_asks_nothing(
    run: RunCommand, settings: Settings
) -> None:
    settings.CACHES = {"default": LOCMEM}

    result = run("clear_cache", "--expired")

    assert result.error is None
    assert result.out.splitlines()[-1] == "  nothing"


# prune_cache


@pytest.fixture
def one_database(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A site with one database, which also has its only cache."""
    settings.CACHES = {"default": database_cache("default")}
    monkeypatch.setattr(prune_cache, "connections", {"default": connection})


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("table", "failure"),
    [
        ("cachelayers_entry", "default: its entries were not pruned: "),
        ("cachelayers_timing", "default: its statistics were not pruned: "),
        ("cachelayers_logstate", "default: its log was not pruned: "),
    ],
)
def test_what_cannot_be_pruned_is_a_failure_and_the_rest_is_pruned(
    run: RunCommand, one_database: None, table: str, failure: str
) -> None:
    everything = ["rows of the log", "expired entries", "rows of statistics"]
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO away")
        try:
            result = run("prune_cache")
        finally:
            cursor.execute(f"ALTER TABLE away RENAME TO {table}")

    assert result.message.startswith(failure)
    assert "\n" not in result.message
    assert len([words for words in everything if words in result.out]) == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("table", ["cachelayers_invalidation", "cachelayers_statistics"])
def test_what_there_is_not_in_a_database_is_not_pruned_there(
    run: RunCommand, one_database: None, table: str
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO away")
        try:
            result = run("prune_cache")
        finally:
            cursor.execute(f"ALTER TABLE away RENAME TO {table}")

    assert result.error is None
    assert "default: 0 expired entries" in result.out
