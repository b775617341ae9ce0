"""Which tags have the most rows in a log, and since when all rows are counted."""

from __future__ import annotations

import time

import pytest
from django.db import connections, transaction
from pytest_django import Settings

from cachelayers import invalidate
from cachelayers.invalidation.dialects import LOG
from cachelayers.invalidation.own_statements import fetch_in_time
from cachelayers.invalidation.pruning import prune
from cachelayers.lookup.calls import invalidate_key
from cachelayers.models import Invalidation
from cachelayers.statistics import HotTags, hot_tags, log_counts

HOUR = 3600

DATABASES = [
    pytest.param(name, marks=pytest.mark.django_db(transaction=True, databases={"default", name}))
    for name in ("default", "postgres")
]


@pytest.fixture(params=DATABASES)
def log(request: pytest.FixtureRequest) -> str:
    """Return the alias of a database whose log is empty."""
    alias: str = request.param
    Invalidation.objects.using(alias).all().delete()
    return alias


def counts_of(found: HotTags) -> list[tuple[str, int]]:
    return [(one.tag, one.rows) for one in found.tags]


def write(log: str, *tags: str, minutes_ago: int = 0) -> None:
    for tag in tags:
        invalidate(tag, using=log)
    newest = Invalidation.objects.using(log).order_by("-id").values_list("pk", flat=True)
    at = int((time.time() - minutes_ago * 60) * 1000)
    if minutes_ago:
        Invalidation.objects.using(log).filter(pk__in=list(newest[: len(tags)])).update(at=at)


def test_the_tags_with_the_most_rows_come_first(log: str) -> None:
    write(log, "rare", "often", "often", "twice", "often", "twice")

    found = hot_tags(log, HOUR)

    assert counts_of(found) == [("word:often", 3), ("word:twice", 2), ("word:rare", 1)]
    assert counts_of(hot_tags(log, HOUR, most=1)) == [("word:often", 3)]
    times = [one.last_at for one in found.tags]
    assert times[0] is not None
    assert times[1] is not None
    assert times[0] <= times[1]
    assert found.error is None


def test_older_rows_and_keys_are_not_counted(log: str) -> None:
    write(log, "old", "old", minutes_ago=90)
    write(log, "new")
    invalidate_key("busiest")

    assert counts_of(hot_tags(log, HOUR)) == [("word:new", 1)]
    assert counts_of(hot_tags(log, 2 * HOUR)) == [("word:old", 2), ("word:new", 1)]


def test_it_says_since_when_all_rows_of_a_tag_are_there(log: str) -> None:
    write(log, "a", "a", "b", minutes_ago=50)
    prune(log)
    write(log, "c", minutes_ago=40)
    only_once = hot_tags(log, HOUR)
    write(log, "b", minutes_ago=30)
    write(log, "b", "c")

    found = hot_tags(log, HOUR)

    assert only_once.repeated_at is None
    assert counts_of(found) == [("word:b", 3), ("word:c", 2), ("word:a", 1)]
    assert found.oldest_at is not None
    assert found.repeated_at is not None
    ages = [time.time() - at.timestamp() for at in (found.oldest_at, found.repeated_at)]
    assert ages == pytest.approx([50 * 60, 30 * 60], abs=30)


def test_an_empty_log_has_no_hot_tags(log: str) -> None:
    assert hot_tags(log, HOUR) == HotTags(log)


def test_they_are_counted_within_a_transaction_too(log: str) -> None:
    write(log, "a", "a")

    with transaction.atomic(using=log):
        assert counts_of(hot_tags(log, HOUR)) == [("word:a", 2)]


def test_only_the_newest_rows_are_read(log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(log, "a", "a", "b", "b", "c")
    monkeypatch.setattr(log_counts, "MOST_ROWS_READ", 3)

    assert counts_of(hot_tags(log, HOUR)) == [("word:b", 2), ("word:c", 1)]


@pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
def test_a_log_that_does_not_answer_is_an_error_and_pauses_no_reader(settings: Settings) -> None:
    settings.CACHELAYERS = {**settings.CACHELAYERS, "LOG_SECONDS": 0.1}
    other = connections.create_connection("postgres")
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {LOG} IN ACCESS EXCLUSIVE MODE")
        found = hot_tags("postgres", HOUR)
    finally:
        other.close()

    assert found.tags == []
    assert "statement timeout" in str(found.error)
    assert fetch_in_time("postgres", "SELECT 1", ()) == [(1,)]
