"""One PostgreSQL with several schemas, partitions, replicating sessions and long names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections
from django.db.models.options import Options

from cachelayers.invalidation.sql.analysis import forget_databases
from cachelayers.invalidation.triggers import (
    guarded_tables,
    install_triggers,
    read_guard,
    receive_post_migrate,
    remove_triggers,
)
from tests.invalidation.conftest import Site
from tests.invalidation.test_triggers import last_id, logged
from tests.invalidation.test_triggers_follow import elsewhere, is_guarded
from tests.library.models import Loan
from tests.state import reset

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.parametrize("site", ["postgres"], indirect=True),
]

LOAN = {"table:library_loan", "row:library_loan:9"}
NEW_LOAN = "CREATE TABLE {}.library_loan (number INTEGER PRIMARY KEY, reader VARCHAR(50))"
LOAN_9 = "INSERT INTO library_loan (number, reader) VALUES (9, 'Cid')"
FUNCTIONS = "SELECT count(*) FROM pg_proc WHERE proname ~ '^cachelayers_[a-z]+_[0-9a-f]{16}$'"


@pytest.fixture(autouse=True)
def public_again(site: Site) -> Iterator[None]:
    yield
    connection = connections[site.database]
    connection.close()  # its search_path is gone with it
    elsewhere(site, "DROP SCHEMA IF EXISTS one, uno, two CASCADE")
    forget_databases()
    receive_post_migrate(None, using=site.database)


def make_schema(site: Site, name: str, *statements: str) -> None:
    """Create a schema with its own loans, and put it into the connection's search path."""
    elsewhere(
        site,
        f"CREATE SCHEMA {name}",
        NEW_LOAN.format(name),
        *statements,
        f"SET search_path = {name}, public",
    )
    forget_databases()


def value_of(site: Site, query: str) -> Any:
    with connections[site.database].cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0]


def test_the_tables_of_each_schema_have_triggers(site: Site) -> None:
    for name in ("one", "two"):
        make_schema(site, name)
        assert not is_guarded(site)
        assert install_triggers(connections[site.database]) == []
        before = last_id(site)

        elsewhere(site, LOAN_9)

        assert logged(site, before) == LOAN
    assert is_guarded(site)


def test_a_schema_goes_without_those_of_others(site: Site) -> None:
    make_schema(site, "one")
    install_triggers(connections[site.database])
    make_schema(site, "two")
    install_triggers(connections[site.database])

    site.execute("ALTER TABLE library_loan RENAME COLUMN number TO code")  # of "two"
    elsewhere(site, "SET search_path = one, public")
    before = last_id(site)
    elsewhere(site, LOAN_9)

    assert logged(site, before) == LOAN
    assert is_guarded(site)


def test_a_schema_s_tables_go_on_to_be_logged_when_it_is_renamed(site: Site) -> None:
    make_schema(site, "one")
    install_triggers(connections[site.database])
    elsewhere(site, "ALTER SCHEMA one RENAME TO uno", "SET search_path = uno, public")
    before = last_id(site)

    elsewhere(site, LOAN_9)

    assert logged(site, before) == LOAN
    assert is_guarded(site)


def test_two_sites_in_one_database_have_a_log_each(site: Site) -> None:
    log = "CREATE TABLE {}.{} (LIKE public.{} INCLUDING ALL)"
    own = [
        log.format("two", name, name)
        for name in ("cachelayers_invalidation", "cachelayers_logstate")
    ]
    public = last_id(site)
    make_schema(site, "two", *own)
    install_triggers(connections[site.database])

    elsewhere(site, "INSERT INTO two.library_loan (number, reader) VALUES (9, 'Cid')")

    assert logged(site, 0) == LOAN  # two's own log
    elsewhere(site, "SET search_path = public")
    forget_databases()
    assert logged(site, public) == set()
    assert is_guarded(site)  # whatever becomes of the other site
    remove_triggers(connections[site.database])
    elsewhere(site, "SET search_path = two")
    forget_databases()
    assert is_guarded(site)


def test_a_schema_without_a_log_is_written_to_as_ever(site: Site) -> None:
    make_schema(site, "one")
    Loan.objects.using(site.database).count()
    elsewhere(site, "SET search_path = one")
    forget_databases()

    site.execute(LOAN_9)
    site.execute("ALTER TABLE library_loan ADD COLUMN more INT")

    assert value_of(site, "SELECT count(*) FROM library_loan") == 1


def test_a_table_named_with_its_schema_or_beyond_63_bytes_is_guarded(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_schema(site, "one")
    long_name = "library_" + "loan" * 20
    connection = connections[site.database]
    for name in ('"one"."library_loan"', long_name):
        if name == long_name:
            elsewhere(site, f'ALTER TABLE one.library_loan RENAME TO "{long_name}"')
        with renamed(monkeypatch, name):
            assert install_triggers(connection) == []
            before = last_id(site)

            elsewhere(site, f"INSERT INTO {name} (number, reader) VALUES (9, 'x')")
            elsewhere(site, f"DELETE FROM {name}")

            assert logged(site, before) >= {f"row:{name}:9"}
            assert name in guarded_tables(connection)


def renamed(monkeypatch: pytest.MonkeyPatch, table: str) -> Any:
    """Give the loans' model another table."""
    context = monkeypatch.context()
    options: Options[Any] = Loan._meta

    class Renamed:
        def __enter__(self) -> None:
            context.__enter__().setattr(options, "db_table", table)
            reset("invalidation.tracked")

        def __exit__(self, *error: object) -> None:
            context.__exit__(None, None, None)
            reset("invalidation.tracked")

    return Renamed()


WHOLE = """
CREATE TABLE one.library_loan (number INTEGER PRIMARY KEY, reader VARCHAR(50))
PARTITION BY RANGE (number)
"""
PARTITIONED = (
    WHOLE,
    "CREATE TABLE one.low PARTITION OF one.library_loan FOR VALUES FROM (0) TO (100)",
)


def test_a_partition_that_is_written_to_by_its_own_name_is_logged(site: Site) -> None:
    elsewhere(site, "CREATE SCHEMA one", *PARTITIONED, "SET search_path = one, public")
    forget_databases()
    install_triggers(connections[site.database])
    before = last_id(site)
    elsewhere(site, LOAN_9.replace("library_loan", "low"))
    assert logged(site, before) == LOAN
    before = last_id(site)

    site.execute("CREATE TABLE high PARTITION OF library_loan FOR VALUES FROM (100) TO (200)")
    assert logged(site, before) >= {"table:library_loan"}
    before = last_id(site)
    elsewhere(site, "INSERT INTO high VALUES (150, 'Dan')", "TRUNCATE low")

    assert logged(site, before) == {
        "table:library_loan",
        "row:library_loan:150",
        "rows:library_loan",
    }


def test_dropping_a_partition_is_logged_and_a_read_of_it_depends_on_the_table(site: Site) -> None:
    elsewhere(site, "CREATE SCHEMA one", *PARTITIONED, "SET search_path = one, public")
    forget_databases()
    install_triggers(connections[site.database])

    def count_low() -> Any:
        return value_of(site, "SELECT count(*) FROM low")

    assert site.visit("low", count_low) == 0
    elsewhere(site, LOAN_9)
    assert site.visit("low", count_low) == 1
    before = last_id(site)

    site.execute("DROP TABLE low")

    assert logged(site, before) >= {"table:library_loan", "rows:library_loan"}


def test_rows_that_another_server_replicates_are_logged(site: Site) -> None:
    before = last_id(site)

    elsewhere(
        site,
        "SET session_replication_role = replica",
        LOAN_9,
        "UPDATE library_loan SET number = 10",
        "SET session_replication_role = origin",
    )

    assert logged(site, before) == {*LOAN, "row:library_loan:10"}


def test_triggers_that_were_switched_off_are_missing(site: Site) -> None:
    elsewhere(
        site,
        "ALTER TABLE library_loan DISABLE TRIGGER ALL",
        "ALTER TABLE library_loan ENABLE TRIGGER ALL",  # as pg_restore leaves them
    )

    assert read_guard(connections[site.database]).lacking == {"public.library_loan"}
    receive_post_migrate(None, using=site.database)
    assert is_guarded(site)


def test_no_function_stays_behind_without_its_table(site: Site) -> None:
    make_schema(site, "one")
    install_triggers(connections[site.database])
    elsewhere(site, "DROP SCHEMA one CASCADE")
    remove_triggers(connections[site.database])

    assert value_of(site, FUNCTIONS) == 0


def test_tables_whose_names_differ_by_case_only_are_two(site: Site) -> None:
    make_schema(site, "one", 'CREATE TABLE one."LIBRARY_LOAN" (number INTEGER PRIMARY KEY)')
    assert install_triggers(connections[site.database]) == []
    before = last_id(site)

    elsewhere(site, 'INSERT INTO "LIBRARY_LOAN" VALUES (8)')
    assert logged(site, before) == set()
    elsewhere(site, LOAN_9.replace("library_loan", "Library_LOAN"))  # it is the tracked one

    assert logged(site, before) == LOAN
    site.visit("loans", lambda: value_of(site, "SELECT reader FROM LIBRARY_loan"))
    assert site.is_hit("loans", lambda: value_of(site, "SELECT reader FROM LIBRARY_loan"))
    elsewhere(site, "UPDATE library_loan SET reader = 'Dan'")
    assert site.visit("loans", lambda: value_of(site, "SELECT reader FROM library_loan")) == "Dan"
