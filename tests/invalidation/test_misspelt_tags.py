"""invalidate() reports a tag that no code declares if it resembles a declared one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cachelayers import cached, invalidate, recall, unit_of_work
from tests.state import reset

pytestmark = pytest.mark.django_db(transaction=True)


@cached(tags=["test timetable of ferries"])
def ferries() -> str:
    return "08:15"


@pytest.fixture(autouse=True)
def _doubts() -> Iterator[None]:
    reset("invalidation.tags._doubted_tags")
    yield
    reset("invalidation.tags._doubted_tags")


def test_a_misspelt_tag_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    invalidate("test timetabel of ferries")
    invalidate("test timetabel of ferries")

    [record] = caplog.records
    assert record.getMessage() == (
        "invalidate('test timetabel of ferries'): nothing in this process has this tag."
        " Did you mean 'test timetable of ferries'?"
    )


def test_known_tags_and_those_like_no_other_are_taken_in_silence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with unit_of_work():
        recall("ferry", lambda: 1, timeout=60, tags=["test timetable of ferry 7"])

    invalidate("test timetable of ferries", "test timetable of ferry 7", "xyzzy")

    assert not caplog.records


def test_tags_that_are_made_up_as_code_runs_are_not_taken_for_each_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with unit_of_work():
        recall("FR", lambda: 1, timeout=60, tags=["made up country FR"])

    invalidate("made up country DE")

    assert not caplog.records
