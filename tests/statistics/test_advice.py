"""The advice comes from measurements of what was repeated before its data changed."""

from __future__ import annotations

import time
from io import StringIO

import pytest
from django.core.cache import caches
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from pytest_django import Settings

from cachelayers import recall
from cachelayers.models import Statistic
from cachelayers.statistics import Advice, advice, flush
from cachelayers.utils import tracing
from tests.library.models import Author, Book, Untracked
from tests.settings import database_cache, memory_cache
from tests.statistics.helpers import run_async

pytestmark = pytest.mark.django_db(transaction=True)
SLOW_SECONDS = 0.02


def find_books(name: str) -> list[str]:
    return list(Book.objects.filter(author__name=name).values_list("title", flat=True))


def books(request: HttpRequest, name: str) -> HttpResponse:
    find_books(name)
    Untracked.objects.count()
    return HttpResponse("some books")


def slow(request: HttpRequest) -> HttpResponse:
    time.sleep(SLOW_SECONDS)
    return HttpResponse("slow")


def broken(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=500)


def kept(request: HttpRequest) -> HttpResponse:
    value = recall("fragment:card:1", lambda: str(Author.objects.count()), using="sqlite")
    return HttpResponse(value)


async def async_page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(await Author.objects.acount()))


def figures(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(Statistic.objects.count()))


urlpatterns = [
    path("figures/", figures),
    path("books/<name>/", books, name="books"),
    path("slow/", slow),
    path("broken/", broken),
    path("kept/", kept, name="kept"),
    path("async/", async_page, name="async"),
]


@pytest.fixture(autouse=True)
def _all_is_timed(settings: Settings) -> None:
    settings.CACHES = {"default": memory_cache(), "sqlite": database_cache("default")}
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = ["cachelayers.middleware.unit_of_work_middleware"]
    settings.CACHELAYERS = {**settings.CACHELAYERS, "ADVISE_SAMPLE": 1.0}
    caches["sqlite"].clear()


def advised(kind: str, name: str = "") -> Advice:
    flush()
    [found] = [one for one in advice(most=100, kinds=[kind]) if name in one.name]
    return found


def test_a_view_that_makes_the_same_page_again_would_be_saved(client: Client) -> None:
    for url in ("/slow/", "/slow/", "/slow/?page=2", "/slow/"):
        client.get(url)

    found = advised("view", "slow")

    assert found.name == f"{__name__}.slow"
    assert (found.calls, found.repeats, found.changed) == (4, 2, 0)
    assert 4 * SLOW_SECONDS <= found.seconds < 4 * SLOW_SECONDS + 1
    assert 2 * SLOW_SECONDS <= found.saving_seconds < found.seconds
    assert not found.is_kept


def test_a_query_is_found_with_its_function_and_its_tables(client: Client) -> None:
    for name in ("Ann", "Ann", "Bob"):
        client.get(f"/books/{name}/")

    query = advised("query", "library_book")
    function = advised("function", "find_books")

    assert query.place == f"{__name__}.find_books"
    assert query.tables == ["library_author", "library_book"]
    assert (query.calls, query.repeats, query.changed) == (3, 1, 0)
    assert function.name == f"{__name__}.find_books"
    assert (function.calls, function.repeats, function.place) == (3, 1, "")
    assert not function.is_untracked


def test_the_package_s_own_queries_are_none_of_the_site_s(client: Client) -> None:
    for _ in range(2):
        client.get("/figures/")

    flush()

    assert [one.name for one in advice(most=100, kinds=["query"])] == []


def test_a_repeat_after_a_change_saves_nothing(client: Client) -> None:
    client.get("/books/Ann/")
    flush()
    Author.objects.create(name="Ann")
    client.get("/books/Ann/")

    found = advised("query", "library_book")

    assert (found.calls, found.repeats, found.changed) == (2, 0, 1)
    [change] = [one for one in found.changes if one.table == "library_author"]
    assert change.times >= 1
    assert change.last_at is not None
    assert abs(change.last_at.timestamp() - time.time()) < 60


def test_a_sample_with_untracked_reads_is_marked(client: Client) -> None:
    client.get("/books/Ann/")

    view = advised("view", "books")

    assert view.is_untracked
    assert view.tables == ["library_author", "library_book"]


def test_a_cached_value_shows_what_it_saves(client: Client) -> None:
    for _ in range(3):
        client.get("/kept/")

    found = advised("fragment")

    assert (found.name, found.is_kept) == ("card", True)
    assert (found.calls, found.repeats, found.changed) == (3, 2, 0)
    assert found.saving_seconds == pytest.approx(2 * found.seconds, rel=0.01)
    assert found.tables == ["library_author"]
    # The page depends on the fragment's dependencies, also after a hit.
    assert advised("view", "kept").tables == ["library_author"]


def test_two_sessions_do_not_share_a_page(client: Client, settings: Settings) -> None:
    client.get("/slow/")
    client.cookies[settings.SESSION_COOKIE_NAME] = "somebody"
    client.get("/slow/")

    assert advised("view", "slow").repeats == 0


def test_posts_and_errors_are_no_pages(client: Client) -> None:
    client.post("/slow/")
    client.get("/broken/")
    flush()

    assert advice(kinds=["view"]) == []


def test_async_views_are_timed_too() -> None:
    async def ask() -> None:
        for _ in range(2):
            assert (await AsyncClient().get("/async/")).status_code == 200

    run_async(ask)

    assert (advised("view", "async").calls, advised("view", "async").repeats) == (2, 1)
    assert advised("query").tables == ["library_author"]


def test_a_part_that_is_timed_stands_for_all(settings: Settings) -> None:
    settings.CACHELAYERS = {**settings.CACHELAYERS, "ADVISE_SAMPLE": 0.25}
    for number in range(2_000):
        for _ in range(2):
            one = tracing.Sample("query", "SELECT 1", "", number, 0.5, frozenset(), time.time())
            tracing.add_sample(one)
    assert 500 < len(tracing.pending_samples) < 1_500

    found = advised("query")

    assert found.calls == pytest.approx(4_000, rel=0.3)
    assert found.seconds == pytest.approx(2_000, rel=0.3)
    assert found.repeats == found.calls / 2  # each sampled one was timed both times
    assert found.saving_seconds == pytest.approx(found.seconds / 2)


def test_lists_of_any_length_are_one_query(client: Client) -> None:
    with tracing.sampling():
        for keys in ([1, 2], [1, 2, 3]):
            list(Author.objects.filter(pk__in=keys))

    assert advised("query").calls == 2


def test_long_names_fit_and_stay_apart() -> None:
    names = {tracing.shortened(f"{'x' * 300}{end}") for end in "ab"}

    assert len(names) == 2
    assert {len(name) for name in names} == {tracing.LONGEST_NAME}


def test_nothing_is_timed_unless_it_is_switched_on(client: Client, settings: Settings) -> None:
    settings.CACHELAYERS = {**settings.CACHELAYERS, "ADVISE_SAMPLE": 0.0}

    client.get("/books/Ann/")

    assert not tracing.pending_samples


def test_the_command_lists_it_with_the_figures(client: Client) -> None:
    Author.objects.create(name="Ann")
    for _ in range(2):
        client.get("/slow/")
        client.get("/kept/")
        client.get("/books/Ann/")
    flush()
    out = StringIO()

    call_command("cache_stats", "--advise", stdout=out)

    lines = out.getvalue().splitlines()
    assert lines[0].startswith("A cache would save")
    assert lines[1].split() == ["saving", "spent", "calls", "repeats", "changed", "what"]
    [slow_line] = [line for line in lines if f"view {__name__}.slow" in line]
    assert slow_line.split()[4:7] == ["2", "1", "0"]
    [query] = [number for number, line in enumerate(lines) if 'query SELECT "library_b' in line]
    where, _, reads = lines[query + 1].partition("; ")
    assert where == f"    in {__name__}.find_books"
    assert reads.startswith("reads library_author (changed")
    assert "Caches save:" in lines
    assert any("fragment card" in line for line in lines)
