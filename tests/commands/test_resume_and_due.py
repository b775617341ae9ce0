"""Runs that resume after an interruption, and runs that are due."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from django.db import connection

from cachelayers import warmer
from cachelayers.models import WarmerRun
from cachelayers.warming import runs
from cachelayers.warming.items import Outcome, State
from cachelayers.warming.runs import RunState, claim, warmer_source, warmers_with_runs
from tests.commands.recorded import Stop, dead_process, register, run_of, wind_back
from tests.commands.runs import RunCommand
from tests.commands.small_site.records import Records

pytestmark = pytest.mark.usefixtures("no_warmers", "small_site")


# Resuming


def test_an_interrupted_run_goes_on_without_what_it_has_warmed(
    run: RunCommand, small_site: Records
) -> None:
    pages = [f"/page/{number}/" for number in (1, 2, 3, 4)]
    register("pages", *pages[:2], "/broken/", Stop(), *pages[2:])
    interrupted = run("warm_cache")
    state = run_of("pages").state
    small_site.requests.clear()

    result = run("warm_cache", "--resume")

    assert interrupted.message == "Interrupted."
    assert state is RunState.INTERRUPTED
    assert small_site.paths == ["/page/3/", "/page/4/"]
    assert "Warming 4 items; 2 were done before." in result.out
    # Failed items are tried again.
    assert "3 warmed, 0 already warm, 1 failed" in result.out
    assert run_of("pages").state is RunState.FINISHED


def test_sources_that_an_interrupted_run_had_not_reached_are_resumed_and_others_not(
    run: RunCommand, small_site: Records
) -> None:
    register("before", "/page/1/")
    register("stops", Stop())
    register("after", "/page/2/")
    run("warm_cache")
    small_site.requests.clear()

    run("warm_cache", "--resume")

    assert small_site.paths == ["/page/2/"]


def test_a_run_that_was_interrupted_while_it_planned_is_resumed(
    run: RunCommand, small_site: Records
) -> None:

    stop = Stop()

    @warmer("stops")
    def some() -> Iterable[str]:
        stop()
        return ["/page/1/"]

    register("after", "/page/2/")
    run("warm_cache")

    run("warm_cache", "--resume")

    assert small_site.paths == ["/page/1/", "/page/2/"]


def test_a_run_that_was_lost_is_resumed_from_what_it_wrote_last(
    run: RunCommand, small_site: Records
) -> None:
    register("pages", "/page/1/", "/page/2/")
    record = claim(warmer_source("pages"), time_limit=60)
    record.count(Outcome(label="", state=State.WARMED), "page http://www.example.com/page/1/ ")
    record.end(RunState.RUNNING)
    WarmerRun.objects.update(process=dead_process(), alive_until=2**50)

    run("warm_cache", "--resume")

    assert small_site.paths == ["/page/2/"]


def test_what_was_warmed_is_written_now_and_then_for_the_case_that_the_process_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runs, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(runs, "MOST_SHARE_OF_SAVING", float("inf"))
    record = claim(warmer_source("pages"), time_limit=60)
    record.planned(9, seconds=0)

    record.count(Outcome(label="", state=State.WARMED), "page 1")
    record.count(Outcome(label="", state=State.FAILED), "page 2")
    record.count(Outcome(label="", state=State.ALREADY_WARM), "page 3")

    row = WarmerRun.objects.get()
    assert set(runs.unpack(bytes(row.done or b""))) == {
        runs.number_of("page 1"),
        runs.number_of("page 3"),
    }


def test_resuming_where_nothing_was_interrupted_says_so(
    run: RunCommand, small_site: Records
) -> None:
    register("pages", "/page/1/")
    run("warm_cache")

    result = run("warm_cache", "--resume")

    assert result.out == "Nothing was interrupted.\n"
    assert small_site.paths == ["/page/1/"]


def test_a_run_that_is_not_resumed_begins_at_its_begin(
    run: RunCommand, small_site: Records
) -> None:
    register("pages", "/page/1/", Stop())
    run("warm_cache")
    small_site.requests.clear()

    run("warm_cache")

    assert small_site.paths == ["/page/1/"]


# --due


def test_a_warmer_is_due_when_its_last_run_is_as_old_as_it_says(
    run: RunCommand, small_site: Records
) -> None:
    register("hourly", "/page/1/", every=3600)
    register("when asked", "/page/2/")

    first = run("warm_cache", "--due")
    second = run("warm_cache", "--due")
    wind_back("hourly", 1800)
    third = run("warm_cache", "--due")
    wind_back("hourly", 1800)
    fourth = run("warm_cache", "--due")

    assert "1 warmed" in first.out
    assert second.out == third.out == "Nothing is due.\n"
    assert "1 warmed" in fourth.out
    assert small_site.paths == ["/page/1/", "/page/1/"]


@pytest.mark.parametrize(("every", "early"), [(60, 2.9), (3600, 29), (86400, 29)])
def test_cron_may_come_a_moment_early(run: RunCommand, every: float, early: float) -> None:
    register("regular", "/page/1/", every=every)
    run("warm_cache", "--due")

    wind_back("regular", every - early)

    assert [one.is_due() for one in warmers_with_runs()] == [True]
    wind_back("regular", -early)
    assert [one.is_due() for one in warmers_with_runs()] == [False]


def test_a_warmer_that_is_running_is_not_due_and_one_that_was_interrupted_is(
    run: RunCommand,
) -> None:
    register("running", "/page/1/", every=1)
    register("stops", Stop(), every=3600)
    run("warm_cache", "stops")
    claim(warmer_source("running"), time_limit=60)
    wind_back("running", 10)

    due = {one.warmer.name: one.is_due() for one in warmers_with_runs()}

    assert due == {"running": False, "stops": True}


def test_a_warmer_without_every_is_never_due_and_to_ask_for_it_is_an_error(
    run: RunCommand,
) -> None:
    register("when asked", "/page/1/")

    result = run("warm_cache", "--due", "when asked")

    assert result.message.startswith("The warmer 'when asked' is never due")
    assert warmers_with_runs()[0].due_at is None
    assert run("warm_cache", "--due").out == "Nothing is due.\n"


def test_a_warmer_that_is_named_is_run_when_it_is_due_in_its_shard(
    run: RunCommand, small_site: Records
) -> None:
    @warmer("hourly", every=3600)
    def hourly() -> Iterable[str]:
        return ["/page/1/"]

    first, second = (run("warm_cache", "--due", "hourly", "--shard=1/1") for _ in range(2))
    other = run("warm_cache", "--due", "hourly", "--shard=1/2")

    assert "1 warmed" in first.out
    assert second.out == "Nothing is due.\n"
    assert other.out != second.out
    assert small_site.paths[0] == "/page/1/"


def test_what_never_ran_is_not_resumed(run: RunCommand, small_site: Records) -> None:
    register("pages", "/page/1/")

    result = run("warm_cache", "--resume")

    assert result.error is None
    assert small_site.paths == []


@pytest.mark.parametrize("option", ["--due", "--resume"])
def test_where_nothing_is_known_of_runs_it_says_how_to_know(run: RunCommand, option: str) -> None:
    register("pages", "/page/1/")
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {WarmerRun._meta.db_table} RENAME TO away")
        try:
            result = run("warm_cache", option)
        finally:
            cursor.execute(f"ALTER TABLE away RENAME TO {WarmerRun._meta.db_table}")

    assert "run manage.py migrate" in result.message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--due", "--sitemap=/sitemap.xml"], "--due is for warmers"),
        (["--due", "--resume"], "Leave out one of the two"),
        (["--enqueue", "--static"], "--enqueue is for warmers"),
        (["--enqueue", "--dry-run"], "--enqueue is for warmers"),
        (["--enqueue", "--resume"], "--enqueue is for warmers"),
    ],
)
def test_options_that_contradict_each_other_are_an_error(
    run: RunCommand, arguments: list[str], message: str
) -> None:
    assert message in run("warm_cache", *arguments).message
