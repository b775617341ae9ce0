"""A site of one view, called through the WSGI handler, with units of work as on a server."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.test import RequestFactory
from django.urls import path

VIEW = "checker.view"
View = Callable[[HttpRequest], HttpResponseBase]


def answer(request: HttpRequest) -> HttpResponseBase:
    """Answer with the view that the request carries."""
    view: View = request.environ[VIEW]  # type: ignore[attr-defined] # a WSGIRequest
    return view(request)


urlpatterns = [path("", answer)]


@cache
def handler() -> WSGIHandler:
    return WSGIHandler()


def get(view: View) -> Iterable[bytes]:
    """Yield the chunks of the response, and close it in the end, as a server does."""
    environ = RequestFactory().get("/").environ | {VIEW: view}
    serve: Any = handler()
    response = serve(environ, lambda status, headers: None)
    with contextlib.closing(response):
        yield from response


def get_whole(view: View) -> None:
    """Return the whole response of a request."""
    for _ in get(view):
        pass


def nothing() -> HttpResponse:
    return HttpResponse(status=204)
