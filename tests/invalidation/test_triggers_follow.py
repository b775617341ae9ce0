"""Triggers follow the database's tables: renamed, swapped, inherited, without a log."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connections

from cachelayers import checks
from cachelayers.invalidation.sql.analysis import forget_databases
from cachelayers.invalidation.triggers import guarded_tables, install_triggers, receive_post_migrate
from tests.invalidation.conftest import Site
from tests.invalidation.test_triggers import last_id, logged
from tests.library.models import Loan

LOAN = {"table:library_loan", "rows:library_loan"}
RENAME_KEY = "ALTER TABLE library_loan RENAME COLUMN number TO code"
NEW_LOAN = "CREATE TABLE library_loan (number INTEGER PRIMARY KEY, reader VARCHAR(50))"


@pytest.fixture
def loans_anew(site: Site) -> Iterator[None]:
    """Create the table again after the test, whatever its state."""
    yield
    connection = connections[site.database]
    tables = connection.introspection.table_names()
    for name in ("library_loan", "library_oldloan", "library_newloan"):
        if name in tables:
            site.execute(f"DROP TABLE {name}")
    with connection.schema_editor() as editor:
        editor.create_model(Loan)
    receive_post_migrate(None, using=site.database, plan=["anything"])


def elsewhere(site: Site, *statements: str) -> None:
    """Run statements like another program, past the execute wrapper."""
    connection = connections[site.database]
    connection.ensure_connection()
    cursor = connection.connection.cursor()
    try:
        for statement in statements:
            cursor.execute(statement)
    finally:
        cursor.close()


def is_guarded(site: Site, table: str = "library_loan") -> bool:
    return table in guarded_tables(connections[site.database])


@pytest.mark.usefixtures("loans_anew")
def test_a_table_whose_key_a_migration_renames_stays_writable(site: Site) -> None:
    Loan.objects.using(site.database).count()
    site.execute(RENAME_KEY)
    before = last_id(site)

    elsewhere(site, "INSERT INTO library_loan (code, reader) VALUES (7, 'Ann')")

    assert logged(site, before) == LOAN  # this code does not know the key: any row


@pytest.mark.usefixtures("loans_anew")
def test_triggers_do_not_use_a_key_that_only_the_code_has(site: Site) -> None:
    elsewhere(site, RENAME_KEY)
    install_triggers(connections[site.database])  # new code, which migrates another app
    before = last_id(site)

    elsewhere(site, "INSERT INTO library_loan (code, reader) VALUES (8, 'Bea')")

    assert logged(site, before) == LOAN
    assert is_guarded(site)


@pytest.mark.usefixtures("loans_anew")
def test_a_column_that_is_not_the_database_s_key_is_none(site: Site) -> None:
    site.execute("DROP TABLE library_loan")
    site.execute("CREATE TABLE library_loan (old INTEGER PRIMARY KEY, number INT, reader TEXT)")
    install_triggers(connections[site.database])
    before = last_id(site)

    elsewhere(site, "INSERT INTO library_loan (old, number, reader) VALUES (1, 2, 'Bea')")

    assert logged(site, before) == LOAN  # old workers depend on row 1, new ones on row 2


@pytest.mark.usefixtures("loans_anew")
def test_a_new_table_under_an_old_one_s_name_is_guarded(site: Site) -> None:
    Loan.objects.using(site.database).count()
    site.execute("ALTER TABLE library_loan RENAME TO library_oldloan")
    site.execute(NEW_LOAN)
    before = last_id(site)

    elsewhere(site, "INSERT INTO library_loan (number, reader) VALUES (9, 'Cid')")

    assert {"table:library_loan", "row:library_loan:9"} <= logged(site, before)


@pytest.mark.usefixtures("loans_anew")
def test_check_reports_and_migrate_repairs_a_table_that_another_program_has_swapped(
    site: Site,
) -> None:
    elsewhere(
        site,
        NEW_LOAN.replace("library_loan", "library_newloan"),
        "ALTER TABLE library_loan RENAME TO library_oldloan",
        "ALTER TABLE library_newloan RENAME TO library_loan",
    )
    messages = list(checks.trigger_messages(site.database))
    before = last_id(site)

    receive_post_migrate(None, using=site.database)  # nothing to migrate

    assert [message.id for message in messages] == ["cachelayers.W005"]
    assert "library_loan" in messages[0].msg
    assert is_guarded(site)
    assert logged(site, before) >= LOAN  # writes may have been missed
    assert list(checks.trigger_messages(site.database)) == []


@pytest.mark.usefixtures("loans_anew")
def test_a_trigger_s_text_counts_and_not_its_name(site: Site) -> None:
    connection = connections[site.database]
    # The other column takes the key's name: triggers are rewritten on SQLite, and fail elsewhere.
    elsewhere(
        site,
        "ALTER TABLE library_loan RENAME COLUMN number TO code",
        "ALTER TABLE library_loan RENAME COLUMN reader TO number",
    )

    install_triggers(connection)
    before = last_id(site)
    elsewhere(site, "INSERT INTO library_loan (code, number) VALUES (8, 'Bea')")

    assert logged(site, before) == LOAN


@pytest.mark.usefixtures("loans_anew")
def test_a_log_that_was_dropped_by_hand_leaves_tables_writable(site: Site) -> None:
    """On SQLite only after migrate: a trigger there cannot check whether a table exists."""
    elsewhere(site, "ALTER TABLE cachelayers_invalidation RENAME TO cachelayers_lost")
    try:
        if site.database == "default":
            elsewhere(site, *triggers_of_before(site))
            assert "cachelayers.W026" in {one.id for one in checks.trigger_messages(site.database)}
            receive_post_migrate(None, using=site.database)
        elsewhere(site, "INSERT INTO library_loan (number, reader) VALUES (9, 'Cid')")
        assert Loan.objects.using(site.database).count() == 1
    finally:
        elsewhere(site, "ALTER TABLE cachelayers_lost RENAME TO cachelayers_invalidation")
        forget_databases()


def triggers_of_before(site: Site) -> list[str]:
    """Return the statements after which triggers write to a log that does not exist.

    SQLite's triggers follow a log that is renamed.
    """
    with connections[site.database].cursor() as cursor:
        cursor.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'cachel%'"
        )
        found = cursor.fetchall()
    lost = '"cachelayers_lost"'
    return [
        one
        for name, sql in found
        for one in (f'DROP TRIGGER "{name}"', sql.replace(lost, "cachelayers_invalidation"))
    ]
