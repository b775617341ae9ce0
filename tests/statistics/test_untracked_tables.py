"""A value that is made from an untracked table is named wherever its user may look."""

from __future__ import annotations

import json
import logging
from io import StringIO

import pytest
from django.core.cache import caches
from django.core.management import call_command
from django.template.loader import render_to_string
from pytest_django import Settings

from cachelayers import recall
from cachelayers.panels import line_of
from cachelayers.statistics import UntrackedReads, flush, totals, untracked_reads
from cachelayers.utils.tracing import tracing
from tests.library.models import Untracked
from tests.settings import database_cache
from tests.state import reset


@pytest.fixture
def reports(statistics_table: str, settings: Settings) -> None:
    """Begin without reports, entries and statistics; databases may be used."""
    settings.CACHES = {"default": database_cache(statistics_table)}
    reset("invalidation.reports.reports")
    caches["default"].clear()


pytestmark = pytest.mark.usefixtures("reports")


def count_rows() -> int:
    return Untracked.objects.count()


def test_the_log_names_it_once_with_the_place_and_the_cure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for number in range(3):
        recall(f"untracked:{number}", count_rows)

    [record] = caplog.records
    message = record.getMessage()
    assert (record.levelno, record.name) == (logging.WARNING, "cachelayers.invalidation")
    assert "test_untracked_tables.py:" in message
    assert "'library_untracked' of DATABASES['default']" in message
    assert "set CACHELAYERS['TRACK'] to ['airports', 'pages'," in message
    assert "'library.Untracked'], and run `migrate`" in message


def test_who_wants_no_dependencies_is_told_nothing(caplog: pytest.LogCaptureFixture) -> None:
    recall("untracked:wanted", count_rows, capture=False)

    assert caplog.records == []


def test_the_statistics_of_all_processes_name_it() -> None:
    for number in range(2):
        recall(f"untracked:{number}", count_rows)
        recall(f"untracked:{number}", count_rows)
    assert flush()

    assert untracked_reads() == [UntrackedReads("default", "library_untracked", 2)]
    assert "?" not in {total.cache for total in totals()}
    out = StringIO()
    call_command("cache_stats", stdout=out)
    assert ["library_untracked", "default", "2"] in [
        line.split() for line in out.getvalue().splitlines()
    ]
    out = StringIO()
    call_command("cache_stats", "--json", stdout=out)
    assert json.loads(out.getvalue())["untracked"] == [
        {"database": "default", "table": "library_untracked", "reads": 2}
    ]


def test_the_toolbar_names_it_for_each_value() -> None:
    with tracing() as trace:
        recall("untracked:shown", count_rows)
        recall("untracked:shown", count_rows)

    lines = [line_of(one) for one in trace.recalls]

    assert [line["untracked"] for line in lines] == [["library_untracked"]] * 2
    shown = render_to_string("cachelayers/recalls_panel.html", {"count": 2, "recalls": lines})
    assert "library_untracked is not tracked" in shown
