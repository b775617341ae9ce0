"""How long browsers and CDNs may store a static file: WhiteNoise, Django's view, async code."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import iscoroutinefunction
from django.http import FileResponse, HttpRequest, HttpResponse
from django.test import AsyncClient, Client, RequestFactory
from django.urls import path
from django.views.static import serve
from pytest_django import Settings

from cachelayers.middleware import StaticCacheMiddleware
from tests.static_urls.conftest import id_of, write

pytestmark = pytest.mark.django_db  # the end of a request checks the connections
CAR = id_of(b"a car")
IMMUTABLE = "public, max-age=31536000, immutable"
OURS = "cachelayers.middleware.StaticCacheMiddleware"
CAR_URL = f"/static/img/car.jpg?cache_id={CAR}"


def serve_static(request: HttpRequest, name: str) -> Any:
    from django.conf import settings

    return serve(request, name, document_root=str(settings.STATIC_ROOT))


def handler404(request: HttpRequest, exception: Exception) -> HttpResponse:
    return HttpResponse("not here", status=404)


urlpatterns = [
    path("static/<path:name>", serve_static),
    path("page/", lambda request: HttpResponse("a page")),
]


@pytest.fixture(params=["whitenoise", "view"])
def browser(request: pytest.FixtureRequest, settings: Settings, root: Path) -> Client:
    """A client of a site that serves static files in one of both ways."""
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [OURS]
    if request.param == "whitenoise":
        settings.MIDDLEWARE = [OURS, "whitenoise.middleware.WhiteNoiseMiddleware"]
        settings.ROOT_URLCONF = "tests.commands.small_site.urls"
    return Client()


def cache_control(response: Any) -> str | None:
    response.close()
    found: str | None = response.headers.get("Cache-Control")
    return found


def test_the_id_of_the_content_is_kept_for_ever(browser: Client) -> None:
    response = browser.get(CAR_URL)

    assert response.getvalue() == b"a car"
    assert cache_control(response) == IMMUTABLE
    assert cache_control(browser.head(CAR_URL)) == IMMUTABLE


def test_another_id_is_asked_about_again(browser: Client) -> None:
    assert cache_control(browser.get("/static/img/car.jpg?cache_id=other")) == "no-cache"
    assert cache_control(browser.get(CAR_URL + "&cache_id=other")) == "no-cache"


@pytest.mark.parametrize("marker", ["ERROR_MISSING_FILE", "ERROR_UNREADABLE"])
def test_a_marker_is_not_kept_at_all(browser: Client, marker: str) -> None:
    assert cache_control(browser.get(f"/static/img/car.jpg?cache_id={marker}")) == "no-store"
    assert cache_control(browser.get(f"/static/img/bus.jpg?cache_id={marker}")) == "no-store"


def test_requests_without_an_id_are_left_alone(browser: Client, settings: Settings) -> None:
    with_ours = cache_control(browser.get("/static/img/car.jpg?x=1"))
    settings.MIDDLEWARE = settings.MIDDLEWARE[1:]

    assert with_ours == cache_control(Client().get("/static/img/car.jpg?x=1"))


def test_not_modified_is_kept_for_ever_too(browser: Client) -> None:
    first = browser.get(CAR_URL)
    first.close()

    response = browser.get(CAR_URL, headers={"if-modified-since": first["Last-Modified"]})

    assert response.status_code == 304
    assert cache_control(response) == IMMUTABLE


def test_a_file_that_is_not_there_is_not_immutable_and_logs_nothing(
    browser: Client, caplog: pytest.LogCaptureFixture
) -> None:
    response = browser.get(f"/static/img/bus.jpg?cache_id={CAR}")

    assert response.status_code == 404
    assert cache_control(response) == "no-cache"
    assert not [each for each in caplog.records if each.name.startswith("cachelayers")]


@pytest.mark.parametrize("browser", ["whitenoise"], indirect=True)
def test_a_part_of_a_file_is_kept_for_ever(browser: Client) -> None:
    response = browser.get(CAR_URL, headers={"range": "bytes=0-1"})

    assert response.status_code == 206
    assert cache_control(response) == IMMUTABLE


@pytest.mark.parametrize("browser", ["view"], indirect=True)
def test_percent_encoded_names_and_a_cdns_static_url(
    browser: Client, root: Path, settings: Settings
) -> None:
    write(root / "my car é.jpg", b"a car")
    url = f"/static/my%20car%20%C3%A9.jpg?cache_id={CAR}"
    plain = cache_control(browser.get(url))
    settings.STATIC_URL = "https://cdn.example.com/static/"

    assert plain == IMMUTABLE
    assert cache_control(Client().get(url)) == IMMUTABLE


@pytest.mark.parametrize("browser", ["view"], indirect=True)
def test_strict_settings_raise_nothing_in_a_request(browser: Client, settings: Settings) -> None:
    settings.CACHELAYERS = {"STRICT": True}

    assert browser.get(f"/static/img/bus.jpg?cache_id={CAR}").status_code == 404
    assert browser.get(f"/static/../x?cache_id={CAR}").status_code == 400  # Django refuses it


# A deploy during requests


@pytest.mark.parametrize("browser", ["view"], indirect=True)
def test_after_a_deploy_the_old_id_does_not_pin_the_new_content(
    browser: Client, root: Path
) -> None:
    first = cache_control(browser.get(CAR_URL))
    write(root / "img" / "car.jpg", b"another car", second=1_000)

    assert first == IMMUTABLE
    assert cache_control(browser.get(CAR_URL)) == "no-cache"
    new = f"/static/img/car.jpg?cache_id={id_of(b'another car')}"
    assert cache_control(browser.get(new)) == IMMUTABLE


GetResponse = Callable[[HttpRequest], Any]


def answer(get_response: GetResponse, url: str) -> str | None:
    request = RequestFactory().get(url)
    return cache_control(StaticCacheMiddleware(get_response)(request))


def test_a_file_replaced_after_it_was_opened_is_not_pinned_under_the_new_id(root: Path) -> None:
    def replace_late(request: HttpRequest) -> FileResponse:
        response = FileResponse((root / "img" / "car.jpg").open("rb"))
        write(root / "img" / "new", b"another car").replace(root / "img" / "car.jpg")
        return response

    url = f"/static/img/car.jpg?cache_id={id_of(b'another car')}"

    assert answer(replace_late, url) == "no-cache"


def test_a_file_replaced_before_it_was_opened_is_not_pinned_under_the_old_id(root: Path) -> None:
    def replace_early(request: HttpRequest) -> FileResponse:
        write(root / "img" / "new", b"another car").replace(root / "img" / "car.jpg")
        return FileResponse((root / "img" / "car.jpg").open("rb"))

    assert answer(replace_early, CAR_URL) == "no-cache"


@pytest.mark.parametrize("status", [301, 302, 400, 403, 404, 405, 416, 500, 503])
def test_no_error_is_made_immutable(root: Path, status: int) -> None:
    assert answer(lambda request: HttpResponse(status=status), CAR_URL) == "no-cache"


@pytest.mark.parametrize("said", ["private", "no-store", "max-age=0, private"])
def test_what_is_private_stays_so(root: Path, said: str) -> None:
    answers = [
        answer(lambda request: HttpResponse(headers={"Cache-Control": said}), url)
        for url in (CAR_URL, "/static/img/car.jpg?cache_id=other")
    ]

    assert answers == [said, said]


def test_other_urls_are_left_alone(root: Path) -> None:
    assert answer(lambda request: HttpResponse(), f"/page/?cache_id={CAR}") is None
    assert answer(lambda request: HttpResponse(), "/page/?cache_id=ERROR_MISSING_FILE") is None


# Async


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (CAR_URL, IMMUTABLE),
        ("/static/img/car.jpg?cache_id=other", "no-cache"),
        ("/static/img/car.jpg?cache_id=ERROR_UNREADABLE", "no-store"),
        ("/static/img/car.jpg", None),
    ],
)
def test_async_code_is_answered_without_leaving_async(
    root: Path, url: str, expected: str | None
) -> None:
    async def respond(request: HttpRequest) -> HttpResponse:
        return HttpResponse("a car")

    middleware = StaticCacheMiddleware(respond)

    assert iscoroutinefunction(middleware)
    response = asyncio.run(middleware(RequestFactory().get(url)))
    assert cache_control(response) == expected


def test_an_async_file_replaced_meanwhile_is_not_pinned(root: Path) -> None:
    async def replace_early(request: HttpRequest) -> HttpResponse:
        write(root / "img" / "car.jpg", b"another car", second=1_000)
        return HttpResponse("another car")

    response = asyncio.run(StaticCacheMiddleware(replace_early)(RequestFactory().get(CAR_URL)))

    assert cache_control(response) == "no-cache"


def test_an_asgi_site_with_whitenoise(settings: Settings, root: Path) -> None:
    settings.ROOT_URLCONF = "tests.commands.small_site.urls"
    settings.MIDDLEWARE = [OURS, "whitenoise.middleware.WhiteNoiseMiddleware"]

    async def visit() -> str | None:
        return cache_control(await AsyncClient().get(CAR_URL))

    assert asyncio.run(visit()) == IMMUTABLE
