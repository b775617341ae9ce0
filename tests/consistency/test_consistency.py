"""No hit is stale, whatever happens to the processes, the store and the log."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import cast

import pytest
import redis

from tests.consistency.checker import Checker, Findings
from tests.servers import Redis

SECONDS = 2
DATABASES = ["default", pytest.param("postgres", marks=pytest.mark.postgres)]
STORES = {"default": "sqlite", "postgres": "postgres", "mariadb": "mariadb"}


def expect_nothing_stale(run: Callable[[float], Findings]) -> Findings:
    """Run it; run it again and longer on a busy machine, until there are hits enough."""
    findings = Findings()
    for seconds in (SECONDS, 3 * SECONDS, 12 * SECONDS):
        findings.include(run(seconds))
        assert findings.stale == []
        assert findings.unseen == []
        if findings.hits > 20 and findings.writes > 5:
            break
    assert findings.hits > 20
    assert findings.writes > 5
    return findings


@pytest.mark.parametrize("database", DATABASES)
def test_no_hit_is_stale_while_others_write(database: str) -> None:
    expect_nothing_stale(lambda seconds: Checker(database, STORES[database], seconds).run()())


@pytest.mark.parametrize("database", DATABASES)
def test_no_hit_is_stale_in_several_layers_without_a_bus(database: str) -> None:
    expect_nothing_stale(lambda seconds: Checker(database, "layers", seconds).run()())


@pytest.mark.parametrize("database", DATABASES)
def test_the_checker_finds_a_position_taken_too_late(database: str) -> None:
    for turns in (1, 2, 4, 8):  # a write in between is a matter of chance
        findings = Checker(
            database, STORES[database], turns * SECONDS, rule="late", pause=0.05
        ).run(writers=4)()
        if findings.stale:
            break

    assert findings.stale


@pytest.mark.mariadb
def test_no_hit_is_stale_on_mariadb_where_transactions_are_short() -> None:
    expect_nothing_stale(
        lambda seconds: Checker("mariadb", "mariadb", 2 * seconds, pause=1.5).run()()
    )


@pytest.mark.parametrize("database", DATABASES)
def test_no_hit_is_stale_while_processes_are_killed(database: str) -> None:
    def run(seconds: float) -> Findings:
        checker = Checker(database, STORES[database], 1.5 * seconds)
        finish = checker.run(readers=3)
        chance = random.Random()
        for _ in range(6):
            time.sleep(seconds / 5)  # lifetime of each process: it is the time under test
            checker.kill_one(chance)
        return finish()

    findings = expect_nothing_stale(run)

    assert findings.killed >= 6


@pytest.mark.parametrize("database", DATABASES)
def test_no_hit_is_stale_while_the_log_is_pruned(database: str) -> None:
    findings = expect_nothing_stale(
        lambda seconds: Checker(database, STORES[database], seconds).run(others=("prune",))()
    )

    assert findings.pruned > 5


@pytest.mark.parametrize("database", DATABASES)
def test_no_hit_is_stale_while_the_log_is_moved(database: str) -> None:
    findings = expect_nothing_stale(
        lambda seconds: Checker(database, STORES[database], seconds).run(others=("move",))()
    )

    assert findings.moved


@pytest.mark.parametrize("database", DATABASES)
def test_no_hit_is_stale_across_a_fork(database: str) -> None:
    expect_nothing_stale(
        lambda seconds: Checker(database, STORES[database], seconds).run(
            readers=0, others=("fork",) * 2
        )()
    )


@pytest.mark.redis
@pytest.mark.parametrize(
    ("database", "store"),
    [("default", "redis"), pytest.param("postgres", "layers", marks=pytest.mark.postgres)],
)
def test_no_hit_is_stale_while_redis_stops_and_starts_and_evicts(
    database: str, store: str, redis_server: Redis
) -> None:
    def run(seconds: float) -> Findings:
        limit_memory(redis_server)
        finish = Checker(database, store, 2 * seconds, redis=f"{redis_server.url}/0").run()
        for _ in range(2):
            time.sleep(seconds / 2)  # processes read and write meanwhile
            redis_server.stop()
            redis_server.start()
            limit_memory(redis_server)
        return finish()

    expect_nothing_stale(run)


def limit_memory(server: Redis) -> None:
    """Let Redis evict entries: its own data take most of the allowed memory."""
    client = redis.Redis(host="127.0.0.1", port=server.port)
    used = cast(dict[str, int], client.info("memory"))["used_memory"]
    client.config_set("maxmemory", used + 60_000)
    client.config_set("maxmemory-policy", "allkeys-random")
    client.close()


@pytest.mark.postgres
def test_the_checker_finds_ids_taken_for_positions() -> None:
    for turns in (1, 2, 4, 8, 16):  # commits out of order are a matter of chance
        findings = Checker("postgres", "postgres", turns * SECONDS, rule="ids", pause=0.02).run(
            readers=3, writers=4
        )()
        if findings.stale:
            break

    assert findings.stale
