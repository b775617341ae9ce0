"""Units stay correct if other packages wrap the same methods, or run one task twice at once."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.template import Engine

from cachelayers import auto_units
from cachelayers.fragments.markup import Rendering, rendering_of
from cachelayers.fragments.sources import track_lookups
from cachelayers.invalidation.units import Unit, current_unit, running_units

seen: list[Unit | None] = []


@pytest.fixture(autouse=True)
def _nothing_seen() -> Iterator[None]:
    seen.clear()
    yield
    assert current_unit() is None


class Look(BaseCommand):
    requires_system_checks = []

    def handle(self, *arguments: Any, **options: Any) -> None:
        seen.append(current_unit())


def test_a_command_is_a_unit_where_another_package_has_wrapped_it_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    execute = BaseCommand.execute.__wrapped__  # type: ignore[attr-defined]

    @functools.wraps(execute)
    def of_another(self: BaseCommand, *arguments: Any, **options: Any) -> Any:
        return execute(self, *arguments, **options)

    monkeypatch.setattr(BaseCommand, "execute", of_another)
    auto_units.wrap_commands()

    call_command(Look())

    assert seen[0] is not None


def test_commands_are_wrapped_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BaseCommand, "execute", BaseCommand.execute)
    wrapped = BaseCommand.execute

    auto_units.wrap_commands()

    assert BaseCommand.execute is wrapped


def test_templates_are_noted_where_another_package_has_wrapped_the_engine_first() -> None:
    engine = Engine(loaders=[("django.template.loaders.locmem.Loader", {"a.html": "a"})])
    find = engine.find_template

    @functools.wraps(find)
    def of_another(*arguments: Any, **keywords: Any) -> Any:
        return find(*arguments, **keywords)

    engine.find_template = of_another  # type: ignore[method-assign]
    track_lookups(engine)
    track_lookups(engine)

    rendering = Rendering(own_holes=())
    with rendering_of(rendering):
        engine.get_template("a.html")

    assert set(rendering.templates) == {"a.html"}


def test_a_task_that_runs_twice_at_once_leaves_no_unit_behind() -> None:
    both_run, may_end = threading.Barrier(2), threading.Barrier(2)
    left: list[Unit | None] = []

    def work() -> None:
        auto_units.tasks.begin("celery:one")
        both_run.wait(20)
        may_end.wait(20)
        auto_units.tasks.end("celery:one")
        left.append(current_unit())

    before = len(running_units())
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert left == [None, None]
    assert len(running_units()) == before


def test_a_task_that_runs_itself_again_ends_both_units_in_turn() -> None:
    auto_units.tasks.begin("celery:one")
    outer = current_unit()
    auto_units.tasks.begin("celery:one")
    inner = current_unit()
    auto_units.tasks.end("celery:one")
    after = current_unit()
    auto_units.tasks.end("celery:one")

    assert inner is not outer
    assert after is outer
    assert current_unit() is None


def test_a_task_that_never_ended_is_ended_with_the_one_around_it() -> None:
    auto_units.tasks.begin("celery:outer")
    auto_units.tasks.begin("celery:forgotten")
    auto_units.tasks.end("celery:outer")

    assert current_unit() is None
