"""Triggers log all writers, migrate repairs them, and they go when their table is untracked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connections, transaction

from cachelayers import checks
from cachelayers.invalidation.sql.analysis import forget_databases
from cachelayers.invalidation.triggers import (
    guarded_tables,
    install_triggers,
    receive_post_migrate,
    remove_triggers,
)
from cachelayers.invalidation.triggers.definitions import literal, mysql_literal
from tests.invalidation.conftest import Site
from tests.library.models import Author, Card


def logged(site: Site, since: int) -> set[str]:
    with connections[site.database].cursor() as cursor:
        cursor.execute("SELECT tag FROM cachelayers_invalidation WHERE id > %s", [since])
        return {tag for (tag,) in cursor.fetchall()}


def last_id(site: Site) -> int:
    with connections[site.database].cursor() as cursor:
        cursor.execute("SELECT COALESCE(MAX(id), 0) FROM cachelayers_invalidation")
        return int(cursor.fetchall()[0][0])


@pytest.fixture
def without_triggers(site: Site) -> Iterator[None]:
    remove_triggers(connections[site.database])
    forget_databases()
    yield
    install_triggers(connections[site.database])
    forget_databases()


def test_all_tracked_tables_are_guarded_after_migrate(site: Site) -> None:
    tables = guarded_tables(connections[site.database])

    assert {"library_author", "library_book", "library_book_subjects", "library_card"} <= tables
    assert "library_untracked" not in tables


def test_a_save_logs_the_table_and_the_row(site: Site) -> None:
    before = last_id(site)

    Author.objects.using(site.database).create(pk=7, name="Ann")

    assert logged(site, before) == {"table:library_author", "row:library_author:7"}


def test_a_changed_key_logs_both_rows(site: Site) -> None:
    Author.objects.using(site.database).create(pk=7, name="Ann")
    before = last_id(site)

    Author.objects.using(site.database).filter(pk=7).update(id=8)

    assert {"row:library_author:7", "row:library_author:8"} <= logged(site, before)


def test_a_uuid_is_logged_as_its_digits(site: Site) -> None:
    before = last_id(site)

    card = Card.objects.using(site.database).create(holder="me")

    assert f"row:library_card:{card.pk.hex}" in logged(site, before)


def test_a_statement_that_changes_nothing_logs_nothing(site: Site) -> None:
    before = last_id(site)

    Author.objects.using(site.database).filter(pk=404).update(name="x")

    assert logged(site, before) == set()


def test_a_rollback_takes_the_log_with_it(site: Site) -> None:
    before = last_id(site)

    with transaction.atomic(site.database):
        Author.objects.using(site.database).create(name="Ann")
        transaction.set_rollback(True, site.database)

    assert logged(site, before) == set()


def test_a_bulk_write_on_postgresql_logs_all_rows_in_one(site: Site) -> None:
    if site.database != "postgres":  # elsewhere triggers see one row at a time
        return
    before = last_id(site)

    Author.objects.using(site.database).bulk_create(Author(name=f"a{n}") for n in range(101))

    assert logged(site, before) == {"table:library_author", "rows:library_author"}


def test_a_transaction_on_postgresql_logs_a_tag_once(site: Site) -> None:
    if site.database != "postgres":
        return
    Author.objects.using(site.database).create(pk=7, name="Ann")
    before = last_id(site)

    with transaction.atomic(site.database):
        for name in ("a", "b", "c"):
            Author.objects.using(site.database).filter(pk=7).update(name=name)

    with connections[site.database].cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM cachelayers_invalidation WHERE id > %s", [before])
        assert cursor.fetchall() == [(2,)]


def test_a_user_who_may_not_write_the_log_may_write_the_table(site: Site) -> None:
    if site.database != "postgres":
        return
    before = last_id(site)
    try:
        site.execute("CREATE ROLE library_clerk")
        site.execute("GRANT ALL ON library_author TO library_clerk")
        site.execute("GRANT ALL ON SEQUENCE library_author_id_seq TO library_clerk")
        site.execute("SET ROLE library_clerk")
        site.execute("INSERT INTO library_author (id, name) VALUES (70, 'Clerk')")
    finally:
        site.execute("RESET ROLE")
        site.execute("DROP OWNED BY library_clerk")
        site.execute("DROP ROLE library_clerk")

    assert "row:library_author:70" in logged(site, before)


def test_installing_again_changes_nothing(site: Site) -> None:
    statements: list[str] = []

    def note(execute: Any, sql: str, *others: Any) -> Any:
        statements.append(sql)
        return execute(sql, *others)

    with connections[site.database].execute_wrapper(note):
        problems = install_triggers(connections[site.database])

    assert problems == []
    assert not [sql for sql in statements if "TRIGGER" in sql.upper().split()[:2]]


def test_a_table_that_is_no_longer_tracked_loses_its_triggers(site: Site, settings: Any) -> None:
    kept = settings.CACHELAYERS
    settings.CACHELAYERS = {"TRACK": ["library.Author"]}
    install_triggers(connections[site.database])
    before = last_id(site)
    site.execute("INSERT INTO library_card (id, holder) VALUES ('%s', 'me')" % ("0" * 32))

    tags = logged(site, before)
    settings.CACHELAYERS = kept
    install_triggers(connections[site.database])

    assert tags == set()
    assert "library_card" in guarded_tables(connections[site.database])


@pytest.mark.usefixtures("without_triggers")
def test_without_triggers_django_s_writes_are_logged_all_the_same(site: Site) -> None:
    authors = Author.objects.using(site.database)
    ann = authors.create(name="Ann")

    def name() -> str:
        return authors.get(pk=ann.pk).name

    site.settle()
    site.visit("author", name)
    site.visit("count", authors.count)
    authors.filter(pk=ann.pk).update(name="Anna")
    authors.create(name="Bob")

    assert site.visit("author", name) == "Anna"
    assert site.visit("count", authors.count) == 2


@pytest.mark.usefixtures("without_triggers")
def test_missing_triggers_are_a_warning_with_the_cure(site: Site) -> None:
    [message] = checks.trigger_messages(site.database)

    assert message.id == "cachelayers.W005"
    assert "manage.py migrate" in (message.hint or "")


@pytest.mark.usefixtures("without_triggers")
def test_migrate_repairs_them_and_invalidates_what_may_be_unlogged(site: Site) -> None:
    before = last_id(site)

    receive_post_migrate(None, using=site.database, plan=["something was migrated"])

    assert "library_author" in guarded_tables(connections[site.database])
    assert {"table:library_author", "rows:library_author"} <= logged(site, before)


def test_a_table_stays_writable_where_the_log_is_taken_away(site: Site) -> None:
    if site.database != "postgres":  # where a transaction can undo it
        return
    connection = connections[site.database]
    call_command("migrate", "cachelayers", "0001", database=site.database, verbosity=0)
    try:
        Author.objects.using(site.database).create(name="Ann")
        is_there = "cachelayers_invalidation" in connection.introspection.table_names()
    finally:
        call_command("migrate", "cachelayers", database=site.database, verbosity=0)

    assert not is_there
    assert "library_author" in guarded_tables(connection)


def test_literals_may_contain_any_character(site: Site) -> None:
    if site.database == "mariadb":
        return
    with connections[site.database].cursor() as cursor:
        cursor.execute("SELECT " + literal("we'ird \"table%").replace("%", "%%"), [])
        assert cursor.fetchall() == [("we'ird \"table%",)]
    assert mysql_literal("a\\'b") == "'a\\\\''b'"


def test_a_database_that_refuses_triggers_is_reported_and_the_site_works(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = connections[site.database]
    remove_triggers(connection)

    def refuse(execute: Any, sql: str, *others: Any) -> Any:
        if sql.startswith("CREATE TRIGGER") and "library_card" in sql:
            raise DatabaseError("permission denied")
        return execute(sql, *others)

    with connection.execute_wrapper(refuse):
        problems = install_triggers(connection)
    guarded = guarded_tables(connection)
    install_triggers(connection)

    assert problems == ["library_card: permission denied"]
    assert "library_author" in guarded
    assert "library_card" not in guarded
