"""Responses belong to one visitor and are refused. Methods can be decorated in any way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.core.cache.backends.base import BaseCache
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.test import RequestFactory
from django.utils.decorators import method_decorator
from pytest_django.plugin import DjangoDbBlocker

from cachelayers import arecall, cached, recall
from tests.conftest import empty_cache
from tests.library.models import Author


@pytest.fixture(autouse=True)
def store(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[BaseCache]:
    with django_db_blocker.unblock():
        yield empty_cache("sqlite")


@cached(using="sqlite", key=lambda request: request.path)
def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("for Ann only")


RESPONSES: list[Callable[[], Any]] = [
    lambda: HttpResponse("x"),
    lambda: JsonResponse({}),
    lambda: StreamingHttpResponse(["x"]),
    lambda: TemplateResponse(RequestFactory().get("/"), "some.html"),
    lambda: {"page": [1, HttpResponse("x")]},
    lambda: (200, TemplateResponse(RequestFactory().get("/"), "some.html")),
    HttpRequest,
    lambda: {"request": HttpRequest()},
    lambda: [SessionStore()],
]


@pytest.mark.parametrize("compute", RESPONSES)
def test_a_response_is_refused_wherever_it_is(compute: Callable[[], Any], store: BaseCache) -> None:
    with pytest.raises(TypeError, match=r"recall\('page'\).*cache_page"):
        recall("page", compute, using="sqlite")

    assert store.get("page") is None


def test_an_async_one_is_refused_too() -> None:
    async def compute() -> HttpResponse:
        return HttpResponse("x")

    with pytest.raises(TypeError, match="response"):
        asyncio.run(arecall("page", compute, using="sqlite"))


def test_a_decorated_view_is_an_error_that_names_the_response() -> None:
    with pytest.raises(TypeError, match=r"test_responses\.page.*HttpResponse"):
        page(RequestFactory().get("/"))


def test_a_response_is_an_error_too_if_nothing_is_stored() -> None:
    with transaction.atomic():
        Author.objects.create(pk=77, name="Ann")
        with pytest.raises(TypeError, match="response"):
            recall("page", lambda: HttpResponse("x"), using="sqlite")
        transaction.set_rollback(True)


def key_of(report: Any, year: int) -> str:
    return f"{report.name}:{year}"


class Report:
    def __init__(self, name: str) -> None:
        self.name = name
        self.computed = 0

    @method_decorator(cached(using="sqlite", key=key_of))
    def total(self, year: int) -> int:
        self.computed += 1
        return year * 2


@method_decorator(cached(using="sqlite", key=key_of), name="total")
class OtherReport:
    def __init__(self, name: str) -> None:
        self.name = name
        self.computed = 0

    def total(self, year: int) -> int:
        self.computed += 1
        return year * 2


@pytest.mark.parametrize("kind", [Report, OtherReport])
def test_method_decorator_caches_by_the_object_and_the_arguments(kind: type[Any]) -> None:
    ann, bob = kind("ann"), kind("bob")

    found = [ann.total(2020), ann.total(2020), ann.total(2021), bob.total(2020)]

    assert found == [4040, 4040, 4042, 4040]
    assert (ann.computed, bob.computed) == (2, 1)


def test_a_bound_method_may_be_decorated() -> None:
    report = OtherReport("carl")
    plain = OtherReport.__dict__["total"].__wrapped__
    total = cached(using="sqlite", key=key_of)(plain.__get__(report))

    assert [total(1), total(1)] == [2, 2]
    assert report.computed == 1
