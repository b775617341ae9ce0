"""Counts are written to the database: added up, outside of requests, also after errors."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import OperationalError, connections, transaction
from pytest_django import Settings

from cachelayers.models import Timing
from cachelayers.statistics import advice, flush, totals, writing
from cachelayers.statistics.table import STATISTICS_TABLE, add_rows, row_of
from cachelayers.statistics.writing import Writer, own_connection, writer
from cachelayers.utils.counters import Figures, cell_of, heartbeat
from cachelayers.utils.endings import endings
from tests.conftest import RunPython


def written(cache: str = "made") -> Figures:
    return next(
        (one.figures for one in totals() if (one.cache, one.layer) == (cache, "")), Figures()
    )


def test_what_processes_count_is_added_up(database: str) -> None:
    cell_of("made").hits += 3
    cell_of("made").saved_seconds += 0.25
    assert flush()
    cell_of("made").hits += 4
    cell_of("made").misses += 1

    assert flush()

    assert written() == Figures(hits=7, misses=1, saved_seconds=0.25)


def test_what_is_written_is_not_written_again(database: str) -> None:
    cell_of("made").hits += 3

    assert [flush(), flush()] == [True, True]

    assert written().hits == 3


def test_names_that_differ_in_case_are_two(database: str) -> None:
    cell_of("made").hits += 1
    cell_of("Made").hits += 2

    flush()

    assert [written("made").hits, written("Made").hits] == [1, 2]


def test_writers_of_the_same_minute_lose_nothing_and_do_not_deadlock(database: str) -> None:
    minute = int(time.time()) // 60 * 60
    rows = [row_of(minute, (f"made-{number}", ""), Figures(hits=1)) for number in range(120)]
    errors: list[BaseException] = []

    def write(own_rows: list[Any]) -> None:
        try:
            with own_connection(database) as connection:
                for _ in range(10):
                    for _ in add_rows(connection, STATISTICS_TABLE, own_rows):
                        pass
        except BaseException as error:  # noqa: BLE001 - shown by the test
            errors.append(error)

    threads = [threading.Thread(target=write, args=[order]) for order in (rows, rows[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert {one.figures.hits for one in totals() if one.cache.startswith("made-")} == {20}


def test_statistics_are_not_part_of_the_callers_transaction(database: str) -> None:
    cell_of("made").hits += 3

    with transaction.atomic(database):
        with connections[database].cursor() as cursor:
            cursor.execute("SELECT 1")
        flush()
        transaction.set_rollback(True, using=database)

    assert written().hits == 3


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Make connections fail until the returned function is called."""

    def refuse(database: str) -> Any:
        raise OperationalError("it is down")

    with monkeypatch.context() as patches:
        patches.setattr(writing, "own_connection", refuse)
        yield patches.undo


@pytest.mark.usefixtures("statistics_table")
def test_what_could_not_be_written_is_written_when_the_database_is_back(
    broken: Callable[[], None], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer._reports.clear()
    cell_of("made").hits += 3

    assert [flush(), flush()] == [False, False]
    reports = [record for record in caplog.records if record.name == "cachelayers.statistics"]
    broken()
    cell_of("made").hits += 1
    assert flush()

    assert written().hits == 4
    assert [record.levelno for record in reports] == [logging.WARNING]  # not for each failure
    assert "it is down" in reports[0].getMessage()
    assert "manage.py migrate cachelayers --database=sqlite_cache" in reports[0].getMessage()


def test_a_part_that_was_written_before_a_failure_is_not_written_twice(
    statistics_table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cachelayers.statistics.table.ROWS_PER_STATEMENT", 2)
    for number in range(5):
        cell_of(f"made-{number}").hits += 1
    parts = add_rows

    def add_one_part(*arguments: Any) -> Iterator[Any]:
        yield next(parts(*arguments))
        raise OperationalError("it is down")

    with monkeypatch.context() as patches:
        patches.setattr(writing, "add_rows", add_one_part)
        assert not flush()
    assert flush()

    assert [one.figures.hits for one in totals() if one.cache.startswith("made-")] == [1] * 5


def test_processes_of_the_release_before_stored_bytes_go_on_writing(database: str) -> None:
    hour = int(time.time()) // 3600 * 3600
    with connections[database].cursor() as cursor:
        cursor.execute(
            "INSERT INTO cachelayers_timing (hour, kind, name, place, tables, calls, total_us,"
            " repeats, repeated_us, changed) VALUES (%s, 'recall', 'old', '', '', 7, 1, 5, 1, 0)",
            [hour],
        )

    [found] = advice(kinds=["recall"])

    assert (found.name, found.calls, found.stored_bytes) == ("old", 7, 0)


def test_old_statistics_are_deleted_by_the_way(statistics_table: str, settings: Settings) -> None:
    settings.CACHELAYERS = {"STATS_DAYS": 2}
    now = int(time.time())
    with own_connection(statistics_table) as connection:
        for days, name in ((1, "young"), (3, "old")):
            row = row_of(now - days * 86_400, (name, ""), Figures(hits=1))
            list(add_rows(connection, STATISTICS_TABLE, [row]))
    cell_of("made").hits += 1

    Writer().write()

    assert [one.cache for one in totals(10 * 86_400)] == ["made", "young"]


def test_nothing_is_written_where_that_is_switched_off(
    statistics_table: str, settings: Settings
) -> None:
    settings.CACHELAYERS = {"STATS_SECONDS": None}
    cell_of("made").hits += 1

    assert flush()

    assert totals() == []


def test_no_thread_writes_while_tests_run(settings: Settings) -> None:
    settings.CACHELAYERS = {"STATS_SECONDS": 0.001}
    before = threading.enumerate()

    writer.wake()

    assert threading.enumerate() == before
    assert heartbeat.is_asleep


# In separate processes, where the thread runs by itself.

BEGIN = """
import json, os, sys, threading, time
import django
from django.conf import settings
settings.CACHELAYERS = {**settings.CACHELAYERS, "STATS_SECONDS": %s}
django.setup()
from django.core.cache import caches
from cachelayers import unit_of_work
from cachelayers.statistics import totals

def threads():
    return [one.name for one in threading.enumerate() if one.name == "cachelayers-statistics"]

def hits():
    return sum(one.figures.hits for one in totals() if (one.cache, one.layer) == ("memory", ""))

def await_truth(is_true):
    deadline = time.monotonic() + 30
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.01)

caches["memory"].set("key", 1)
"""


def result_of(run_python: RunPython, code: str, *, seconds: float | None) -> Any:
    program = f"import warnings; warnings.simplefilter('error')\n{BEGIN % seconds}\n{code}"
    output, errors = run_python(program).communicate(timeout=60)
    assert errors == ""
    return json.loads(output) if output else None


@pytest.mark.usefixtures("statistics_table")
def test_a_thread_writes_after_the_first_unit_of_work_and_ends_when_nothing_happens(
    run_python: RunPython,
) -> None:
    code = """
before = threads()
with unit_of_work():
    for _ in range(7):
        caches["memory"].get("key")
during = threads()
await_truth(lambda: hits() == 7)
await_truth(lambda: not threads())
with unit_of_work():
    caches["memory"].get("key")
await_truth(lambda: hits() == 8)
print(json.dumps([before, during]))
"""

    found = result_of(run_python, code, seconds=0.1)

    assert found == [[], ["cachelayers-statistics"]]


@pytest.mark.usefixtures("statistics_table")
def test_the_first_counts_are_written_long_before_the_usual_pause_is_over(
    run_python: RunPython,
) -> None:
    code = """
with unit_of_work():
    caches["memory"].get("key")
await_truth(lambda: hits() == 1)
"""

    result_of(run_python, code, seconds=600)


@pytest.mark.usefixtures("statistics_table")
def test_what_is_left_is_written_when_the_process_ends(run_python: RunPython) -> None:
    code = """
with unit_of_work():
    caches["memory"].get("key")
"""

    result_of(run_python, code, seconds=600)

    assert written("memory").hits == 1


@pytest.mark.usefixtures("statistics_table")
def test_a_forked_child_counts_from_zero_and_writes_by_itself(run_python: RunPython) -> None:
    # A fork next to a thread would be a warning, which is an error here.
    code = """
with unit_of_work():
    for _ in range(3):
        caches["memory"].get("key")
assert threads()
child = os.fork()
assert not threads()
if child == 0:
    with unit_of_work():
        caches["memory"].get("key")
    sys.exit()
_, status = os.waitpid(child, 0)
assert status == 0
with unit_of_work():
    caches["memory"].get("key")
assert threads()
"""

    result_of(run_python, code, seconds=600)

    assert written("memory").hits == 5


@pytest.mark.usefixtures("statistics_table")
def test_no_thread_begins_where_nothing_is_written(run_python: RunPython) -> None:
    code = """
with unit_of_work():
    caches["memory"].get("key")
print(json.dumps(threads()))
"""

    assert result_of(run_python, code, seconds=None) == []
    assert totals() == []


def test_a_table_that_is_missing_is_no_error_of_the_site(tmp_path: Any) -> None:
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "empty.sqlite3")}
    code = f"""
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["cachelayers"],
    DATABASES={{"default": {database!r}}},
    CACHES={{"default": {{"BACKEND": "cachelayers.backends.MemoryCache"}}}},
)
django.setup()
from django.core.cache import cache
from cachelayers import unit_of_work
with unit_of_work():
    cache.get("key")
print("done")
"""

    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )

    assert (ended.returncode, ended.stdout) == (0, "done\n")
    assert "no such table: cachelayers_statistics" in ended.stderr
    assert "run `manage.py migrate cachelayers --database=default`" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_text_that_is_known_stays_when_a_later_row_has_none(database: str) -> None:
    endings.note_reason("default", "table:blog_post", "or author_id")
    endings.add("default", "table:blog_post", 0.5)
    assert flush()
    endings.clear()  # as another process, which knows no reason
    endings.add("default", "table:blog_post", 0.25)
    assert flush()

    found = Timing.objects.using(database).filter(kind="ended")

    assert [(one.tables, one.changed, one.total_us) for one in found] == [
        ("or author_id", 2, 750_000)
    ]
