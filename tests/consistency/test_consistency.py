"""No hit is stale, whatever happens to the processes, the store and the log meanwhile."""

from __future__ import annotations

import random
import time
from typing import cast

import pytest
import redis

from tests.consistency.checker import Checker, Findings
from tests.servers import Redis

SECONDS = 4
DATABASES = ["default", pytest.param("postgres", marks=pytest.mark.postgres)]
STORES = {"default": "sqlite", "postgres": "postgres", "mariadb": "mariadb"}


def expect_nothing_stale(findings: Findings) -> None:
    assert findings.stale == []
    assert findings.unseen == []
    assert findings.writes > 5
    assert findings.hits > 20
    assert findings.hit_rate > 0.1


@pytest.mark.parametrize("database", DATABASES)
def test_no_hit_is_stale_while_others_write(database: str) -> None:
    findings = Checker(database, STORES[database], SECONDS).run()()

    expect_nothing_stale(findings)


@pytest.mark.parametrize("database", DATABASES)
def test_the_checker_finds_a_position_taken_too_late(database: str) -> None:
    findings = Checker(database, STORES[database], 2 * SECONDS, rule="late", pause=0.05).run(
        writers=4
    )()

    assert findings.stale


@pytest.mark.mariadb
def test_no_hit_is_stale_on_mariadb_where_transactions_are_short() -> None:
    findings = Checker("mariadb", "mariadb", 2 * SECONDS, pause=2).run()()

    assert findings.stale == []
    assert findings.unseen == []
    assert findings.hits > 20


@pytest.mark.parametrize("database", DATABASES)
def test_no_hit_is_stale_while_processes_are_killed(database: str) -> None:
    checker = Checker(database, STORES[database], 2 * SECONDS)
    finish = checker.run(readers=3)
    chance = random.Random()

    for _ in range(6):
        time.sleep(0.8)  # for so long each one lives: it is the time under test, not a wait
        checker.kill_one(chance)
    findings = finish()

    assert findings.killed == 6
    assert findings.stale == []
    assert findings.unseen == []
    assert findings.hits > 20


@pytest.mark.parametrize("database", DATABASES)
def test_no_hit_is_stale_while_the_log_is_pruned(database: str) -> None:
    findings = Checker(database, STORES[database], SECONDS).run(others=("prune",))()

    expect_nothing_stale(findings)
    assert findings.pruned > 10


@pytest.mark.parametrize("database", DATABASES)
def test_no_hit_is_stale_across_a_fork(database: str) -> None:
    findings = Checker(database, STORES[database], SECONDS).run(readers=0, others=("fork",) * 2)()

    expect_nothing_stale(findings)


@pytest.mark.redis
@pytest.mark.parametrize("database", DATABASES)
def test_no_hit_is_stale_while_redis_stops_and_starts_and_evicts(
    database: str, redis_server: Redis
) -> None:
    limit_memory(redis_server)
    finish = Checker(database, "redis", 2 * SECONDS, redis=f"{redis_server.url}/0").run()

    for _ in range(2):
        time.sleep(2)  # processes read and write meanwhile
        redis_server.stop()
        redis_server.start()
        limit_memory(redis_server)
    findings = finish()

    assert findings.stale == []
    assert findings.unseen == []
    assert findings.hits > 20  # how many of the recalls is a matter of what Redis throws away


def limit_memory(server: Redis) -> None:
    """Have Redis throw entries away: its own data take most of what it may use."""
    client = redis.Redis(host="127.0.0.1", port=server.port)
    used = cast(dict[str, int], client.info("memory"))["used_memory"]
    client.config_set("maxmemory", used + 60_000)
    client.config_set("maxmemory-policy", "allkeys-random")
    client.close()


@pytest.mark.postgres
def test_the_checker_finds_ids_taken_for_positions() -> None:
    for _ in range(3):  # commits out of order are a matter of luck
        findings = Checker("postgres", "postgres", 2 * SECONDS, rule="ids", pause=0.02).run(
            readers=3, writers=4
        )()
        if findings.stale:
            break

    assert findings.stale
