"""MAX_BYTES and MAX_ENTRIES hold within a tenth under a steady load of new keys."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from django.conf import settings
from django.core.cache.backends.base import BaseCache
from django.db import connections

from cachelayers.backends import DatabaseCache
from cachelayers.backends.database.table import EntryTable
from cachelayers.conf import table_database_of
from cachelayers.entries.keys import id_range_of
from tests.concurrency.conftest import StartProgram, go
from tests.contract.fixtures import Clock, MakeCache

ROW_BYTES = 64  # a row's share of the bound beside its key and value
VALUE_BYTES = 500


def usage_of(cache: BaseCache) -> tuple[int, int]:
    """Return the number of a cache's rows, and their share of MAX_BYTES."""
    assert isinstance(cache, DatabaseCache)
    connection = connections[table_database_of(settings.CACHES[cache.alias])]
    length = "LENGTH" if connection.vendor == "sqlite" else "OCTET_LENGTH"
    own = id_range_of(cache.alias)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT COUNT(*), COALESCE(SUM({length}(full_key) + COALESCE({length}(data), 8)"
            f" + {ROW_BYTES}), 0) FROM cachelayers_entry WHERE id BETWEEN %s AND %s",
            (own.first, own.last),
        )
        rows, size_bytes = cursor.fetchone()
    return int(rows), int(size_bytes)


def fill(cache: BaseCache, first: int, rows: int) -> None:
    for number in range(first, first + rows):
        cache.set(f"key-{number}", os.urandom(VALUE_BYTES), timeout=None)


def test_max_entries_holds_under_a_steady_load(make_cache: MakeCache) -> None:
    cache = make_cache(options={"MAX_ENTRIES": 500})
    fill(cache, 0, 750)
    most = 0

    for first in range(750, 1750, 125):
        fill(cache, first, 125)
        most = max(most, usage_of(cache)[0])

    assert most <= 550
    assert usage_of(cache)[0] >= 400


def test_max_bytes_holds_under_a_steady_load(make_cache: MakeCache) -> None:
    max_bytes = 300_000
    cache = make_cache(options={"MAX_BYTES": max_bytes})
    fill(cache, 0, 750)
    most = 0

    for first in range(750, 1750, 125):
        fill(cache, first, 125)
        most = max(most, usage_of(cache)[1])

    assert most <= 1.1 * max_bytes
    assert usage_of(cache)[1] >= 0.8 * max_bytes


def test_bounds_hold_for_bulk_writes(make_cache: MakeCache) -> None:
    cache = make_cache(options={"MAX_ENTRIES": 1000})
    most = 0

    for first in range(0, 4000, 200):
        cache.set_many({f"key-{n}": "x" * 50 for n in range(first, first + 200)}, timeout=None)
        if first >= 2000:
            most = max(most, usage_of(cache)[0])

    assert most <= 1100
    assert usage_of(cache)[0] >= 800


def test_bounds_hold_for_values_of_very_different_sizes(make_cache: MakeCache) -> None:
    max_bytes = 2_000_000
    cache = make_cache(options={"MAX_BYTES": max_bytes})
    most = 0

    for number in range(1250):
        size_bytes = 25_000 if number % 25 == 0 else 1000
        cache.set(f"key-{number}", b"x" * size_bytes, timeout=None)
        if number >= 900 and number % 50 == 0:
            most = max(most, usage_of(cache)[1])

    assert most <= 1.1 * max_bytes


@pytest.mark.parametrize(
    ("cache_alias", "options", "column"),
    [
        ("sqlite", {"MAX_ENTRIES": 500}, 0),
        ("sqlite_shared", {"MAX_BYTES": 300_000}, 1),
        pytest.param("postgres", {"MAX_BYTES": 300_000}, 1, marks=pytest.mark.postgres),
        pytest.param("mariadb", {"MAX_ENTRIES": 500}, 0, marks=pytest.mark.mariadb),
    ],
    indirect=["cache_alias"],
)
def test_four_processes_hold_the_bounds_together(
    cache: BaseCache,
    cache_alias: str,
    start_program: StartProgram,
    options: Mapping[str, int],
    column: int,
) -> None:
    (bound,) = options.values()

    complaints = go(
        *(start_program("fill", f"p{n}", 400, VALUE_BYTES, options=options) for n in range(4))
    )

    assert complaints == [[], [], [], []]
    assert 0.8 * bound <= usage_of(cache)[column] <= 1.1 * bound


def test_a_bound_of_one_alias_takes_nothing_from_another(
    cache: BaseCache, make_cache: MakeCache
) -> None:
    kept = {f"kept-{number}": number for number in range(500)}
    cache.set_many(kept, timeout=None)
    bounded = make_cache(options={"MAX_ENTRIES": 100})

    fill(bounded, 0, 1000)

    assert cache.get_many(kept) == kept


@pytest.mark.parametrize("options", [{}, {"MAX_ENTRIES": 100_000}, {"MAX_BYTES": 2**30}], ids=str)
def test_expired_rows_disappear_under_writes(
    make_cache: MakeCache, clock: Clock, options: Mapping[str, int]
) -> None:
    cache = make_cache(options=options)
    cache.set_many({f"old-{number}": number for number in range(500)}, timeout=10)
    clock.advance(11)

    fill(cache, 0, 750)

    rows, _ = usage_of(cache)
    assert rows <= 775


READS: dict[str, Callable[[BaseCache, list[str]], object]] = {
    "get": lambda cache, keys: [cache.get(key) for key in keys],
    "get_many": lambda cache, keys: cache.get_many(keys),
}


@pytest.mark.parametrize("read", READS)
def test_entries_read_often_outlive_others(make_cache: MakeCache, clock: Clock, read: str) -> None:
    cache = make_cache(options={"MAX_ENTRIES": 1000})
    loved = [f"loved-{number}" for number in range(40)]
    cache.set_many(dict.fromkeys(loved, 1), timeout=None)

    for first in range(0, 2000, 20):
        fill(cache, first, 20)
        for _ in range(3):
            READS[read](cache, loved)
        clock.advance(60)

    assert len(cache.get_many(loved)) >= 36


def test_a_row_refreshed_while_it_is_being_trimmed_survives(
    make_cache: MakeCache, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache(options={"MAX_ENTRIES": 100})
    cache.set_many({f"old-{number}": "old" for number in range(50)}, timeout=10)
    clock.advance(11)
    sample = EntryTable.sample
    sampled_rows: list[int] = []

    def sample_while_another_writes(table: EntryTable, first_id: int, rows: int) -> Any:
        sampled = sample(table, first_id, rows)
        if not sampled_rows:
            sampled_rows.append(len(sampled))
            clock.advance(0.001)
            cache.set_many({f"old-{number}": "new" for number in range(25)}, timeout=None)
        return sampled

    monkeypatch.setattr(EntryTable, "sample", sample_while_another_writes)
    for number in range(200):
        cache.set(f"new-{number % 5}", number)

    assert sampled_rows
    refreshed = [f"old-{number}" for number in range(25)]
    assert cache.get_many(refreshed) == dict.fromkeys(refreshed, "new")


def test_the_value_just_written_is_there(make_cache: MakeCache) -> None:
    cache = make_cache(options={"MAX_ENTRIES": 100})

    for number in range(300):
        cache.set(f"key-{number}", number, timeout=None)
        assert cache.get(f"key-{number}") == number
    values = {f"many-{number}": number for number in range(50)}
    cache.set_many(values, timeout=None)

    assert cache.get_many(values) == values
