"""A viewset's data is recalled, and never shown to those who must not see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import override_settings
from django.urls import include, path
from rest_framework import serializers
from rest_framework.pagination import PageNumberPagination
from rest_framework.permissions import BasePermission
from rest_framework.renderers import BrowsableAPIRenderer, JSONRenderer
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.test import APIClient
from rest_framework.throttling import SimpleRateThrottle
from rest_framework.viewsets import ReadOnlyModelViewSet

from cachelayers.rest_framework import CachedListRetrieveMixin
from tests.conftest import empty_cache
from tests.library.models import Author, Book

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]
computed: list[str] = []
allowed = {"list": True, "row": True}
reads = {"reader": "nothing"}
throttled: list[str] = []


class BookSerializer(serializers.ModelSerializer):  # type: ignore[misc] # it comes without types
    reader = serializers.SerializerMethodField()

    class Meta:
        model = Book
        fields = ("title", "reader")

    def get_reader(self, book: Book) -> str:
        request, view = self.context["request"], self.context["view"]
        computed.append(book.title)
        readers: dict[str, Callable[[], str]] = {
            "user": lambda: request.user.username,
            "header": lambda: request.headers.get("X-Region", ""),
            "cookie": lambda: request.COOKIES.get("theme", ""),
            "attribute": lambda: view.tenant,
            "row of the view": lambda: view.author.name,
            "row of the request": lambda: request.author.name,
            "nothing": str,
        }
        return readers[reads["reader"]]()


class Pages(PageNumberPagination):  # type: ignore[misc]
    page_size = 1
    page_size_query_param = "size"


class Allowed(BasePermission):  # type: ignore[misc]
    def has_permission(self, request: Any, view: Any) -> bool:
        return allowed["list"]

    def has_object_permission(self, request: Any, view: Any, obj: Any) -> bool:
        return allowed["row"]


class Counting(SimpleRateThrottle):  # type: ignore[misc]
    def __init__(self) -> None:
        pass

    def allow_request(self, request: Any, view: Any) -> bool:
        throttled.append(request.path)
        return True


class Html(BrowsableAPIRenderer):  # type: ignore[misc]
    def render(self, data: Any, *arguments: Any) -> str:
        return f"with serializer: {hasattr(data, 'serializer')}"


class BookViewSet(CachedListRetrieveMixin, ReadOnlyModelViewSet):  # type: ignore[misc]
    queryset = Book.objects.order_by("pk")
    serializer_class = BookSerializer
    pagination_class = Pages
    permission_classes = (Allowed,)
    throttle_classes = (Counting,)
    renderer_classes = (JSONRenderer, Html)
    cache_timeout = 600

    def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        self.tenant = request.headers.get("X-Tenant", "")
        self.author = request.author = Author.objects.get()


class CookieViewSet(BookViewSet):
    def get_paginated_response(self, data: Any) -> Response:
        response = super().get_paginated_response(data)
        response.set_cookie("seen", "1")
        return response


class PlainViewSet(BookViewSet):
    pagination_class = None  # type: ignore[assignment]

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        response.data.append("added at each request")
        return super().finalize_response(request, response, *args, **kwargs)


router = SimpleRouter()
router.register("books", BookViewSet, basename="book")
router.register("cookies", CookieViewSet, basename="cookie")
router.register("plain", PlainViewSet, basename="plain")
urlpatterns = [path("", include(router.urls))]


@pytest.fixture(autouse=True)
def book(transactional_db: None) -> Iterator[Book]:
    with override_settings(
        CACHELAYERS={**settings.CACHELAYERS, "ALIAS": "memory_table"}, ALLOWED_HOSTS=["*"]
    ):
        empty_cache("memory_table")
        allowed.update(list=True, row=True)
        reads.update(reader="nothing")
        BookViewSet._cachelayers_variants.clear()
        BookViewSet._cachelayers_warned.clear()
        CookieViewSet._cachelayers_warned.clear()
        author = Author.objects.create(name="Ann")
        yield Book.objects.bulk_create(
            [Book(title="Ports", author=author), Book(title="Maps", author=author)]
        )[0]


def get(url: str = "/books/", user: User | None = None, **extra: Any) -> Any:
    """Return the response, with the titles that were serialized for it."""
    client = APIClient()
    if user is not None:
        client.force_authenticate(user)
    for name, value in extra.pop("cookies", {}).items():
        client.cookies[name] = value
    computed.clear()
    response: Any = client.get(url, **extra)
    response.computed = list(computed)
    return response


def assert_kept(*arguments: Any, **extra: Any) -> Any:
    """Assert that the second request gets what the first got, and serializes nothing."""
    first = get(*arguments, **extra)
    second = get(*arguments, **extra)
    assert second.computed == []
    assert second.content == first.content
    return second


def detail(book: Book) -> str:
    return f"/books/{book.pk}/"


def test_a_list_and_a_row_are_kept_until_a_save(book: Book) -> None:
    assert assert_kept().json()["results"] == [{"title": "Ports", "reader": ""}]
    assert assert_kept(detail(book)).json() == {"title": "Ports", "reader": ""}

    book.title = "Harbours"
    book.save()

    assert get().json()["results"][0]["title"] == "Harbours"
    assert get(detail(book)).json()["title"] == "Harbours"


def test_users_never_share(book: Book) -> None:
    ann, bob = (User.objects.create(username=name) for name in ("ann", "bob"))
    reads.update(reader="user")

    for url in ("/books/", detail(book)):
        assert_kept(url, ann)
        for user in (bob, ann, None):
            name = user.username if user else ""
            assert f'"reader":"{name}"' in get(url, user).content.decode()


def test_permissions_and_throttles_run_at_each_request(book: Book) -> None:
    throttled.clear()
    for url in ("/books/", detail(book)):
        assert_kept(url)
    assert len(throttled) == 4

    allowed["row"] = False
    assert get(detail(book)).status_code == 403
    assert get().status_code == 200
    allowed["list"] = False
    assert [get().status_code, get(detail(book)).status_code] == [403, 403]


def test_parameters_and_hosts_have_their_own_entries() -> None:
    assert assert_kept("/books/?size=2").json()["count"] == 2
    assert [len(get(f"/books/?size={size}").json()["results"]) for size in (1, 2)] == [1, 2]
    for host in ("a.example", "b.example"):
        found = assert_kept(HTTP_HOST=host).json()["next"]
        assert found == f"http://{host}/books/?page=2"
    encrypted = get(HTTP_HOST="a.example", SERVER_PORT="80", secure=True)
    assert encrypted.json()["next"] == "https://a.example/books/?page=2"


def test_html_gets_the_serializer_and_is_not_kept() -> None:
    assert_kept(HTTP_ACCEPT="application/json")

    for _ in range(2):
        response = get("/plain/?format=api")
        assert response.content == b"with serializer: True"
        assert response.computed != []


def test_a_header_that_the_data_is_made_from_selects_the_entry() -> None:
    reads.update(reader="header")
    names = ["a", "b", "a", "b", "a"]

    found = [get(HTTP_X_REGION=name) for name in names]

    assert [one.json()["results"][0]["reader"] for one in found] == names
    assert found[-1].computed == found[-2].computed == []


def test_a_process_that_has_not_learned_the_header_yet_shows_no_other_entry() -> None:
    reads.update(reader="header")
    for region in ("a", "b"):
        BookViewSet._cachelayers_variants.clear()
        assert get(HTTP_X_REGION=region).json()["results"][0]["reader"] == region


def test_an_attribute_of_the_view_selects_the_entry() -> None:
    reads.update(reader="attribute")
    for tenant in ("a", "b"):
        found = assert_kept(HTTP_X_TENANT=tenant)
        assert found.json()["results"][0]["reader"] == tenant


@pytest.mark.parametrize("reader", ["row of the view", "row of the request"])
def test_a_row_that_was_read_before_invalidates_the_data(reader: str) -> None:
    reads.update(reader=reader)
    get()  # from now on, the process knows what the data is made from
    assert assert_kept().json()["results"][0]["reader"] == "Ann"

    Author.objects.update(name="Bob")

    assert get().json()["results"][0]["reader"] == "Bob"


def test_data_made_from_a_cookie_is_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    reads.update(reader="cookie")
    for theme in ("dark", "light"):
        found = get(cookies={"theme": theme})
        assert found.json()["results"][0]["reader"] == theme

    assert [one.getMessage() for one in caplog.records if "is not cached" in one.getMessage()] == [
        f"{__name__}.BookViewSet.list is not cached: it reads a cookie."
    ]


def test_a_response_that_sets_a_cookie_is_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        response = get("/cookies/")
        assert response.cookies["seen"].value == "1"
        assert response.computed == ["Ports"]
    assert "CookieViewSet.list is not cached: its response is more than plain data" in caplog.text


def test_a_missing_row_is_looked_for_again() -> None:
    author = Author.objects.get()
    assert get("/books/1000/").status_code == 404

    Book.objects.create(pk=1000, title="Charts", author=author)

    assert get("/books/1000/").status_code == 200


def test_what_is_done_to_the_data_of_a_response_stays_there() -> None:
    for _ in range(3):
        assert get("/plain/").json()[2:] == ["added at each request"]
    assert get("/plain/").computed == []
