"""Processes that end at the wrong moment, callbacks, fixtures and rebuilt tables."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connections, transaction

from cachelayers.invalidation.triggers import guarded_tables, receive_post_migrate
from tests.conftest import ForkPython
from tests.invalidation.conftest import Site
from tests.library.models import Author

WRITE_AND_DIE = """
import os, sys
import django
django.setup()
from django.db import transaction
from tests.library.models import Author
with transaction.atomic(sys.argv[1]):
    Author.objects.using(sys.argv[1]).filter(pk=1).update(name="Anna")
    transaction.on_commit(lambda: os._exit(9), sys.argv[1])
"""
FIND_NAME = """
import sys
import django
django.setup()
from cachelayers import recall, unit_of_work
from tests.library.models import Author
with unit_of_work():
    read = lambda: Author.objects.using(sys.argv[1]).get(pk=1).name
    print(recall("author", read, timeout=None, using="sqlite"))
"""


@pytest.fixture(autouse=True)
def _author(site: Site) -> None:
    Author.objects.using(site.database).create(pk=1, name="Ann")
    site.settle()


def name_of(site: Site) -> str:
    return Author.objects.using(site.database).get(pk=1).name


def test_a_process_that_dies_right_after_its_commit_has_invalidated(
    site: Site, fork_python: ForkPython
) -> None:
    site.visit("author", lambda: name_of(site))

    process = fork_python(WRITE_AND_DIE, site.database)
    process.communicate(timeout=60)

    assert process.returncode == 9
    assert site.visit("author", lambda: name_of(site)) == "Anna"


def test_another_process_reads_what_this_one_has_stored_and_not_what_is_old(
    site: Site, fork_python: ForkPython
) -> None:
    site.visit("author", lambda: "stored by this process " + name_of(site))

    first = fork_python(FIND_NAME, site.database).communicate(timeout=60)
    Author.objects.using(site.database).filter(pk=1).update(name="Anna")
    second = fork_python(FIND_NAME, site.database).communicate(timeout=60)

    assert first[0] == "stored by this process Ann\n", first[1]
    assert second[0] == "Anna\n", second[1]


def test_a_read_in_an_on_commit_callback_sees_the_change(site: Site) -> None:
    found: list[str] = []
    site.visit("author", lambda: name_of(site))

    def read_elsewhere() -> None:
        def read() -> str:
            try:
                return str(site.visit("author", lambda: name_of(site)))
            finally:
                connections.close_all()

        with ThreadPoolExecutor(1) as pool:
            found.append(pool.submit(read).result(60))

    with transaction.atomic(site.database):
        Author.objects.using(site.database).filter(pk=1).update(name="Anna")
        transaction.on_commit(read_elsewhere, site.database)

    assert found == ["Anna"]


def test_loaded_fixtures_invalidate(site: Site, tmp_path: Path) -> None:
    site.visit("author", lambda: name_of(site))
    fixture = tmp_path / "authors.json"
    row = {"model": "library.author", "pk": 1, "fields": {"name": "Loaded"}}
    fixture.write_text(json.dumps([row]))

    call_command("loaddata", fixture, database=site.database, verbosity=0)

    assert site.visit("author", lambda: name_of(site)) == "Loaded"


def test_a_table_that_was_rebuilt_is_logged_before_migrate_has_ended_and_after(site: Site) -> None:
    """Django alters a table on SQLite by creating a new one, which gets triggers at once."""
    if site.database != "default":
        return
    connection = connections[site.database]
    site.visit("author", lambda: name_of(site))
    with connection.constraint_checks_disabled(), connection.schema_editor() as editor:
        editor._remake_table(Author)  # type: ignore[attr-defined] # as alter_field() does

    is_guarded = "library_author" in guarded_tables(connection)
    Author.objects.using(site.database).filter(pk=1).update(name="by a data migration")
    meanwhile = site.visit("author", lambda: name_of(site))
    receive_post_migrate(None, using=site.database, plan=["altered"])

    assert is_guarded
    assert meanwhile == "by a data migration"
    assert "library_author" in guarded_tables(connection)


def test_a_flushed_database_makes_every_entry_invalid(site: Site) -> None:
    site.visit("author", lambda: name_of(site))
    with connections[site.database].cursor() as cursor:
        cursor.execute("DELETE FROM cachelayers_logstate")

    assert not site.is_hit("author", lambda: name_of(site))
