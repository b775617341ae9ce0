"""Time limits, rates and shards."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.core.cache import cache

from cachelayers import warmer
from cachelayers.management.warm_options import read_time_limit
from cachelayers.warming import Target, plan
from cachelayers.warming.items import TookTooLong
from cachelayers.warming.run import Pace
from tests.commands.runs import RunCommand
from tests.commands.small_site.records import Records

pytestmark = pytest.mark.usefixtures("no_warmers", "small_site")
GIVEN_UP = "did not end within 0.2 s, and was given up (--time-limit)"


def register(*things: Any) -> None:
    @warmer("things")
    def some() -> Iterable[Any]:
        yield from things


# --time-limit


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("threads", ["1", "2"])
def test_an_item_that_hangs_is_given_up_and_the_rest_is_warmed(
    run: RunCommand, small_site: Records, threads: str
) -> None:
    register(partial(small_site.hanging.wait, 30), "/hangs/", partial(cache.set, "rest", "warm"))

    result = run("warm_cache", "--time-limit=0.2", f"--concurrency={threads}")

    assert result.err.count(GIVEN_UP) == 2
    assert f"failed: /hangs/: {GIVEN_UP}" in result.err
    assert "1 warmed, 0 already warm, 2 failed" in result.out
    assert cache.get("rest") == "warm"


@pytest.mark.django_db(transaction=True)
def test_what_hangs_is_left_behind_where_no_signal_can_end_it(
    run: RunCommand, small_site: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "CAN_INTERRUPT", False)
    register(partial(small_site.hanging.wait, 30), partial(cache.set, "rest", "warm"))

    result = run("warm_cache", "--time-limit=200ms")

    assert GIVEN_UP in result.err
    assert cache.get("rest") == "warm"
    small_site.hanging.set()
    wait_for_end_of_threads()


def wait_for_end_of_threads() -> None:
    deadline = time.monotonic() + 30
    while any(each.name.startswith("warm_cache") for each in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_was_left_behind_is_not_counted_again_when_it_ends(
    run: RunCommand, small_site: Records, monkeypatch: pytest.MonkeyPatch, transactional_db: None
) -> None:
    def end_the_first() -> None:
        small_site.hanging.set()
        assert first_ended.wait(30)

    def hang() -> None:
        small_site.hanging.wait(30)
        first_ended.set()

    first_ended = threading.Event()
    monkeypatch.setattr(plan, "CAN_INTERRUPT", False)
    register(hang, end_the_first)

    result = run("warm_cache", "--time-limit=0.5")

    assert "1 warmed, 0 already warm, 1 failed" in result.out
    wait_for_end_of_threads()


def test_a_warmer_that_hangs_is_given_up_and_the_others_run(
    run: RunCommand, small_site: Records
) -> None:
    @warmer("hangs")
    def hangs() -> Iterable[str]:
        yield "/page/1/"
        small_site.hanging.wait(30)

    register("/page/2/")

    result = run("warm_cache", "--time-limit=0.2")

    assert f"failed: warmer 'hangs': {GIVEN_UP}" in result.err
    assert small_site.paths == ["/page/1/", "/page/2/"]


def test_a_sitemap_that_hangs_is_given_up(run: RunCommand, small_site: Records) -> None:
    result = run("warm_cache", "--sitemap=/hangs/", "--time-limit=0.2")

    assert f"failed: sitemap /hangs/: {GIVEN_UP}" in result.err


def test_a_view_cannot_take_its_time_limit_for_an_error_of_its_own(
    run: RunCommand, small_site: Records
) -> None:
    def stubborn() -> None:
        try:
            small_site.hanging.wait(30)
        except Exception:  # noqa: BLE001
            small_site.hanging.wait(30)

    register(stubborn)

    result = run("warm_cache", "--time-limit=0.2")

    assert GIVEN_UP in result.err


def test_a_warmer_that_never_stops_yielding_is_cut_off(
    run: RunCommand, small_site: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "MOST_THINGS", 3)

    @warmer("endless")
    def endless() -> Iterable[str]:
        while True:
            yield "/page/1/"

    result = run("warm_cache")

    assert "failed: warmer 'endless': yields more than 3; the rest is left out" in result.err
    assert small_site.paths == ["/page/1/"]


def test_the_alarm_of_a_time_limit_is_gone_afterwards() -> None:
    others = signal.setitimer(signal.ITIMER_REAL, 0)  # of the test runner
    try:
        with plan.time_limit(60):
            during, _ = signal.getitimer(signal.ITIMER_REAL)
        after, _ = signal.getitimer(signal.ITIMER_REAL)
    finally:
        signal.setitimer(signal.ITIMER_REAL, *others)

    assert during > 50
    assert after == 0


def test_the_alarm_of_somebody_else_is_neither_lost_nor_put_off() -> None:
    rung: list[float] = []
    began = time.monotonic()
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(time.monotonic() - began))
    others = signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with plan.time_limit(60):
            pass
        with plan.time_limit(0.1), suppress(TookTooLong):
            pass
        while not rung:
            assert time.monotonic() - began < 30
            time.sleep(0.01)
    finally:
        signal.setitimer(signal.ITIMER_REAL, *others)
        signal.signal(signal.SIGALRM, before)

    assert 0.29 <= rung[0] < 10


def test_the_alarm_of_somebody_else_that_comes_earlier_is_left_alone() -> None:
    rung: list[bool] = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(True))
    others = signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with plan.time_limit(30):
            wait_for(rung)
    finally:
        signal.setitimer(signal.ITIMER_REAL, *others)
        signal.signal(signal.SIGALRM, before)


def test_the_alarm_of_somebody_else_that_comes_later_comes_no_later_than_it_would() -> None:
    others = signal.setitimer(signal.ITIMER_REAL, 100)
    try:
        with plan.time_limit(30):
            time.sleep(0.05)
        left, _ = signal.getitimer(signal.ITIMER_REAL)
    finally:
        signal.setitimer(signal.ITIMER_REAL, *others)

    assert 50 < left <= 99.96


def test_a_run_in_another_thread_than_the_first_has_no_alarm() -> None:
    """Like the workers of some task queues."""
    done: list[bool] = []

    def work() -> None:
        with plan.time_limit(30):
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert done == [True]


def wait_for(rung: list[bool]) -> None:
    deadline = time.monotonic() + 20
    while not rung:
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("text", ["-1", "soon", "inf", "nan", "1h1h"])
def test_a_time_limit_that_is_none_is_an_error(run: RunCommand, text: str) -> None:
    typed = run("warm_cache", f"--time-limit={text}")
    called = run("warm_cache", time_limit=text)

    assert "is no number of seconds; 0 is no limit" in typed.message
    assert "is no number of seconds; 0 is no limit" in called.message


@pytest.mark.parametrize("given", ["200ms", "0.2", 0.2, timedelta(milliseconds=200)])
def test_a_time_limit_is_a_duration(given: Any) -> None:
    options = {"time_limit": given}

    read_time_limit(options)

    assert options == {"time_limit": 0.2}


# --rate


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("threads", ["1", "3"])
def test_no_more_items_begin_than_the_rate_allows(run: RunCommand, threads: str) -> None:
    began: list[float] = []
    register(*[lambda: began.append(time.monotonic()) for _ in range(6)])

    run("warm_cache", "--rate=50", f"--concurrency={threads}")

    assert len(began) == 6
    assert 5 / 50 * 0.99 <= max(began) - min(began) < 3


def test_a_pause_ends_when_the_run_is_stopped() -> None:
    pace, stopped = Pace(0.001), threading.Event()
    pace.wait(stopped)
    stopped.set()

    began = time.monotonic()
    pace.wait(stopped)

    assert time.monotonic() - began < 10


@pytest.mark.parametrize("text", ["0", "-1", "fast", "inf", "nan"])
def test_a_rate_that_is_none_is_an_error(run: RunCommand, text: str) -> None:
    result = run("warm_cache", f"--rate={text}")

    assert "is no number above 0 of items a second" in result.message


# --shard


def test_the_shards_together_warm_everything_once(run: RunCommand, small_site: Records) -> None:
    targets = [Target(key=f"key:{number}", compute=lambda: 1) for number in range(10)]
    register(*(f"/page/{number}/" for number in range(20)), *targets, *[put_one] * 10)

    results = [run("warm_cache", "-v2", f"--shard={number}/3") for number in (1, 2, 3)]

    paths = [f"/page/{number}/" for number in range(20)]
    assert sorted(small_site.paths) == sorted(paths)
    counts = [one.out.count("warmed: ") for one in results]
    assert sum(counts) == 40
    assert min(counts) > 0


def put_one() -> None:
    cache.set("one", 1)


def test_a_shard_does_not_change_when_other_items_come_and_go(
    run: RunCommand, small_site: Records
) -> None:
    register("/page/1/", "/page/2/", "/page/3/")
    run("warm_cache", "--shard=1/2")
    first = set(small_site.paths)
    small_site.requests.clear()

    @warmer("before")
    def before() -> Iterable[str]:
        return ["/page/4/", "/page/3/"]

    run("warm_cache", "before", "things", "--shard=1/2")

    assert set(small_site.paths) - {"/page/4/"} == first


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/", "/3", "a/b", "1/0", "1/1001", "-1/3"])
def test_a_shard_that_is_none_is_an_error(run: RunCommand, text: str) -> None:
    result = run("warm_cache", f"--shard={text}")

    assert "is no shard such as 1/3" in result.message
