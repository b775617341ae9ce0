"""Other processes read a write at their next unit of work, whatever fails."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import redis

from cachelayers.backends.layered.options import WITHOUT_BUS_SECONDS
from cachelayers.backends.layered.state import EPOCH_SECONDS
from tests import environment
from tests.coherence import stacks
from tests.coherence.crowd import Findings, run_crowd
from tests.coherence.stacks import Stack
from tests.servers import Memcached, Redis

pytestmark = pytest.mark.usefixtures("django_db_setup")

SECONDS = 1.6
# While a layer fails and recovers: the interval at which processes read the record of epochs.
BOUND_SECONDS = EPOCH_SECONDS + 0.5
PAUSED_SECONDS = 5.0


def expect_work(findings: Findings) -> None:
    assert findings.errors == []
    assert findings.hits > 200
    assert findings.writes > 20


def expect_coherent(findings: Findings) -> None:
    expect_work(findings)
    assert findings.late == 0


def expect_bounded(findings: Findings, seconds: float = BOUND_SECONDS) -> None:
    expect_work(findings)
    assert findings.worst <= seconds, findings


def test_processes_read_writes_through_the_log() -> None:
    expect_coherent(run_crowd(stacks.memory_table(), SECONDS))


@pytest.mark.postgres
def test_processes_read_writes_through_the_log_in_front_of_a_server() -> None:
    expect_coherent(run_crowd(stacks.memory_table("postgres"), SECONDS))


def test_processes_read_writes_within_seconds_without_a_bus() -> None:
    findings = run_crowd(stacks.memory_table(bus=None), 1.3 * WITHOUT_BUS_SECONDS)

    expect_bounded(findings, WITHOUT_BUS_SECONDS + 0.5)
    assert findings.late > 0


def test_processes_read_writes_through_a_stream(redis_server: Redis) -> None:
    expect_coherent(run_crowd(stacks.memory_redis_table(redis_server.url), SECONDS))


def test_processes_read_writes_in_front_of_memcached(
    redis_server: Redis, memcached_server: Memcached
) -> None:
    stack = stacks.memory_memcached(memcached_server.address, redis_server.url)

    expect_coherent(run_crowd(stack, SECONDS))


def test_a_stream_that_is_trimmed_loses_nothing(redis_server: Redis) -> None:
    def trim() -> None:
        client = redis.Redis(host="127.0.0.1", port=redis_server.port)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for key in client.keys("*:bus"):
                client.xtrim(key, maxlen=0)
            time.sleep(0.05)  # between two trims: it is the time under test
        client.close()

    expect_coherent(run_crowd(stacks.memory_redis(redis_server.url), SECONDS, trim))


@pytest.mark.parametrize(
    ("make", "keeps"),
    [(stacks.memory_redis_table, True), (stacks.memory_redis, False)],
    ids=["with its data", "empty"],
)
def test_a_redis_that_is_killed_and_restarted(
    redis_server: Redis, make: Callable[[str], Stack], keeps: bool
) -> None:
    def kill_and_start() -> None:
        for _ in range(2):
            time.sleep(SECONDS / 4)  # the processes work meanwhile, before and after
            redis_server.kill()
            if not keeps:
                redis_server.lose_data()
            time.sleep(SECONDS / 4)
            redis_server.start()

    expect_bounded(run_crowd(make(redis_server.url), 3 * SECONDS, kill_and_start))


def test_a_redis_that_is_paused_for_five_seconds(redis_server: Redis) -> None:
    def pause() -> None:
        time.sleep(SECONDS / 4)  # the processes work meanwhile, before and after
        redis_server.pause()
        time.sleep(PAUSED_SECONDS)
        redis_server.resume()

    stack = stacks.memory_redis_table(redis_server.url)

    findings = run_crowd(stack, PAUSED_SECONDS + 2 * SECONDS, pause)

    expect_bounded(findings)
    assert findings.slowest < PAUSED_SECONDS


def test_a_memcached_that_stops_and_starts(
    redis_server: Redis, memcached_server: Memcached
) -> None:
    def disturb() -> None:
        time.sleep(SECONDS / 4)  # the processes work meanwhile, before and after
        memcached_server.pause()
        time.sleep(SECONDS / 2)
        memcached_server.resume()
        time.sleep(SECONDS / 4)
        memcached_server.kill()
        time.sleep(SECONDS / 4)
        memcached_server.start()

    stack = stacks.memory_memcached(memcached_server.address, redis_server.url)

    expect_bounded(run_crowd(stack, 3 * SECONDS, disturb))


def test_one_of_several_memcached_servers_stops_and_starts(
    redis_server: Redis, memcached_server: Memcached
) -> None:
    with Memcached(environment.make_private_folder("memcached")) as other:

        def disturb() -> None:
            for _ in range(2):
                time.sleep(SECONDS / 4)  # the processes work meanwhile, before and after
                other.pause()  # its keys move to the first server, and later back
                time.sleep(SECONDS / 2)
                other.resume()

        addresses = [memcached_server.address, other.address]
        stack = stacks.memory_memcached(addresses, redis_server.url)

        expect_bounded(run_crowd(stack, 3 * SECONDS, disturb))
