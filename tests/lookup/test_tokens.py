"""A value with a CSRF token belongs to one visitor, and is not stored."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.http import HttpRequest
from django.middleware.csrf import get_token
from django.template import Context, Template
from django.test import RequestFactory, override_settings

from cachelayers import cached, recall, unit_of_work
from cachelayers.invalidation.reports import reports
from tests.conftest import empty_cache

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def store(transactional_db: None) -> Iterator[None]:
    with override_settings(CACHELAYERS={**settings.CACHELAYERS, "ALIAS": "sqlite_shared"}):
        empty_cache("sqlite_shared")
        reports.clear()
        yield


@cached(key=lambda request: request.path)
def form(request: HttpRequest) -> str:
    context = Context({"csrf_token": get_token(request)})
    return Template("<form>{% csrf_token %}</form>").render(context)


@cached(key=lambda request: request.path)
def script(request: HttpRequest) -> dict[str, Any]:
    return {"parts": [f"const token = '{get_token(request)}'"]}


def page(request: HttpRequest) -> str:
    return recall("page", lambda: f"<body>{form(request)}</body>")


@pytest.mark.parametrize("show", [form, script, page])
def test_a_text_with_a_token_is_each_visitor_s_own(
    show: Callable[[HttpRequest], Any], caplog: pytest.LogCaptureFixture
) -> None:
    def visit() -> str:
        request = RequestFactory().get("/")
        with unit_of_work(request), caplog.at_level(logging.WARNING, "cachelayers.invalidation"):
            return str(show(request))

    assert visit() != visit()
    assert [record.message for record in caplog.records if "a CSRF token" in record.message]


def test_a_text_without_a_token_is_stored(rf: RequestFactory) -> None:
    made = []

    def make() -> str:
        made.append(1)
        return "x" * 1000

    for _ in range(2):
        request = rf.get("/")
        get_token(request)
        with unit_of_work(request):
            recall("plain", make)

    assert made == [1]
