"""A unit of work remembers its reads, for values that depend on them without reading again."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from cachelayers.invalidation import units
from cachelayers.invalidation.log import Dependency
from cachelayers.invalidation.units import MOST_DEPENDENCIES, Unit, merge, unit_of_work


@pytest.fixture
def unit(django_db_setup: None) -> Unit:
    return Unit()


def dependencies_of(unit: Unit) -> dict[tuple[str, str], tuple[int, set[str]]]:
    """Return a unit's dependencies: position and tags, by log and incarnation."""
    return {
        (one.database, one.incarnation): (one.position, set(one.tags))
        for one in merge(unit.dependencies())
    }


def test_the_oldest_position_counts_in_any_order(unit: Unit) -> None:
    for position, tag in ((5, "a"), (3, "b"), (7, "c")):
        unit.add_dependencies([Dependency("default", "one", position, [tag])])

    assert dependencies_of(unit) == {("default", "one"): (3, {"a", "b", "c"})}
    assert len(unit.dependencies()) == 1


def test_databases_and_incarnations_are_kept_apart(unit: Unit) -> None:
    for log in (("default", "one"), ("default", "two"), ("other", "one")):
        unit.add_dependencies([Dependency(*log, len(log[1]), ["a"])])

    assert set(dependencies_of(unit)) == {("default", "one"), ("default", "two"), ("other", "one")}


def test_however_much_is_read_little_is_remembered_and_nothing_is_lost(unit: Unit) -> None:
    tags = {f"table:{number % 7}" for number in range(3 * MOST_DEPENDENCIES)}

    for number in range(3 * MOST_DEPENDENCIES):
        unit.add_dependencies([Dependency("default", "one", 9, [f"table:{number % 7}"])])

    assert len(unit._dependencies) <= MOST_DEPENDENCIES
    assert dependencies_of(unit) == {("default", "one"): (9, tags)}


def test_reads_of_another_thread_during_a_merge_are_not_lost(
    unit: Unit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def merge_slowly(dependencies: Iterable[Dependency]) -> list[Dependency]:
        merged = merge(dependencies)
        unit.add_dependencies([Dependency("default", "one", 2, ["meanwhile"])])
        return merged

    unit.add_dependencies([Dependency("default", "one", 5, ["before"])])
    monkeypatch.setattr(units, "merge", merge_slowly)
    unit.dependencies()
    monkeypatch.undo()

    assert dependencies_of(unit) == {("default", "one"): (2, {"before", "meanwhile"})}


def test_the_reads_of_outer_units_are_dependencies_too(django_db_setup: None) -> None:
    with unit_of_work() as outer, unit_of_work() as middle, unit_of_work() as inner:
        outer.add_dependencies([Dependency("default", "one", 1, ["outer"])])
        middle.add_dependencies([Dependency("default", "one", 2, ["middle"])])

        assert dependencies_of(inner) == {("default", "one"): (1, {"outer", "middle"})}
        assert dependencies_of(outer) == {("default", "one"): (1, {"outer"})}


def test_a_unit_that_has_read_unshareable_data_stays_unshareable(unit: Unit) -> None:
    unit.add_dependencies([], is_shareable=False)
    unit.add_dependencies([], is_shareable=True)

    assert unit.has_read_unshareable


def test_the_units_that_run_are_known_while_they_do(django_db_setup: None) -> None:
    with unit_of_work() as outer, unit_of_work() as inner:
        within = [outer in units.running_units(), inner in units.running_units()]

    assert within == [True, True]
    assert not {outer, inner} & set(units.running_units())


def test_a_unit_within_another_answers_its_request(django_db_setup: None) -> None:
    request, own = object(), object()

    with unit_of_work(request), unit_of_work() as inner, unit_of_work(own) as with_own:
        assert inner.request is request
        assert with_own.request is own
