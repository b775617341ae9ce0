"""Two workers of the site, each with a memory of its own, serve one site and never an old page."""

from __future__ import annotations

import pytest

from tests.servers import Redis
from tests.site.conftest import StartWorker

PATH = "/about/"
LONGEST_SECONDS = 5.0  # on a busy machine; a layer that is down costs half a second once


@pytest.fixture(params=["table", pytest.param("redis", marks=pytest.mark.redis)])
def site_redis_url(request: pytest.FixtureRequest) -> str:
    """Have every promise kept with a Redis between memory and table, and without."""
    if request.param == "table":
        return ""
    server: Redis = request.getfixturevalue("redis_server")
    return server.url


def test_what_one_worker_has_made_the_others_serve(start_worker: StartWorker) -> None:
    first, second = start_worker(), start_worker()

    shown = [worker.ask("get", PATH) for worker in (first, second, first, second)]

    assert [page["status"] for page in shown] == [200] * 4
    assert [page["is_made"] for page in shown] == [True, False, False, False]
    assert len({page["text"] for page in shown}) == 1


def test_a_page_outlives_the_workers(start_worker: StartWorker) -> None:
    first = start_worker()
    first.ask("get", PATH)
    first.process.kill()

    assert start_worker().ask("get", PATH)["is_made"] is False


def test_all_workers_lose_a_page_together(start_worker: StartWorker) -> None:
    first, second = start_worker(), start_worker()
    for worker in (first, second, first, second):
        worker.ask("get", PATH)

    first.ask("clear")

    shown = [worker.ask("get", PATH)["is_made"] for worker in (second, first)]
    assert shown == [True, False]


def test_a_page_that_is_edited_at_one_worker_shows_at_once_at_the_other(
    start_worker: StartWorker,
) -> None:
    first, second = start_worker(), start_worker()
    for worker in (first, second, first, second):
        worker.ask("get", PATH)

    edited = first.ask("edit", "about", "We count *runways*.")

    shown = [worker.ask("get", PATH) for worker in (second, first)]
    assert edited["status"] == 302
    assert all("<em>runways</em>" in page["text"] for page in shown)
    assert [page["is_made"] for page in shown] == [True, False]


@pytest.mark.redis
@pytest.mark.parametrize("site_redis_url", ["redis"], indirect=True)
def test_without_its_redis_the_site_is_as_quick_and_as_true(
    start_worker: StartWorker, redis_server: Redis
) -> None:
    first, second = start_worker(), start_worker()
    for worker in (first, second):
        worker.ask("get", PATH)

    redis_server.kill()
    shown = [worker.ask("get", PATH) for worker in (first, second, first, second)]
    first.ask("edit", "about", "We count *runways*.")
    edited = [worker.ask("get", PATH) for worker in (second, first)]

    assert [page["status"] for page in [*shown, *edited]] == [200] * 6
    assert not any(page["is_made"] for page in shown)
    assert all("<em>runways</em>" in page["text"] for page in edited)
    assert max(page["seconds"] for page in [*shown, *edited]) < LONGEST_SECONDS
