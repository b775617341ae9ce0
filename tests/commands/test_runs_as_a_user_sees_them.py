"""Runs that are interrupted, killed or started twice, each in its own process."""

from __future__ import annotations

import json
import re
import signal

import pytest
from django.core.cache import BaseCache

from cachelayers.models import WarmerRun
from cachelayers.warming.runs import RunState
from tests.commands.recorded import run_of
from tests.commands.runs import OpenTerminal, run_without_terminal

# Every item is a line, and is recorded before it is shown.
SLOW = ("warm_cache", "slow squares", "-v2")


@pytest.mark.django_db(transaction=True)
def test_a_run_that_was_interrupted_goes_on_where_it_was(
    open_terminal: OpenTerminal, own_caches: BaseCache
) -> None:
    first = open_terminal(*SLOW)
    first.read_until("warmed: default: square:5\r\n")
    first.press_ctrl_c()
    assert first.wait() == 130
    done = run_of("slow squares").warmed

    second = open_terminal(*SLOW, "--resume")
    second.read_until("warmed: default: square:")
    second.press_ctrl_c()
    second.wait()

    assert done >= 6
    assert f"Warming {1000 - done} items; {done} were done before." in second.screen
    assert f"warmed: default: square:{done}\r\n" in second.screen
    assert "square:0\r" not in second.screen


@pytest.mark.django_db(transaction=True)
def test_a_container_that_is_stopped_ends_the_run_in_order(open_terminal: OpenTerminal) -> None:
    terminal = open_terminal(*SLOW)
    terminal.read_until("warmed: default: square:2\r\n")

    terminal.send(signal.SIGTERM)
    exit_code = terminal.wait()

    assert exit_code == 143
    assert "Interrupted." in terminal.screen
    assert "Traceback" not in terminal.screen
    assert run_of("slow squares").state is RunState.INTERRUPTED
    assert run_of("slow squares").warmed >= 3


@pytest.mark.django_db(transaction=True)
def test_a_run_that_was_killed_is_seen_to_be_lost_and_does_not_stand_in_the_way(
    open_terminal: OpenTerminal,
) -> None:
    first = open_terminal(*SLOW)
    first.read_until("warmed: default: square:2\r\n")
    running = run_of("slow squares").state
    first.send(signal.SIGKILL)
    first.wait()

    killed = run_of("slow squares").state
    second = open_terminal(*SLOW)
    second.read_until("warmed: default: square:0\r\n")

    assert running is RunState.RUNNING
    assert killed is RunState.LOST


@pytest.mark.django_db(transaction=True)
def test_the_second_of_two_at_once_is_refused_and_the_first_goes_on(
    open_terminal: OpenTerminal,
) -> None:
    first = open_terminal(*SLOW)
    first.read_until("warmed: default: square:1\r\n")

    second = run_without_terminal("warm_cache", "slow squares")
    both = run_without_terminal("warm_cache", "slow squares", "squares")

    assert second.returncode == 1
    assert "failed: warmer 'slow squares': is being run since" in second.stderr
    assert "Nothing was warmed: it is being warmed already." in second.stderr
    assert both.returncode == 0
    assert "10 warmed, 0 already warm, 1 failed" in both.stdout
    first.read_until("warmed: default: square:3\r\n")


@pytest.mark.usefixtures("own_caches")
def test_json_is_all_there_is_on_the_standard_output() -> None:
    result = run_without_terminal(
        "warm_cache", "squares", "--urls=-", "--json", stdin="/broken/\n/page/1/\n"
    )

    found = json.loads(result.stdout)
    assert found.pop("seconds") > 0
    assert found == {
        "warmed": 11,
        "already_warm": 0,
        "failed": 1,
        "left_out": 0,
        "interrupted": False,
        "failures": [
            {"label": "/broken/", "reason": "answered 500: ValueError: no such country: XX"}
        ],
    }
    assert "failed: /broken/" in result.stderr


def test_json_on_a_terminal_is_not_torn_by_a_bar(open_terminal: OpenTerminal) -> None:
    terminal = open_terminal("warm_cache", "squares", "--json")

    terminal.wait()

    assert json.loads(terminal.screen)["warmed"] == 10


@pytest.mark.usefixtures("own_caches")
def test_cron_runs_what_is_due_and_nothing_else() -> None:
    first = run_without_terminal("warm_cache", "--due")
    second = run_without_terminal("warm_cache", "--due")

    # "front page" runs every minute, "numbered pages" every hour, the others on request.
    assert "Warming 4 items." in first.stdout
    assert second.stdout == "Nothing is due.\n"
    assert second.returncode == 0


def test_a_log_says_how_far_the_run_is_and_a_terminal_how_long_it_takes(
    open_terminal: OpenTerminal,
) -> None:
    terminal = open_terminal("warm_cache", "squares", "--rate=40")

    assert terminal.wait() == 0
    assert re.search(r"\d+/10 +\d+%  [\d.]+/s  \d+ s left", terminal.screen)


@pytest.mark.django_db(transaction=True)
def test_nothing_is_left_running_by_a_run_that_has_ended(own_caches: BaseCache) -> None:
    run_without_terminal("warm_cache", "squares", "front page")

    assert {one.state for one in WarmerRun.objects.all()} == {"finished"}
