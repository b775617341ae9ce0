"""Counts that start at zero, and statistics tables in each kind of database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.conf import settings as django_settings
from django.core.cache import caches
from django.db import connections
from django.test import override_settings
from pytest_django import Settings
from pytest_django.plugin import DjangoDbBlocker

from cachelayers.statistics.table import STATISTICS, TIMINGS
from cachelayers.statistics.writing import writer
from cachelayers.utils import counters
from tests.settings import database_cache, layered_cache, memory_cache
from tests.state import reset

DATABASES = [
    "sqlite_cache",
    pytest.param("postgres", marks=pytest.mark.postgres),
    pytest.param("mariadb", marks=pytest.mark.mariadb),
]


@pytest.fixture(autouse=True)
def _counts_from_zero(settings: Settings) -> Iterator[None]:
    """Start as a new process that writes its counts."""
    settings.CACHELAYERS = {**settings.CACHELAYERS, "STATS_SECONDS": 10}
    counters.begin_anew_after_fork()
    writer.reset_after_fork()
    reset("utils.tracing.pending_samples")
    yield
    reset("utils.tracing.pending_samples")


@pytest.fixture
def statistics_table(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """Return the alias of the database with the statistics, which are empty."""
    with django_db_blocker.unblock():
        empty("sqlite_cache")
        yield "sqlite_cache"


@pytest.fixture(params=DATABASES)
def database(
    request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[str]:
    """Return the same, for each kind of database."""
    alias: str = request.param
    with (
        django_db_blocker.unblock(),
        override_settings(CACHES={**django_settings.CACHES, "default": database_cache(alias)}),
    ):
        caches["default"].has_key("made")  # switches an SQLite file to WAL mode, as on a site
        empty(alias)
        yield alias


@pytest.fixture
def stack(statistics_table: str) -> Iterator[str]:
    """Return the alias of an empty LayeredCache of memory and a table."""
    configured = {
        "counted": layered_cache("counted-memory", "counted-table"),
        "counted-memory": memory_cache(),
        "counted-table": database_cache("sqlite_cache"),
    }
    with override_settings(CACHES={**django_settings.CACHES, **configured}):
        caches["counted"].clear()
        caches["counted-memory"].clear()  # other tests may have left entries there
        counters.begin_anew_after_fork()
        yield "counted"


def empty(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        for table in (STATISTICS, TIMINGS):
            cursor.execute(f"DELETE FROM {table}")
