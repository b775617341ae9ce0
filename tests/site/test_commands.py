"""The site's other commands: measuring, and the login of the demo."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth import authenticate, get_user_model
from django.core.cache import cache, caches
from django.core.management import CommandError, call_command

from cachelayers.backends.layered.layers.base import LayerEntry
from cachelayers.backends.layered.layers.table import TableLayer
from cachelayers.signals import layer_failed
from testproject.pages.management.commands import measure_pages
from testproject.pages.management.commands.measure_pages import (
    WARM_RUNS_PER_COLD_RUN,
    Run,
    Site,
    layers_of,
    measure,
)
from tests.site.conftest import WARM_QUERIES

HEADINGS = "page  cold  ms  SQL  sqlite  ms  SQL  memory  ms  SQL  cache  reads  ratio"


class NotingSite(Site):
    """Notes for each visit how much of ``reads`` it has caused."""

    def __init__(self, reads: Sequence[object]) -> None:
        super().__init__()
        self.reads = reads
        self.found_in_table: list[int] = []

    def visit(self, path: str) -> Run:
        before = len(self.reads)
        run = super().visit(path)
        self.found_in_table.append(len(self.reads) - before)
        return run


def output_of(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


@pytest.mark.django_db(transaction=True)  # the end of a request closes what is in a transaction
@pytest.mark.usefixtures("atlas", "page")
def test_measuring_prints_one_table_with_a_column_for_each_place_a_page_comes_from() -> None:
    lines = output_of("measure_pages", "--runs", "1").splitlines()

    table = [line for line in lines if line.endswith("x")]
    assert [line.split("  ")[0].split(" (")[0] for line in table] == [
        "world",
        "country, large",
        "country, small",
        "airport",
        "CMS page",
        "search",
    ]
    assert "  ".join(lines[0].split()) == HEADINGS
    cold, shared, local = ([float(line.split()[place]) for line in table] for place in (-7, -5, -3))
    assert min(cold) > WARM_QUERIES
    assert set(shared) == set(local) == {WARM_QUERIES}
    assert len({len(line) for line in table}) == 1
    assert lines[-1] == "Layers of the cache: memory, sqlite. Bus: log."


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("page")
def test_each_column_is_from_the_layer_that_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Sequence[str]] = []
    read_many = TableLayer.read_many

    def note(layer: TableLayer, names: Sequence[str]) -> dict[str, LayerEntry]:
        found = read_many(layer, names)
        reads.extend(names for name in names if name in found and "cached.page" in name)
        return found

    monkeypatch.setattr(TableLayer, "read_many", note)
    site = NotingSite(reads)

    measure(site, layers_of("default"), "CMS page", "/about/", 1)

    once = WARM_RUNS_PER_COLD_RUN
    assert site.found_in_table == [0, 0, *[1] * once, *[0] * once]


@pytest.mark.django_db(transaction=True)  # the end of a request closes what is in a transaction
@pytest.mark.usefixtures("atlas", "page")
def test_measuring_leaves_what_the_cache_holds() -> None:
    cache.set("readers", "page")

    table: Any = caches["sqlite"]
    before = table.count_entries()

    output_of("measure_pages", "--runs", "1")

    assert cache.get("readers") == "page"
    assert table.count_entries() == before


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("atlas", "page")
def test_measuring_says_when_pages_did_not_come_from_the_layers_that_it_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*arguments: Any) -> Any:
        layer_failed.send(object, alias="sqlite", error=OSError("down"))
        return measure(*arguments)

    monkeypatch.setattr(measure_pages, "measure", fail)
    errors = StringIO()

    call_command("measure_pages", "--runs", "1", stdout=StringIO(), stderr=errors)

    assert "Failed meanwhile: sqlite." in errors.getvalue()


@pytest.mark.usefixtures("empty_cache")
def test_measuring_an_empty_site_says_what_to_run_first() -> None:
    with pytest.raises(CommandError, match="load_airports"):
        output_of("measure_pages")


def test_measuring_refuses_no_runs() -> None:
    with pytest.raises(CommandError, match="--runs is 0"):
        output_of("measure_pages", "--runs", "0")


@pytest.mark.django_db
def test_the_demo_user_is_made_once_and_can_log_in() -> None:
    first, second = output_of("create_demo_user"), output_of("create_demo_user")

    user = authenticate(username="demo", password="demo")
    assert user is not None
    assert user.is_active
    assert "127.0.0.1 only" in first
    assert "there already" in second
    assert get_user_model().objects.filter(is_superuser=True).count() == 1
