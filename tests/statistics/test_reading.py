"""Reading the counts: sums, points over time, the state of layers and logs."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from django.core.cache import caches
from django.db import connections
from django.test import override_settings

from cachelayers import invalidate
from cachelayers.statistics import LayerState, LogState, layer_states, series, states, totals
from cachelayers.statistics.advisor import changes_of, last_changes
from cachelayers.statistics.states import log_state
from cachelayers.statistics.table import STATISTICS_TABLE, add_rows, row_of
from cachelayers.statistics.writing import own_connection
from cachelayers.utils.counters import Figures
from cachelayers.utils.tracing import Sample
from tests.layered.backends import server_of
from tests.settings import layered_cache, memory_cache
from tests.state import reset

MINUTE = 60


def write(database: str, minutes_ago: int, cache: str, layer: str, **figures: float) -> None:
    minute = (int(time.time()) // MINUTE - minutes_ago) * MINUTE
    row = row_of(minute, (cache, layer), Figures(**figures))  # type: ignore[arg-type]
    with own_connection(database) as connection:
        list(add_rows(connection, STATISTICS_TABLE, [row]))


def test_totals_are_of_the_time_that_is_asked_for(database: str) -> None:
    write(database, 0, "site", "", hits=1, computing_seconds=0.5)
    write(database, 20, "site", "", hits=10, computing_seconds=0.25)
    write(database, 100, "site", "", hits=100)

    assert [one.figures for one in totals()] == [Figures(hits=11, computing_seconds=0.75)]
    assert totals(5 * MINUTE)[0].figures.hits == 1
    assert totals(3 * 3600)[0].figures.hits == 111


def test_a_layer_has_the_errors_and_evictions_of_its_own_alias(database: str) -> None:
    write(database, 0, "site", "memory", hits=5)
    write(database, 0, "memory", "", evictions=3, errors=2, hits=70)

    found = {(one.cache, one.layer): one.figures for one in totals()}

    assert found["site", "memory"] == Figures(hits=5, evictions=3, errors=2)


def test_a_series_has_a_point_for_every_step(database: str) -> None:
    write(database, 0, "site", "", hits=1)
    write(database, 7, "site", "", hits=10, misses=10)
    write(database, 8, "site", "", hits=5)

    [one] = series(3600, 5 * MINUTE)

    steps = [point.at for point in one.points]
    assert {(after - before).total_seconds() for before, after in pairwise(steps)} == {300.0}
    assert len(steps) in {12, 13, 14}
    assert steps[-1] <= datetime.now(UTC)
    assert sum(point.figures.hits for point in one.points) == 16
    assert sum(point.figures.misses > 0 for point in one.points) == 1


def test_points_lie_where_something_happened(database: str) -> None:
    write(database, 3, "site", "", hits=4)

    [one] = series(10 * MINUTE)

    hits = {point.at.timestamp(): point.figures.hits for point in one.points}
    at = (int(time.time()) // MINUTE - 3) * MINUTE
    # A minute may end between the write and this.
    assert hits.get(at) == 4 or hits.get(at - MINUTE) == 4
    assert sum(hits.values()) == 4


def test_a_hit_ratio_is_of_what_was_looked_up() -> None:
    assert Figures(hits=3, misses=1).hit_ratio == 0.75
    assert Figures(sets=3).hit_ratio is None


def test_the_state_of_each_layer_is_reported() -> None:
    configured = {
        "default": {**memory_cache(), "LOCATION": "empty"},
        "stack": layered_cache("stack-memory", "stack-broken"),
        "stack-memory": memory_cache(),
        "stack-broken": {"BACKEND": "tests.layered.backends.WatchedCache", "LOCATION": "broken-2"},
    }
    with override_settings(CACHES=configured):
        server_of("broken-2").is_down = True
        try:
            caches["stack"].set("key", "value")
            found = {(state.cache, state.layer): state for state in layer_states()}
        finally:
            server_of("broken-2").is_down = False
            reset("backends.layered.circuit_breaker")

    assert list(found) == [
        ("default", ""), ("stack", "stack-memory"), ("stack", "stack-broken"),
        ("stack-memory", ""), ("stack-broken", ""),
    ]  # fmt: skip
    broken = found["stack", "stack-broken"]
    assert broken.error == "ConnectionError: it is down"
    assert broken.is_skipped
    memory = found["stack", "stack-memory"]
    assert (memory.error, memory.is_skipped, memory.entries) == (None, False, 1)
    assert (broken.failures, memory.failures) == (1, 0)
    assert broken.skipped_since is not None
    assert abs((datetime.now(UTC) - broken.skipped_since).total_seconds()) < 60
    bound = found["default", ""].max_bytes
    assert bound
    assert found["default", ""] == LayerState(
        "default", "", "MemoryCache", None, False, 0, 0, bound
    )


@pytest.mark.django_db(transaction=True)
def test_the_size_of_the_log_is_reported() -> None:
    before = state_of("default")

    invalidate("a word of this test")

    after = state_of("default")
    assert after.rows == before.rows + 1
    assert after.newest_at is not None
    assert abs((datetime.now(UTC) - after.newest_at).total_seconds()) < 60
    assert (after.lag_seconds, after.error) == (0, None)


@pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
def test_the_log_lags_while_an_older_transaction_is_open() -> None:
    other = connections.create_connection("postgres")
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_current_xact_id()")
        invalidate("a word that waits", using="postgres")
        time.sleep(0.01)  # this is what is measured

        lagging = state_of("postgres").lag_seconds
        other.rollback()
        settled = state_of("postgres").lag_seconds
    finally:
        other.close()

    assert lagging >= 0.01
    assert settled == 0


def test_a_database_without_a_log_has_no_state(
    statistics_table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "LOG", "no_such_table")

    assert log_state(statistics_table) is None


def state_of(database: str) -> LogState:
    found = log_state(database)
    assert found is not None
    return found


def test_tables_of_two_databases_are_looked_up_each_in_its_own_log(statistics_table: str) -> None:
    tables = frozenset({("default", "library_author"), (statistics_table, "library_book")})
    for database in ("default", statistics_table):
        with own_connection(database) as connection, connection.cursor() as cursor:
            for _, name in tables:
                cursor.execute(
                    "INSERT INTO cachelayers_invalidation (tag, at) VALUES (%s, 0)",
                    [f"table:{name}"],
                )
    one = Sample("query", "q", "", 0, 1.0, tables, time.time())

    assert set(changes_of(tables, 0)) == tables
    assert set(last_changes([one], own_connection)) == tables
