"""No hit is stale, and none is another tenant's, on every kind of site.

Each kind must find something if one of our rules is replaced by a naive one.
"""

from __future__ import annotations

import pytest

from tests.consistency.checker import Checker, Findings
from tests.consistency.kinds import KINDS
from tests.consistency.test_consistency import STORES, expect_nothing_stale

SECONDS = 1
MARKS = {"postgres": pytest.mark.postgres, "mariadb": pytest.mark.mariadb}
# Each on one database, as a run takes seconds; `make consistency` runs them on all.
NEW = {
    "requests in one transaction": "default",
    "streams": "default",
    "loaders": "default",
    "tenants": "default",
    "swapped tables": "default",
    "partitions": "postgres",
    "moved data": "default",
    "joins": "postgres",
    "UNION": "default",
}
RUNS = [
    pytest.param(name, database, marks=MARKS.get(database, ()), id=name)
    for name, database in NEW.items()
]

# Found at once; `make consistency` has a naive rule for each kind.
FOUND = [run for run in RUNS if run.id in {"requests in one transaction", "loaders", "tenants"}]


def run(name: str, database: str, seconds: float, rule: str = "ours") -> Findings:
    kind = KINDS[name]
    store = kind.store or STORES[database]
    return Checker(database, store, seconds, rule=rule, pause=0.1).run_kind(
        kind, readers=1, writers=1
    )()


@pytest.mark.parametrize(("name", "database"), RUNS)
def test_nothing_is_stale_and_nothing_leaks(name: str, database: str) -> None:
    findings = expect_nothing_stale(lambda seconds: run(name, database, seconds))

    assert findings.leaked == []


@pytest.mark.parametrize(("name", "database"), FOUND)
def test_the_checker_finds_a_rule_that_is_naive(name: str, database: str) -> None:
    for seconds in (SECONDS, 2 * SECONDS, 4 * SECONDS, 8 * SECONDS):  # it is a matter of chance
        if run(name, database, seconds, KINDS[name].rule).wrong:
            return

    raise AssertionError(name)
