"""The records of runs on every database: one of many claims succeeds, and data is stored intact."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.db import connections
from django.db.models import Model
from pytest_django import Settings

from cachelayers.models import WarmerRun
from cachelayers.warming.items import Outcome, State
from cachelayers.warming.runs import (
    AlreadyRunning,
    RunState,
    claim,
    last_run_of,
    last_runs,
    warmer_source,
)

DATABASES = [
    "default",
    pytest.param("postgres", marks=pytest.mark.postgres),
    pytest.param("mariadb", marks=pytest.mark.mariadb),
]
AT_ONCE = 4


class Router:
    """Sends the records to the database of the test."""

    database = "default"

    def db_for_read(self, model: type[Model], **_hints: Any) -> str | None:
        return self.database if model is WarmerRun else None

    db_for_write = db_for_read


@pytest.fixture(params=DATABASES)
def database(
    request: pytest.FixtureRequest,
    settings: Settings,
    django_db_setup: None,
    django_db_blocker: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[str]:
    monkeypatch.setattr(Router, "database", request.param)
    settings.DATABASE_ROUTERS = [f"{__name__}.Router"]
    with django_db_blocker.unblock():
        WarmerRun.objects.all().delete()
        yield request.param
        WarmerRun.objects.all().delete()


def test_what_is_written_is_read(database: str) -> None:
    source = warmer_source("Länder 🌍", "1/3")
    record = claim(source, time_limit=60)
    record.planned(3, seconds=0.5)
    record.count(Outcome(label="a", state=State.WARMED), "page a")
    record.count(Outcome(label="b 🌍", state=State.FAILED, reason="“no” \\ ' such"), "page b")
    record.end(RunState.INTERRUPTED)

    [run] = last_runs()
    resumed = claim(source, time_limit=60, resume=True)

    assert run.source == source
    assert run.state is RunState.INTERRUPTED
    assert (run.total, run.warmed, run.failed) == (3, 1, 1)
    assert (run.failures[0].label, run.failures[0].reason) == ("b 🌍", "“no” \\ ' such")
    assert run.seconds is not None
    assert run.seconds >= 0.5
    assert len(resumed.done) == 1


def test_a_reason_that_the_database_would_not_take_is_written_all_the_same(database: str) -> None:
    record = claim(warmer_source("odd"), time_limit=60)
    record.planned(1, seconds=0)

    record.count(Outcome(label="\0", state=State.FAILED, reason="a\0b\ud800" + "é" * 9999))
    record.end(RunState.FINISHED)

    [run] = last_runs()
    assert run.failures[0].reason.startswith("a\\0b\\ud800é")


def test_of_many_claims_at_once_one_is_granted(database: str) -> None:
    meeting = Barrier(AT_ONCE, timeout=30)

    def try_to_claim(_number: int) -> bool:
        try:
            meeting.wait()
            claim(warmer_source("contested"), time_limit=60)
        except AlreadyRunning:
            return False
        finally:
            connections.close_all()
        return True

    with ThreadPoolExecutor(AT_ONCE) as pool:
        granted = list(pool.map(try_to_claim, range(AT_ONCE)))

    assert granted.count(True) == 1
    run = last_run_of(warmer_source("contested"))
    assert run is not None
    assert run.is_running


def test_names_that_differ_in_case_or_accents_only_are_different_warmers(database: str) -> None:
    for name in ("home", "Home", "hóme", "home "):
        claim(warmer_source(name), time_limit=60)

    assert len(last_runs()) == 4
