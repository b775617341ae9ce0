"""The commands in a process of their own, with and without a terminal."""

import re

import pytest
from django.core.cache import BaseCache

from tests.commands.runs import CTRL_C, CTRL_D, OpenTerminal, run_without_terminal

# warm_cache


def test_a_terminal_shows_a_bar_with_count_rate_and_time_left(open_terminal: OpenTerminal) -> None:
    terminal = open_terminal("warm_cache", "squares")

    exit_code = terminal.wait()

    assert exit_code == 0
    assert re.search(r"\[#{24}\] 10/10  100%  [\d.,]+/s  0 s left\r?\n", terminal.screen)
    assert "10 warmed, 0 already warm, 0 failed" in terminal.screen


def test_the_bar_moves_while_items_are_warmed(open_terminal: OpenTerminal) -> None:
    terminal = open_terminal("warm_cache", "slow squares")

    screen = terminal.read_until("/1,000    2%")

    assert re.search(r"\[\.{24}\] 0/1,000    0%  starting", screen)
    assert re.search(r"/s  \d+ s left", screen)


@pytest.mark.usefixtures("own_caches")
def test_without_a_terminal_there_are_plain_lines_only() -> None:
    result = run_without_terminal("warm_cache", "squares")

    assert result.returncode == 0
    assert result.stderr == ""
    first, last = result.stdout.splitlines()
    assert first == "Warming 10 items."
    assert re.fullmatch(r"10 warmed, 0 already warm, 0 failed, in \d+\.\d s\.", last)


def test_what_is_warmed_is_there_for_other_processes(own_caches: BaseCache) -> None:
    run_without_terminal("warm_cache", "squares", "front page", "--concurrency=2")

    assert own_caches.get("square:9") == 81
    assert own_caches.get("page:0") == "This is page 0."


@pytest.mark.usefixtures("own_caches")
def test_the_exit_code_tells_of_failures_if_it_is_asked_to() -> None:
    lenient = run_without_terminal("warm_cache", "--urls=-", stdin="/broken/\n/page/1/\n")
    strict = run_without_terminal(
        "warm_cache", "--urls=-", "--fail-on-error", stdin="/broken/\n/page/1/\n"
    )

    assert lenient.returncode == 0
    assert strict.returncode == 1
    for result in (lenient, strict):
        assert "failed: /broken/: answered 500: ValueError: no such country: XX" in result.stderr
        assert "1 warmed, 0 already warm, 1 failed" in result.stdout


@pytest.mark.parametrize("threads", ["1", "4"])
def test_ctrl_c_ends_the_run_with_a_summary_and_keeps_what_is_warm(
    open_terminal: OpenTerminal, own_caches: BaseCache, threads: str
) -> None:
    terminal = open_terminal("warm_cache", "slow squares", f"--concurrency={threads}", "-v2")
    terminal.read_until("warmed: default: square:5\r\n")

    terminal.press_ctrl_c()
    exit_code = terminal.wait()

    assert exit_code == 130
    assert "Interrupted." in terminal.screen
    assert "Traceback" not in terminal.screen
    counted = re.search(r"(\d+) warmed, 0 already warm, 0 failed", terminal.screen)
    assert counted is not None
    stored = own_caches.get_many([f"square:{number}" for number in range(1000)])
    # With one thread, the current value may have been stored just before Ctrl-C.
    assert 0 <= len(stored) - int(counted[1]) <= 1


@pytest.mark.parametrize("threads", ["1", "2"])
def test_ctrl_c_ends_a_run_in_which_an_item_hangs(
    open_terminal: OpenTerminal, own_caches: BaseCache, threads: str
) -> None:
    terminal = open_terminal("warm_cache", "one that hangs", f"--concurrency={threads}", "-v2")
    terminal.read_until("warmed: ")

    terminal.press_ctrl_c()
    exit_code = terminal.wait()

    assert exit_code == 130
    assert "Traceback" not in terminal.screen
    assert "1 warmed" in terminal.screen
    assert own_caches.get("before") == "done"


# clear_cache


def test_clear_cache_asks_on_a_terminal_and_does_as_told(
    open_terminal: OpenTerminal, own_caches: BaseCache
) -> None:
    own_caches.set_many({"a": 1, "b": 2})
    terminal = open_terminal("clear_cache", "--cache=default")

    question = terminal.read_until("Type 'yes' to remove this: ")
    terminal.type("yes\n")
    exit_code = terminal.wait()

    assert "default (DatabaseCache): all of its 2 entries" in question
    assert "default: removed 2 entries" in terminal.screen
    assert exit_code == 0
    assert own_caches.get("a") is None


@pytest.mark.parametrize(("answer", "exit_code"), [("y\n", 1), (CTRL_D, 1), (CTRL_C, 130)])
def test_clear_cache_removes_nothing_without_a_plain_yes(
    open_terminal: OpenTerminal, own_caches: BaseCache, answer: str, exit_code: int
) -> None:
    own_caches.set("a", 1)
    terminal = open_terminal("clear_cache", "--cache=default")

    terminal.read_until("Type 'yes' to remove this: ")
    ended_with = terminal.answer(answer)

    assert ended_with == exit_code
    assert "othing was removed." in terminal.screen
    assert own_caches.get("a") == 1


def test_clear_cache_without_a_terminal_ends_at_once_and_names_the_option(
    own_caches: BaseCache,
) -> None:
    own_caches.set("a", 1)

    result = run_without_terminal("clear_cache", "--cache=default", stdin="yes\n")

    assert result.returncode == 1
    assert "there is no terminal to ask on. Add --no-input." in result.stderr
    assert own_caches.get("a") == 1


@pytest.mark.parametrize("option", ["--no-input", "--noinput"])
def test_clear_cache_does_not_ask_where_it_must_not(own_caches: BaseCache, option: str) -> None:
    own_caches.set("a", 1)

    result = run_without_terminal("clear_cache", "--cache=default", option)

    assert result.returncode == 0
    assert "default: removed 1 entry" in result.stdout
    assert own_caches.get("a") is None


def test_a_site_whose_checks_fail_can_be_cleared(own_caches: BaseCache) -> None:
    own_caches.set("a", 1)

    result = run_without_terminal(
        "clear_cache", "--all", "--no-input", SMALL_SITE_URLCONF="no.such.module"
    )

    assert result.returncode == 0
    assert own_caches.get("a") is None
