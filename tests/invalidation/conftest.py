"""A database with tracked tables and a store, for each vendor that the promise is made for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import connections
from pytest_django.plugin import DjangoDbBlocker

from cachelayers import recall, unit_of_work
from cachelayers.invalidation.log import log_of
from tests.conftest import empty_cache
from tests.library.models import Author, Book, Branch, Card, Essay, Loan, Place, Subject, Untracked

VENDORS = [
    "default",
    pytest.param("postgres", marks=pytest.mark.postgres),
    pytest.param("mariadb", marks=pytest.mark.mariadb),
]
MODELS = (Book.subjects.through, Book, Essay, Author, Subject, Branch, Place, Card, Loan, Untracked)


@dataclass
class Site:
    """A database, with recalls of its data."""

    database: str
    store: str = "sqlite"
    computed: list[str] = field(default_factory=list)

    def recall(self, key: str, compute: Callable[[], Any], **options: Any) -> Any:
        """Recall within the current unit of work, and record whether the value was computed."""

        def count_and_compute() -> Any:
            self.computed.append(key)
            return compute()

        return recall(key, count_and_compute, **{"using": self.store, "timeout": None, **options})

    def visit(self, key: str, compute: Callable[[], Any], **options: Any) -> Any:
        """Recall in a new unit of work, as the next request does."""
        with unit_of_work():
            return self.recall(key, compute, **options)

    def is_hit(self, key: str, compute: Callable[[], Any], **options: Any) -> bool:
        """Return whether the next request gets a hit."""
        before = len(self.computed)
        self.visit(key, compute, **options)
        return len(self.computed) == before

    def settle(self) -> None:
        """Wait until all writes count as committed, so that values computed now can be hits.

        MariaDB waits some seconds for late commits. PostgreSQL's watermark stays below any
        transaction that is open on the server, such as another test's.
        """
        if self.database == "mariadb":
            self.execute("UPDATE cachelayers_invalidation SET at = at - 60000")
            if known := log_of(self.database).known:
                known.newest = None  # else a row that is not as it was tells of an older log
        if self.database == "postgres":
            await_condition(self._is_settled)

    def _is_settled(self) -> bool:
        with connections[self.database].cursor() as cursor:
            cursor.execute(
                "SELECT COALESCE(MAX(position), 0) < pg_snapshot_xmin(pg_current_snapshot())::text"
                "::bigint FROM cachelayers_invalidation"
            )
            return bool(cursor.fetchall()[0][0])

    def execute(self, statement: str, parameters: Any = None) -> None:
        with connections[self.database].cursor() as cursor:
            cursor.execute(statement, parameters)


@pytest.fixture(params=VENDORS)
def site(
    request: pytest.FixtureRequest,
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[Site]:
    """Return an empty site on each kind of database."""
    with django_db_blocker.unblock():
        site = Site(request.param)
        empty_cache(site.store)
        empty(site.database)
        yield site
        empty(site.database)


def await_condition(is_true: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until it is."""
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def empty(database: str) -> None:
    for model in MODELS:
        model._default_manager.using(database).all().delete()
