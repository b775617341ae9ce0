"""Each operation is one statement, and each statement finds its rows by the primary key."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.cache.backends.base import BaseCache
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.conf import table_database_of
from tests.contract.fixtures import Clock, MakeCache, each_table

ROWS = 3000  # enough for every planner to prefer an index over the whole table

MANY = [f"key-{number}" for number in range(25)]  # too few writes to start the evictor


class Statement(NamedTuple):
    """One statement as the database got it."""

    text: str
    parameters: Any


class Recorder:
    """Records all statements, through Django's connection or one of our own."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.statements: list[Statement] = []

    def wrap(
        self, execute: Callable[..., Any], text: str, parameters: Any, many: bool, context: Any
    ) -> Any:
        self.statements.append(Statement(text, parameters))
        return execute(text, parameters, many, context)

    def trace(self, text: str) -> None:
        if not text.startswith("PRAGMA"):
            self.statements.append(Statement(text, None))

    @contextmanager
    def recording(self) -> Iterator[list[Statement]]:
        self.statements.clear()
        with self.connection.execute_wrapper(self.wrap):
            yield self.statements


@pytest.fixture
def recorder(cache: BaseCache, cache_alias: str, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Return a recorder of the cache's database; connections opened from now on are traced."""
    recorder = Recorder(connections[table_database_of(settings.CACHES[cache_alias])])
    connect = sqlite3.connect

    def traced_connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.set_trace_callback(recorder.trace)
        return connection

    monkeypatch.setattr(sqlite3, "connect", traced_connect)
    return recorder


@pytest.fixture
def fresh_cache(recorder: Recorder, make_cache: MakeCache) -> BaseCache:
    """Return a traced cache with some entries and open connections."""
    cache = make_cache(options={})
    cache.set_many({"number": 1, "text": "text", "list": [1], "gone": 1, **dict.fromkeys(MANY, 1)})
    assert cache.get("number") == 1
    return cache


Operation = Callable[[BaseCache], Any]

OPERATIONS: dict[str, Operation] = {
    "get a hit": lambda cache: cache.get("text"),
    "get a miss": lambda cache: cache.get("nobody"),
    "set new": lambda cache: cache.set("new", "text"),
    "set over a value": lambda cache: cache.set("text", [1, 2]),
    "set for no time": lambda cache: cache.set("text", 1, timeout=0),
    "add new": lambda cache: cache.add("new", 1),
    "add in vain": lambda cache: cache.add("text", 1),
    "touch": lambda cache: cache.touch("text", 10),
    "touch a missing key": lambda cache: cache.touch("nobody", 10),
    "touch into the past": lambda cache: cache.touch("text", 0),
    "delete": lambda cache: cache.delete("gone"),
    "delete a missing key": lambda cache: cache.delete("nobody"),
    "has_key": lambda cache: cache.has_key("text"),
    "in": lambda cache: "text" in cache,
    "incr": lambda cache: cache.incr("number"),
    "decr": lambda cache: cache.decr("number", 5),
    "get_or_set a hit": lambda cache: cache.get_or_set("text", 1),
    "get_many": lambda cache: cache.get_many(MANY),
    "set_many": lambda cache: cache.set_many(dict.fromkeys(MANY, "text")),
    "set_many for no time": lambda cache: cache.set_many(dict.fromkeys(MANY, 1), timeout=0),
    "delete_many": lambda cache: cache.delete_many(MANY),
    "clear": lambda cache: cache.clear(),
    "aget": lambda cache: async_to_sync(cache.aget)("text"),
    "aset": lambda cache: async_to_sync(cache.aset)("text", 2),
    "aadd": lambda cache: async_to_sync(cache.aadd)("new", 2),
    "aincr": lambda cache: async_to_sync(cache.aincr)("number"),
    "adecr": lambda cache: async_to_sync(cache.adecr)("number"),
    "ahas_key": lambda cache: async_to_sync(cache.ahas_key)("number"),
    "aget_or_set a hit": lambda cache: async_to_sync(cache.aget_or_set)("text", 1),
    "aget_many": lambda cache: async_to_sync(cache.aget_many)(MANY),
    "aset_many": lambda cache: async_to_sync(cache.aset_many)(dict.fromkeys(MANY, "text")),
    "adelete_many": lambda cache: async_to_sync(cache.adelete_many)(MANY),
}


@each_table
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_one_statement(
    fresh_cache: BaseCache, recorder: Recorder, name: str
) -> None:
    with recorder.recording() as statements:
        OPERATIONS[name](fresh_cache)

    assert len(statements) == 1, statements


@pytest.mark.parametrize(
    ("name", "operation", "most"),
    [
        ("get_or_set", lambda cache: cache.get_or_set("new", 1), 3),
        ("incr_version", lambda cache: cache.incr_version("text"), 3),
        ("incr of a fraction", lambda cache: cache.incr("number", 0.5), 3),
        ("incr of a missing key", lambda cache: with_value_error(cache, "nobody"), 2),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_compound_operation_is_a_few_statements(
    fresh_cache: BaseCache, recorder: Recorder, name: str, operation: Operation, most: int
) -> None:
    with recorder.recording() as statements:
        operation(fresh_cache)

    assert 1 <= len(statements) <= most, statements


def with_value_error(cache: BaseCache, key: str) -> None:
    with pytest.raises(ValueError, match=key):
        cache.incr(key)


def test_bulk_operations_cost_one_statement_per_hundreds_of_keys(
    fresh_cache: BaseCache, recorder: Recorder
) -> None:
    values = {f"many-{number}": number for number in range(1000)}

    with recorder.recording() as statements:
        fresh_cache.set_many(values)
        writes = len(statements)
        fresh_cache.get_many(values)
        reads = len(statements) - writes
        fresh_cache.delete_many(values)
        deletes = len(statements) - writes - reads

    assert writes <= 20  # including the evictor's statements
    assert reads <= 5
    assert deletes <= 5


def test_thousands_of_keys_are_stored_and_read(fresh_cache: BaseCache) -> None:
    values = {f"many-{number}": {"number": number} for number in range(5000)}

    assert fresh_cache.set_many(values) == []
    assert fresh_cache.get_many(values) == values


def test_bulk_writes_are_bounded_in_bytes(fresh_cache: BaseCache, recorder: Recorder) -> None:
    values = {f"large-{number}": b"x" * 2**20 for number in range(16)}

    with recorder.recording() as statements:
        fresh_cache.set_many(values)

    assert len([one for one in statements if "INSERT" in one.text]) >= 4


def test_bulk_writes_are_sorted(fresh_cache: BaseCache, recorder: Recorder) -> None:
    keys = [f"key-{number}" for number in range(64)]
    with recorder.recording() as statements:
        fresh_cache.set_many(dict.fromkeys(keys, 1))
        fresh_cache.set_many(dict.fromkeys(reversed(keys), 1))
    first, second = (ids_of(one) for one in statements if "INSERT" in one.text)

    assert first == second == sorted(first)
    assert len(first) == 64


def ids_of(statement: Statement) -> list[int]:
    """Return the ids of an insert: parameters, or literals in SQLite's trace."""
    if statement.parameters is not None:
        return list(statement.parameters[::7])
    return [int(row.split(",")[0]) for row in statement.text.partition("VALUES (")[2].split("), (")]


@each_table
@pytest.mark.parametrize("options", [{}, {"MAX_ENTRIES": 2500}, {"MAX_BYTES": 300_000}], ids=str)
def test_no_statement_counts_or_reads_the_whole_table(
    recorder: Recorder, make_cache: MakeCache, clock: Clock, options: dict[str, int]
) -> None:
    cache = make_cache(options=options)
    cache.set_many({f"row-{number}": "x" * 50 for number in range(ROWS)}, timeout=1000)
    analyze(recorder.connection)

    with recorder.recording() as statements:
        for name, operation in OPERATIONS.items():
            if name not in {"clear", "delete_many", "adelete_many"}:
                try_operation(operation, cache)
        for number in range(600):  # enough to start the evictor
            cache.set(f"more-{number}", number)
            cache.get(f"row-{number}")
            if number % 100 == 0:
                clock.advance(120)
        shapes = {shape_of(one.text): one for one in statements}

    assert len(shapes) > 5
    for statement in shapes.values():
        assert "COUNT(" not in statement.text.upper()
        assert scans_of(recorder.connection, statement) == []


def try_operation(operation: Operation, cache: BaseCache) -> None:
    try:
        operation(cache)
    except ValueError:
        cache.set("number", 1)  # incr() met a missing key


def shape_of(text: str) -> str:
    """Return the common text of statements of one kind."""
    return without_limit(text).partition("VALUES")[0][:80]


def without_limit(text: str) -> str:
    """Return a statement without the statements before it that limit its time."""
    if text.startswith("SET LOCAL "):
        return text.partition("; ")[2]
    return text.partition(" FOR ")[2] if text.startswith("SET STATEMENT ") else text


def analyze(connection: BaseDatabaseWrapper) -> None:
    text = "ANALYZE TABLE" if connection.vendor == "mysql" else "ANALYZE"
    with connection.cursor() as cursor:
        cursor.execute(f"{text} cachelayers_entry")
        if connection.vendor == "mysql":
            cursor.fetchall()


def scans_of(connection: BaseDatabaseWrapper, statement: Statement) -> list[str]:
    """Return the steps of the statement's plan that read a whole table."""
    explain = {"sqlite": explain_sqlite, "postgresql": explain_postgres, "mysql": explain_mysql}
    return explain[connection.vendor](connection, statement)


def explain_sqlite(connection: BaseDatabaseWrapper, statement: Statement) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {statement.text}", statement.parameters)
        return [row[3] for row in cursor.fetchall() if row[3].startswith("SCAN cachelayers")]


def explain_postgres(connection: BaseDatabaseWrapper, statement: Statement) -> list[str]:
    with connection.cursor() as cursor:
        # Only if there is no other way: a hundred ids of two thousand may be found by a scan.
        cursor.execute("SET enable_seqscan = off")
        try:
            cursor.execute(f"EXPLAIN {without_limit(statement.text)}", statement.parameters)
            return [row[0] for row in cursor.fetchall() if "Seq Scan" in row[0]]
        finally:
            cursor.execute("RESET enable_seqscan")


def explain_mysql(connection: BaseDatabaseWrapper, statement: Statement) -> list[str]:
    text = without_limit(statement.text)
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {text}", statement.parameters)
        names = [column[0] for column in cursor.description]
        plan = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    # An insert is "ALL" too, with no rows to read.
    return [str(step) for step in plan if step["type"] == "ALL" and "INSERT" not in text]
