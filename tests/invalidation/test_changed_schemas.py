"""All processes learn of schema changes, and load the catalogue again when they need it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.checks import check_package_settings
from cachelayers.invalidation.sql.catalogue import Catalogue, load_catalogue
from cachelayers.invalidation.tracked import tracked_tables
from tests.invalidation.conftest import Site
from tests.library.models import Author, Card
from tests.state import another_process

VIEW = "CREATE VIEW library_names AS SELECT {} AS name FROM {}"


@pytest.fixture(autouse=True)
def without_view(site: Site) -> Iterator[None]:
    yield
    site.execute("DROP VIEW IF EXISTS library_names")


def names(site: Site) -> list[str]:
    with connections[site.database].cursor() as cursor:
        cursor.execute("SELECT name FROM library_names ORDER BY name")
        return [name for (name,) in cursor.fetchall()]


def test_the_next_request_knows_a_view_that_another_process_has_replaced(site: Site) -> None:
    Author.objects.using(site.database).create(name="Ann")
    Card.objects.using(site.database).create(holder="Bea")
    site.execute(VIEW.format("name", "library_author"))
    site.settle()
    assert site.visit("names", lambda: names(site)) == ["Ann"]
    # Another process, of a deploy, knows what it does, and this one does not.
    with another_process("invalidation.sql.analysis"):
        site.execute("DROP VIEW library_names")
        site.execute(VIEW.format("holder", "library_card"))
    site.settle()

    assert site.visit("names", lambda: names(site)) == ["Bea"]
    Card.objects.using(site.database).update(holder="Bob")

    assert site.visit("names", lambda: names(site)) == ["Bob"]


def test_a_run_of_schema_statements_loads_the_catalogue_when_a_name_is_needed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    Author.objects.using(site.database).count()
    loads: list[str] = []

    def load(connection: BaseDatabaseWrapper) -> Catalogue:
        loads.append(connection.alias)
        return load_catalogue(connection)

    monkeypatch.setattr("cachelayers.invalidation.sql.analysis.load_catalogue", load)
    try:
        for number in range(5):
            site.execute(f"CREATE TABLE library_extra{number} (id INTEGER)")
            Author.objects.using(site.database).filter(pk=number).update(name="x")
        assert loads == []
        site.execute("INSERT INTO library_extra4 VALUES (1)")
        assert loads == [site.database]
    finally:
        for number in range(5):
            site.execute(f"DROP TABLE library_extra{number}")


def test_another_database_under_the_same_alias_is_another_one(site: Site, tmp_path: Any) -> None:
    if site.database != "default":
        return
    connection = connections[site.database]
    Author.objects.using(site.database).count()
    monkeypatch = pytest.MonkeyPatch()
    connection.close()
    monkeypatch.setitem(connection.settings_dict, "NAME", str(tmp_path / "other.sqlite3"))
    try:
        site.execute("CREATE TABLE library_author (id INTEGER PRIMARY KEY, name TEXT)")
        site.execute("INSERT INTO library_author (name) VALUES ('Ann')")
        assert Author.objects.using(site.database).count() == 1
    finally:
        connection.close()
        monkeypatch.undo()


def test_unknown_names_in_track_are_ignored_and_reported_by_the_check(
    site: Site, settings: Any
) -> None:
    settings.CACHELAYERS = {"TRACK": ["library.Author", "libary", "library.Buch"]}

    assert list(tracked_tables(site.database)) == ["library_author"]
    told = [message.msg for message in check_package_settings(None)]
    assert [text.split()[2] for text in told] == ["'libary',", "'library.Buch',"]
