"""The records of runs; nothing runs twice at the same time, even if processes die."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.core.cache import cache

from cachelayers.management.commands.warm_cache import NO_WARMERS
from cachelayers.models import WarmerRun
from cachelayers.warming import RecallTarget, Target, runs
from cachelayers.warming.items import Outcome, State, describe_callable, recall_item
from cachelayers.warming.runs import (
    AlreadyRunning,
    Kind,
    LastRun,
    RunState,
    Source,
    claim,
    last_runs,
    warmer_source,
)
from tests.commands.recorded import dead_process, fail, register, run_of, wind_back
from tests.commands.runs import RunCommand
from tests.commands.small_site.records import Records

pytestmark = pytest.mark.usefixtures("no_warmers", "small_site")


# Records


def test_a_run_is_written_down_with_its_counts_failures_and_time(run: RunCommand) -> None:
    cache.set("there", 1)
    register("mixed", "/page/1/", fail, Target(key="there", compute=lambda: 1), "/broken/", 42)

    run("warm_cache", "--only-missing")

    [found] = last_runs()
    assert found.source == Source(kind=Kind.WARMER, name="mixed")
    assert found.state is RunState.FINISHED
    assert (found.total, found.warmed, found.already_warm, found.failed) == (5, 1, 1, 3)
    assert (found.done, found.percent, found.is_running) == (5, 100, False)
    assert [one.label for one in found.failures] == [
        "warmer 'mixed'",
        "tests.commands.recorded.fail",
        "/broken/",
    ]
    assert found.failures[1].reason == "ValueError: no such country"
    assert found.seconds is not None
    assert 0 < found.seconds < 30
    assert found.started_at is not None
    assert abs(datetime.now(UTC) - found.started_at) < timedelta(seconds=30)


def test_each_source_of_a_run_has_its_own_record(
    run: RunCommand, small_site: Records, tmp_path: Any
) -> None:
    small_site.files["sitemap.xml"] = b"<urlset><url><loc>/page/3/</loc></url></urlset>".replace(
        b"<loc>/", b"<loc>http://www.example.com/"
    )
    file = tmp_path / "urls.txt"
    file.write_text("/page/4/\n/page/1/\n")
    register("one", "/page/1/")
    register("two", "/page/2/", fail)

    run("warm_cache", "one", "two", "--sitemap=/served/sitemap.xml", f"--urls={file}")

    found = {(one.source.kind, one.source.name): (one.warmed, one.failed) for one in last_runs()}
    assert found == {
        (Kind.WARMER, "one"): (1, 0),
        (Kind.WARMER, "two"): (1, 1),
        (Kind.SITEMAP, "/served/sitemap.xml"): (1, 0),
        (Kind.URLS, str(file)): (1, 0),
    }


def test_the_table_does_not_grow_with_runs(run: RunCommand) -> None:
    register("one", "/page/1/")

    for _ in range(3):
        run("warm_cache")

    assert WarmerRun.objects.count() == 1


def test_progress_is_written_while_it_runs(
    run: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(runs, "MOST_SHARE_OF_SAVING", float("inf"))
    seen: list[LastRun] = []
    register("one", *[lambda: seen.append(run_of("one")) for _ in range(4)])

    run("warm_cache")

    assert [(one.done, one.total, one.is_running) for one in seen] == [
        (0, 4, True),
        (1, 4, True),
        (2, 4, True),
        (3, 4, True),
    ]
    assert seen[2].percent == 50
    assert seen[0].process == os.getpid()


def test_at_most_so_many_failures_are_kept_and_all_are_counted(run: RunCommand) -> None:
    register("bad", *(f"/missing/{number}/" for number in range(30)))

    run("warm_cache")

    assert run_of("bad").failed == 30
    assert len(run_of("bad").failures) == runs.MOST_FAILURES


def test_a_dry_run_is_not_written_down(run: RunCommand) -> None:
    register("one", "/page/1/")

    run("warm_cache", "--dry-run")

    assert last_runs() == []


def test_a_site_without_the_table_is_warmed_all_the_same(
    run: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    register("one", "/page/1/")
    monkeypatch.setattr(WarmerRun._meta, "db_table", "never_made")

    result = run("warm_cache")
    due = run("warm_cache", "--due")
    listed = run("warm_cache", "--list")

    assert "1 warmed, 0 already warm, 0 failed" in result.out
    assert result.err.count("This run is not recorded") == 1
    assert "The due warmers cannot be determined" in due.message
    assert "run manage.py migrate" in due.message
    assert listed.out.startswith("one ")


# Two at the same time


def test_a_warmer_that_is_running_is_refused_with_where_and_how_far(run: RunCommand) -> None:
    register("one", "/page/1/")
    record = claim(warmer_source("one"), time_limit=60)
    record.planned(4, seconds=0)
    record.count(Outcome(label="/page/1/", state=State.WARMED))
    record.end(RunState.RUNNING)  # its last saved state
    WarmerRun.objects.update(host="web-2", process=77, alive_until=2**50)

    result = run("warm_cache", "one")

    assert "failed: warmer 'one': is being run since 2" in result.err
    assert "UTC by process 77 on web-2 (1 of 4 done)" in result.err
    assert result.message == "Nothing was warmed: it is being warmed already."
    assert run_of("one").process == 77


def test_beside_a_warmer_that_is_running_the_others_are_warmed(
    run: RunCommand, small_site: Records
) -> None:
    register("one", "/page/1/")
    register("two", "/page/2/")
    claim(warmer_source("one"), time_limit=60)

    result = run("warm_cache")

    assert "failed: warmer 'one': is being run" in result.err
    assert small_site.paths == ["/page/2/"]
    assert result.error is None


def test_a_claim_of_another_shard_is_no_hindrance(run: RunCommand) -> None:
    register("one", "/page/1/")
    claim(warmer_source("one", "2/2"), time_limit=60)

    result = run("warm_cache", "--shard=1/2")

    assert result.error is None
    assert run_of("one", "1/2").state is RunState.FINISHED
    assert run_of("one", "2/2").is_running


def test_of_two_claims_at_once_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have read the row before either writes it."""
    source = warmer_source("one")
    before = runs.row_of(source)
    claim(source, time_limit=60)
    monkeypatch.setattr(runs, "row_of", lambda _source: before)

    with pytest.raises(AlreadyRunning):
        claim(source, time_limit=60)


def test_names_that_differ_in_case_only_are_two_warmers() -> None:
    claim(warmer_source("home"), time_limit=60)

    claim(warmer_source("Home"), time_limit=60)

    assert {one.source.name for one in last_runs()} == {"home", "Home"}


# Dead processes


def test_a_run_whose_process_is_gone_is_taken_over_at_once(run: RunCommand) -> None:
    register("one", "/page/1/")
    claim(warmer_source("one"), time_limit=60)
    WarmerRun.objects.update(process=dead_process())
    state = run_of("one").state

    result = run("warm_cache")

    assert state is RunState.LOST
    assert "1 warmed" in result.out


def test_a_run_on_another_machine_is_waited_for_until_it_has_been_silent_for_too_long(
    run: RunCommand,
) -> None:
    register("one", "/page/1/")
    claim(warmer_source("one"), time_limit=10)
    WarmerRun.objects.update(host="web-2", process=dead_process())

    early = run("warm_cache")
    wind_back("one", 10 + runs.GRACE_SECONDS)
    late = run("warm_cache")

    assert "on web-2" in early.err
    assert "1 warmed" in late.out


def test_process_ids_of_another_container_say_nothing(run: RunCommand) -> None:
    claim(warmer_source("one"), time_limit=60)

    WarmerRun.objects.update(process=dead_process(), process_space="pid:[1]")

    assert run_of("one").is_running


def test_a_run_that_was_taken_for_dead_does_not_write_over_the_next_one() -> None:
    first = claim(warmer_source("one"), time_limit=1)
    WarmerRun.objects.update(alive_until=1)
    second = claim(warmer_source("one"), time_limit=60)
    second.planned(5, seconds=0)

    first.end(RunState.FINISHED)

    assert run_of("one").is_running
    assert run_of("one").total == 5


# Output


def test_the_list_tells_of_the_last_run(run: RunCommand) -> None:
    register("one", "/page/1/", every=60)
    register("never", "/page/1/")
    run("warm_cache", "one")

    listed = run("warm_cache", "--list")

    lines = listed.out.splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("       finished, begun 2")
    assert lines[1].endswith(": 1 warmed, 0 already warm, 0 failed, in 0.0 s")


def test_the_list_and_a_dry_run_are_printed_as_json_too(run: RunCommand) -> None:
    cache.set("there", 1)
    register("mixed", "/page/1/", Target(key="there", compute=lambda: 1), fail, every=60)
    register("never", "/page/1/")

    dry = json.loads(run("warm_cache", "mixed", "--dry-run", "--only-missing", "--json").out)
    run("warm_cache", "mixed")
    mixed, never = json.loads(run("warm_cache", "--list", "--json").out)
    nothing = json.loads(run("warm_cache", "--due", "--json").out)

    assert [one["is_warm"] for one in dry] == [False, True, False]
    assert dry[1]["label"] == "default: there"
    assert (mixed["every"], mixed["is_due"]) == (60, False)
    assert (mixed["last_run"]["state"], mixed["last_run"]["warmed"]) == ("finished", 2)
    assert mixed["last_run"]["failures"][0]["reason"] == "ValueError: no such country"
    assert never["last_run"] is None
    assert nothing["warmed"] == 0


def test_everything_about_runs_is_written_whatever_the_case_of_an_item(run: RunCommand) -> None:
    register("long", partial(fail_with, "é" * 5000))

    run("warm_cache")

    [failure] = run_of("long").failures
    assert len(failure.reason) <= runs.LONGEST_TEXT


def fail_with(text: str) -> None:
    raise ValueError(text)


def test_the_latest_run_is_the_first_and_what_only_waits_the_last(run: RunCommand) -> None:
    for name in ("first", "waits", "second"):
        register(name)
        run("warm_cache", name)
    for started, name in ((1, "first"), (None, "waits"), (2, "second")):
        WarmerRun.objects.filter(source=warmer_source(name).key).update(started=started)

    assert [one.source.name for one in last_runs()] == ["second", "first", "waits"]


def test_the_list_of_a_shard_tells_the_shard_s_runs(run: RunCommand) -> None:
    register("pages")
    run("warm_cache", "--shard=1/2")

    [of_shard] = json.loads(run("warm_cache", "--list", "--shard=1/2", "--json").out)
    [whole] = json.loads(run("warm_cache", "--list", "--json").out)

    assert of_shard["last_run"] is not None
    assert whole["last_run"] is None


def test_a_list_without_warmers_says_how_to_write_one(run: RunCommand) -> None:
    assert run("warm_cache", "--list").out == f"{NO_WARMERS}\n"


def test_what_is_called_is_named_with_all_that_it_is_given() -> None:
    target = RecallTarget("key", dict, using="other")

    assert describe_callable(partial(dict, 1, two=2)) == "builtins.dict(1, two=2)"
    assert recall_item(target).label == "other: key"
