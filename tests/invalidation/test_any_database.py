"""Databases without a log do no harm, and tables may have any name."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import connections
from pytest_django import Settings
from pytest_django.plugin import DjangoDbBlocker

from cachelayers import recall
from cachelayers.checks import check_databases, trigger_messages
from cachelayers.invalidation.dialects import dialect_for
from cachelayers.invalidation.reports import reports
from cachelayers.invalidation.sql import analysis
from cachelayers.invalidation.sql.catalogue import Catalogue, load_catalogue
from cachelayers.invalidation.sql.statements import parse_statement
from cachelayers.invalidation.tracked import KeyKind, TrackedTable, without_schema
from tests.invalidation.conftest import Site
from tests.library.models import Author


@pytest.fixture
def unblocked(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        reports.clear()
        yield


@pytest.fixture
def extra(unblocked: None, tmp_path: Path) -> Iterator[Any]:
    """Return a database that was never migrated."""
    settings = {**connections.settings["default"], "NAME": str(tmp_path / "extra.sqlite3")}
    connections.settings["extra"] = settings
    connection = connections["extra"]
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE library_author (id integer PRIMARY KEY, name varchar(50))")
        cursor.execute("INSERT INTO library_author VALUES (1, 'Ann')")
    yield connection
    connection.close()
    del connections["extra"]
    del connections.settings["extra"]


@pytest.mark.parametrize(
    "alias",
    [
        pytest.param("postgres", marks=pytest.mark.postgres),
        pytest.param("mariadb", marks=pytest.mark.mariadb),
    ],
)
def test_the_connection_that_makes_test_databases_works(unblocked: None, alias: str) -> None:
    with connections[alias]._nodb_cursor() as cursor:
        cursor.execute("SELECT 1")

        assert list(cursor.fetchall()) == [(1,)]


def names(key: str, database: str) -> Any:
    read = Author.objects.using(database).values_list
    return recall(key, lambda: list(read("name")), using="sqlite", timeout=None)


def test_a_database_of_a_vendor_without_a_log_is_read_and_that_is_said(
    extra: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extra, "vendor", "microsoft", raising=False)

    assert names("other-vendor", "extra") == [("Ann",)]
    [warning] = check_databases(None)
    assert warning.id == "cachelayers.W030"
    assert "'extra'" in warning.msg
    assert "'microsoft'" in warning.msg


def test_a_database_without_a_log_is_queried_once_and_its_values_are_not_stored(
    extra: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loads = []

    def load(connection: Any) -> Catalogue:
        loads.append(connection)
        return load_catalogue(connection)

    monkeypatch.setattr(analysis, "load_catalogue", load)
    analysis.database_of(extra).forget()
    for number in range(5):
        names("no-log", "extra")
        list(Author.objects.using("extra").filter(pk=number))
    Author.objects.using("extra").update(name="Anna")

    assert names("no-log", "extra") == [("Anna",)]
    assert len(loads) == 1
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "no log of changes" in record.getMessage()


AWKWARD = ("tag", "position", "epoch", "text", "from", "log", "at", "incarnation", "floor")


@pytest.mark.parametrize("vendor", ["sqlite", "postgresql", "mysql"])
def test_statements_on_the_log_are_known_as_such(vendor: str) -> None:
    dialect = dialect_for(vendor, 10)
    own = [dialect.refresh, dialect.first_refresh, dialect.look_up(2), dialect.insert(3)]

    for text in [*own, dialect.new_state]:
        assert parse_statement(text, vendor).is_own
    for text in [
        "TRUNCATE library_book, cachelayers_entry",
        "SELECT tag FROM cachelayers_invalidation, library_book",
        "INSERT INTO cachelayers_entry SELECT * FROM library_book",
    ]:
        assert not parse_statement(text, vendor).is_own


def test_a_tracked_table_may_have_any_name(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = {name: TrackedTable(name, "id", KeyKind.INTEGER) for name in AWKWARD}
    monkeypatch.setattr(analysis, "tracked_tables", lambda alias: tables)
    quote = connections[site.database].ops.quote_name
    key = f"awkward-{site.database}"
    try:
        for name in AWKWARD:
            site.execute(f"CREATE TABLE {quote(name)} (id integer, floor integer)")
        for name in AWKWARD:
            select = f"SELECT floor FROM {quote(name)}"

            def rows(select: str = select) -> Any:
                with connections[site.database].cursor() as cursor:
                    cursor.execute(select)
                    return list(cursor.fetchall())

            site.visit(f"{key}-{name}", rows)
            site.execute(f"INSERT INTO {quote(name)} VALUES (1, 7)")
            assert site.visit(f"{key}-{name}", rows) == [(7,)]
    finally:
        for name in AWKWARD:
            site.execute(f"DROP TABLE IF EXISTS {quote(name)}")


@pytest.mark.parametrize("written", ['"public"."t"', 'public"."t', "t", "T"])
def test_a_schema_in_a_table_s_name_is_not_part_of_it(written: str) -> None:
    assert without_schema(written).lower() == "t"


class LogsNowhere:
    """A router that does not allow this app's tables anywhere."""

    def allow_migrate(self, database: str, app_label: str, **hints: Any) -> bool | None:
        return False if app_label == "cachelayers" else None


@pytest.mark.parametrize(
    ("track", "found"),
    [("library.Author", ["cachelayers.E026"]), ("*", ["cachelayers.W025"]), ("airports", [])],
)
def test_a_tracked_table_is_reported_if_routers_do_not_allow_a_log(
    extra: Any, settings: Settings, track: str, found: list[str]
) -> None:
    settings.CACHELAYERS = {"TRACK": [track]}
    settings.DATABASE_ROUTERS = [f"{__name__}.LogsNowhere"]

    assert [message.id for message in trigger_messages("extra")] == found


def test_an_app_that_a_test_has_put_aside_is_tracked_all_the_same(
    site: Site, settings: Settings
) -> None:
    """`available_apps` of a TransactionTestCase hides apps whose tables still exist and change."""
    settings.CACHELAYERS = {"TRACK": ["airports", "library"]}
    apps.set_available_apps(["tests.library"])
    try:
        Author.objects.using(site.database).create(pk=1, name="Ann")
        site.settle()
        site.visit("names", lambda: Author.objects.using(site.database).get().name)
        Author.objects.using(site.database).update(name="Anna")

        assert site.visit("names", lambda: Author.objects.using(site.database).get().name) == "Anna"
    finally:
        apps.unset_available_apps()
