"""A log that was moved, or loaded beside another one, validates no entry, and then works again."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connections, transaction

from cachelayers import invalidate, unit_of_work
from cachelayers.invalidation.log import begin_anew, log_of
from cachelayers.invalidation.pruning import prune
from tests import environment
from tests.invalidation import moving
from tests.invalidation.conftest import Site, await_condition
from tests.invalidation.test_units import name_of, rename
from tests.library.models import Author
from tests.servers import Postgres
from tests.state import reset


@pytest.fixture(autouse=True)
def _author(site: Site) -> None:
    Author.objects.using(site.database).create(pk=1, name="Ann")
    site.settle()


ON_SQLITE = pytest.mark.parametrize("site", ["default"], indirect=True)
ON_POSTGRES = pytest.mark.parametrize(
    "site", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)


def works(site: Site, name: str = "Anna") -> bool:
    """Return whether a log gives hits, and none of them is stale."""
    site.visit("begins", lambda: name_of(site))  # the log begins anew, where it has to
    settle(site)
    site.visit("works", lambda: name_of(site))
    has_hits = site.is_hit("works", lambda: name_of(site))
    rename(site, name)
    settle(site)
    is_fresh: bool = site.visit("works", lambda: name_of(site)) == name
    return has_hits and is_fresh and site.is_hit("works", lambda: name_of(site))


def settle(site: Site) -> None:
    """Wait for the server's own work after a restore, whose transactions are open too."""
    site.settle()
    if connections[site.database].vendor == "postgresql":
        await_condition(site._is_settled)


def forget_all() -> None:
    """Forget the log, as a new process."""
    reset("invalidation.log")


@pytest.fixture(scope="module")
def other_server() -> Iterator[Postgres]:
    """Run a server that has used fewer transaction ids than the run's."""
    with Postgres(environment.make_private_folder("other")) as server:
        yield server


@pytest.fixture
def younger(other_server: Postgres) -> Iterator[Site]:
    """Return an empty site on it."""
    name = f"moved_{uuid4().hex[:8]}"
    other_server.create_database(name)
    with moving.database("moved", other_server.database_settings(name)) as site:
        yield site


def name_in(site: Site) -> str:
    return str(connections[site.database].settings_dict["NAME"])


@pytest.fixture
def shared() -> Postgres:
    server = environment.shared_server("postgres")
    assert isinstance(server, Postgres)
    return server


@ON_POSTGRES
@pytest.mark.parametrize("is_pruned", [True, False])
def test_a_dump_that_is_restored_on_a_younger_server(
    site: Site,
    younger: Site,
    shared: Postgres,
    other_server: Postgres,
    settings: Any,
    is_pruned: bool,
) -> None:
    moving.spend_transactions(site, 20_000)
    site.visit("works", lambda: name_of(site))
    rename(site, "Anne")
    site.settle()
    if is_pruned:
        settings.CACHELAYERS = {**settings.CACHELAYERS, "LONGEST_TIMEOUT": 0}
        prune(site.database)

    moving.load(other_server, name_in(younger), moving.dump(shared, environment.database_name()))

    assert works(younger)
    with connections["moved"].cursor() as cursor:
        cursor.execute(
            "SELECT MAX(position) < pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
            " FROM cachelayers_invalidation"
        )
        assert cursor.fetchall() == [(True,)]


@ON_POSTGRES
def test_a_dump_of_the_data_alone_is_loaded_into_a_site_that_runs(
    site: Site, younger: Site, shared: Postgres, other_server: Postgres
) -> None:
    """No row of it is refused, and the other log's rows have no effect."""
    name = environment.database_name()
    moving.spend_transactions(site, 20_000)
    invalidate(Author, using=site.database)
    moving.load(other_server, name_in(younger), moving.dump(shared, name, "--schema-only"))
    younger.visit("count", lambda: Author.objects.using("moved").count())
    before = log_of("moved").reading

    tables = [f"--table={table}" for table in moving.TABLES]
    moving.load(other_server, name_in(younger), moving.dump(shared, name, "--data-only", *tables))

    assert younger.visit("count", lambda: Author.objects.using("moved").count()) == 1
    assert works(younger)
    after = log_of("moved").reading
    assert before is not None
    assert after is not None
    assert before.incarnation != after.incarnation


@ON_POSTGRES
def test_a_role_that_may_not_ask_for_the_server_s_number_agrees_with_one_that_may(
    site: Site,
) -> None:
    site.visit("author", lambda: name_of(site))
    before = log_of(site.database).reading
    site.execute("DROP ROLE IF EXISTS humble")
    site.execute("CREATE ROLE humble LOGIN IN ROLE pg_read_all_data, pg_write_all_data")
    site.execute("REVOKE EXECUTE ON FUNCTION pg_control_system FROM PUBLIC")
    try:
        configured = {**connections[site.database].settings_dict, "USER": "humble"}
        with moving.database("humble", configured):
            after = log_of("humble").refresh()
    finally:
        site.execute("GRANT EXECUTE ON FUNCTION pg_control_system TO PUBLIC")
        site.execute("DROP ROLE humble")

    assert before is not None
    assert after.incarnation == before.incarnation


def test_a_state_that_was_loaded_beside_the_log_s_own_makes_a_new_log(site: Site) -> None:
    site.visit("author", lambda: name_of(site))
    before = log_of(site.database).refresh()

    site.execute(
        "INSERT INTO cachelayers_logstate (id, incarnation, floor) VALUES (1, 'of another', 900000)"
    )
    is_hit = site.is_hit("author", lambda: name_of(site))

    assert not is_hit
    assert log_of(site.database).refresh().incarnation not in {before.incarnation, "of another"}
    assert works(site)


def test_a_new_process_takes_no_state_that_was_begun_elsewhere(site: Site) -> None:
    site.visit("author", lambda: name_of(site))
    site.execute("UPDATE cachelayers_logstate SET origin = 'elsewhere'")
    forget_all()

    assert not site.is_hit("author", lambda: name_of(site))
    assert works(site)


@ON_SQLITE
def test_a_file_that_replaces_another_one_has_another_log(site: Site, tmp_path: Path) -> None:
    """Also if the older file has been written to again, and no process remembers the newer one."""
    path = moving.copy_file(tmp_path / "site.sqlite3")
    with moving.database("moved", moving.sqlite_file(path)) as moved:
        moved.visit("warm", lambda: name_of(moved))
        connections["moved"].close()
        backup = tmp_path / "backup.sqlite3"
        backup.write_bytes(path.read_bytes())
        rename(moved, "lost")
        moved.visit("author", lambda: name_of(moved))
        connections["moved"].close()

        backup.replace(path)
        forget_all()
        for number in range(5):
            rename(moved, f"other {number}", key=2)
            invalidate(Author(pk=2), using="moved")

        assert moved.visit("author", lambda: name_of(moved)) == "Ann"
        assert works(moved)


@ON_SQLITE
def test_an_older_copy_is_detected_even_if_it_reaches_as_far(site: Site, tmp_path: Path) -> None:
    """It is the same file with as many log rows, but the last known row differs."""
    path, backup = moving.copy_file(tmp_path / "site.sqlite3"), tmp_path / "backup.sqlite3"
    with moving.database("moved", moving.sqlite_file(path)) as moved:
        moved.visit("author", lambda: name_of(moved))
        moving.copy_over(path, backup)
        for number in range(3):
            invalidate(f"lost-{number}", using="moved")
        moved.visit("author", lambda: name_of(moved))

        moving.copy_over(backup, path)
        rename(moved, "Anna")
        for number in range(5):
            invalidate(f"other-{number}", using="moved")

        assert moved.visit("author", lambda: name_of(moved)) == "Anna"
        assert works(moved)


def test_a_row_that_was_pruned_is_no_sign_of_an_older_copy(site: Site) -> None:
    rename(site, "Anna")
    site.visit("author", lambda: name_of(site))
    before = log_of(site.database).refresh()
    rename(site, "Anne")
    site.settle()

    prune(site.database)

    assert log_of(site.database).refresh().incarnation == before.incarnation


def test_dumpdata_contains_nothing_of_the_cache(site: Site, tmp_path: Path) -> None:
    site.visit("author", lambda: name_of(site))
    path = moving.fixture_of(site.database, tmp_path / "all.json", "cachelayers", "library")

    models = {row["model"] for row in json.loads(path.read_text())}

    assert "library.author" in models
    assert not {model for model in models if model.startswith("cachelayers.")}


@ON_POSTGRES
def test_a_fixture_with_the_log_of_another_vendor_does_no_harm(site: Site, tmp_path: Path) -> None:
    """`dumpdata --all` writes such fixtures, and older versions did."""
    moving.spend_transactions(site, 5_000)
    rename(site, "Anne")
    tables = ("cachelayers.logstate", "cachelayers.invalidation", "library")
    path = moving.fixture_of(site.database, tmp_path / "old.json", *tables, "--all")
    copy = moving.copy_file(tmp_path / "site.sqlite3")

    with moving.database("moved", moving.sqlite_file(copy)) as moved:
        moved.visit("works", lambda: Author.objects.using("moved").count())
        call_command("loaddata", path, database="moved", verbosity=0)

        assert works(moved)


@ON_POSTGRES
@pytest.mark.parametrize("by_trigger", [True, False])
def test_an_id_that_is_behind_the_rows_loses_no_invalidation(site: Site, by_trigger: bool) -> None:
    site.visit("author", lambda: name_of(site))
    site.execute(
        "SELECT setval(pg_get_serial_sequence('cachelayers_invalidation', 'id'), 1, false)"
    )
    site.execute(
        "INSERT INTO cachelayers_invalidation (position, tag, at)"
        " SELECT pg_current_xact_id()::text::bigint, 'word:' || n, 0"
        " FROM generate_series(1, 5) AS n"
    )
    site.execute(
        "SELECT setval(pg_get_serial_sequence('cachelayers_invalidation', 'id'), 1, false)"
    )

    if by_trigger:
        rename(site, "Anna")
    else:
        invalidate(Author, using=site.database)

    assert not site.is_hit("author", lambda: name_of(site))
    assert works(site)
    site.execute(  # for the tests after this one
        "SELECT setval(pg_get_serial_sequence('cachelayers_invalidation', 'id'),"
        " (SELECT MAX(id) FROM cachelayers_invalidation))"
    )


def test_clear_cache_begins_a_new_log(site: Site) -> None:
    site.visit("author", lambda: name_of(site))
    before = log_of(site.database).refresh()

    with contextlib.suppress(CommandError):  # caches on servers that this test does not need
        call_command("clear_cache", "--all", "--no-input", stdout=StringIO(), stderr=StringIO())

    assert log_of(site.database).refresh().incarnation != before.incarnation
    assert site.database != "postgres" or rows_in(site) == 0
    assert works(site)


def rows_in(site: Site) -> int:
    with connections[site.database].cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM cachelayers_invalidation")
        return int(cursor.fetchall()[0][0])


def test_a_new_incarnation_begins_outside_a_transaction_that_cannot_begin_it(site: Site) -> None:
    """The transaction may be rolled back, and its snapshot may be older."""
    if site.database == "default":
        return
    site.visit("author", lambda: name_of(site))
    site.execute("UPDATE cachelayers_logstate SET origin = 'elsewhere'")
    forget_all()

    with unit_of_work(), transaction.atomic(site.database):
        site.recall("author", lambda: name_of(site))
        transaction.set_rollback(True, site.database)

    with connections[site.database].cursor() as cursor:
        cursor.execute("SELECT origin FROM cachelayers_logstate")
        assert cursor.fetchall() not in ([("elsewhere",)], [])
    assert works(site)


def test_two_processes_that_begin_an_incarnation_at_once_agree(site: Site) -> None:
    begin_anew(connections[site.database])
    begin_anew(connections[site.database])

    with connections[site.database].cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM cachelayers_logstate")
        assert cursor.fetchall()[0][0] == 1
    assert works(site)
