"""A request that does not use the cache costs no statement, also within a test's transaction."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import path

from cachelayers import unit_of_work
from cachelayers.invalidation.dependencies import add_all_dependencies, current_capture
from tests.invalidation.conftest import Site
from tests.library.models import Author


def show(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{Author.objects.count()} authors")


urlpatterns = [path("show/", show)]


@pytest.fixture
def _in_a_test_s_transaction(site: Site) -> Iterator[None]:
    Author.objects.using(site.database).create(pk=1, name="Ann")
    site.settle()
    with transaction.atomic(site.database):
        yield


@pytest.mark.urls(__name__)
@pytest.mark.usefixtures("_in_a_test_s_transaction")
@pytest.mark.parametrize("site", ["default"], indirect=True)
def test_a_request_in_a_test_costs_what_its_view_does(client: Client) -> None:
    with CaptureQueriesContext(connections["default"]) as captured:
        client.get("/show/")
        client.get("/show/")

    assert len(captured) == 2


@pytest.mark.usefixtures("_in_a_test_s_transaction")
def test_earlier_reads_get_their_position_when_a_value_needs_it(site: Site) -> None:
    def compute() -> str:
        capture = current_capture()
        assert capture is not None
        add_all_dependencies(capture)
        return "made of what was read before"

    for _ in range(2):
        with unit_of_work():
            Author.objects.using(site.database).get(pk=1)
            site.recall("name", compute)

    # Elsewhere a statement later in a transaction may see what an earlier one has not.
    is_kept = len(site.computed) == 1
    assert is_kept == (connections[site.database].vendor == "sqlite")
