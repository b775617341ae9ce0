"""No recalled answer differs from the database's, whatever is asked and written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from django.core.cache import caches
from django.db import connections
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pytest_django.plugin import DjangoDbBlocker

from cachelayers.invalidation.sql.analysis import Analysis, forget_databases
from cachelayers.invalidation.triggers import install_triggers
from tests.programs.running import Figures, Run, empty, find_stale, make_program

SEEDS = st.integers(0, 2**32 - 1)
MOST_PROGRAMS = 30  # until a fault is found
DATABASES = ("default", "postgres", "mariadb")
EACH = [  # the number of programs, of which each compares more than 200 answers
    pytest.param("default", 10, id="default"),
    pytest.param("postgres", 8, marks=pytest.mark.postgres, id="postgres"),
    pytest.param("mariadb", 2, marks=pytest.mark.mariadb, id="mariadb"),
]


@pytest.fixture(autouse=True)
def _databases(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield
        caches["memory"].clear()
        for database in DATABASES:
            if database in connections.settings and connections[database].connection is not None:
                empty(database)


@pytest.mark.parametrize(("database", "programs"), EACH)
def test_no_answer_is_stale(database: str, programs: int) -> None:
    figures = Figures()

    @settings(
        max_examples=programs,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # a number cannot be shrunk: find_stale() shrinks its program
        suppress_health_check=list(HealthCheck),
    )
    @given(SEEDS)
    def run(seed: int) -> None:
        if found := find_stale(seed, database, "memory", figures):
            pytest.fail(found)

    run()
    assert figures.total > 150 * programs
    assert figures.hits.total() > figures.total / 3
    assert figures.needed.total() > 2 * programs


# It would be found


def test_a_kind_of_query_without_tags_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    read_tags = Analysis.read_tags

    def tags_of_one_table(self: Analysis, parameters: Any) -> list[str]:
        tags = read_tags(self, parameters)
        return tags if len(self.tables) < 2 else [tag for tag in tags if "_remark" not in tag]

    monkeypatch.setattr(Analysis, "read_tags", tags_of_one_table)

    stale = (find_stale(seed, "default", "memory", Figures()) for seed in range(MOST_PROGRAMS))
    found = next(filter(None, stale))

    assert "Remark" in found or "programs_remark" in found
    _, _, queries_and_writes = found.partition("queries=[")
    assert queries_and_writes.count("        ") == 2, found  # one query, one write


@pytest.mark.parametrize(
    "database", ["default", pytest.param("postgres", marks=pytest.mark.postgres)]
)
def test_a_table_without_its_trigger_is_found(database: str) -> None:
    Run(make_program(0), database).run()  # from now on the triggers are known

    with without_triggers(database, "programs_post"):
        assert any(Run(make_program(seed), database).run() for seed in range(MOST_PROGRAMS))


@contextmanager
def without_triggers(database: str, table: str) -> Iterator[None]:
    """Switch a table's triggers off, past Django."""
    if database == "postgres":
        statements = [f"ALTER TABLE {table} DISABLE TRIGGER USER"]
    else:
        named = f"SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = '{table}'"
        statements = [f'DROP TRIGGER "{name}"' for (name,) in execute_past_django(database, named)]
    for statement in statements:
        execute_past_django(database, statement)
    try:
        yield
    finally:
        assert install_triggers(connections[database]) == []
        forget_databases()


def execute_past_django(database: str, statement: str) -> list[Any]:
    with closing(connections[database].connection.cursor()) as cursor:
        cursor.execute(statement)
        return [] if cursor.description is None else list(cursor.fetchall())
