"""No hit is stale, whatever happens to the processes, the store and the log meanwhile."""

from __future__ import annotations

import pytest

from tests.consistency.checker import Checker, Findings

SECONDS = 4
DATABASES = ["default", pytest.param("postgres", marks=pytest.mark.postgres)]
STORES = {"default": "sqlite", "postgres": "postgres", "mariadb": "mariadb"}


def expect_nothing_stale(findings: Findings) -> None:
    assert findings.stale == []
    assert findings.unseen == []
    assert findings.writes > 20
    assert findings.hits > 100
    assert findings.hit_rate > 0.1


@pytest.mark.parametrize("database", DATABASES)
def test_no_hit_is_stale_while_others_write(database: str) -> None:
    findings = Checker(database, STORES[database], SECONDS).run()()

    expect_nothing_stale(findings)


@pytest.mark.parametrize("database", DATABASES)
def test_the_checker_finds_a_position_taken_too_late(database: str) -> None:
    findings = Checker(database, STORES[database], 2 * SECONDS, rule="late").run(writers=4)()

    assert findings.stale


@pytest.mark.mariadb
def test_no_hit_is_stale_on_mariadb_where_transactions_are_short() -> None:
    findings = Checker("mariadb", "mariadb", 2 * SECONDS, pause=2).run()()

    assert findings.stale == []
    assert findings.unseen == []
    assert findings.hits > 20
