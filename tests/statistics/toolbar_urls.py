"""Pages with the toolbar. Imported while it is installed, because its URLs need its model."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from cachelayers import arecall, recall
from tests.library.models import Author

ALIAS = "sqlite"


def names() -> str:
    return ", ".join(Author.objects.values_list("name", flat=True))


def inner() -> str:
    return recall("fragment:inner:1", names, using=ALIAS)


def page(request: HttpRequest) -> HttpResponse:
    outer = recall("outer:<b>", inner, timeout=60, tags=["front"], using=ALIAS)
    return HttpResponse(f"<html><body>{outer}</body></html>")


async def async_page(request: HttpRequest) -> HttpResponse:
    value = await arecall("async:1", lambda: "value", using=ALIAS)
    return HttpResponse(f"<html><body>{value}</body></html>")


def unkept_page(request: HttpRequest) -> HttpResponse:
    recall("brief<b>:1", names, timeout=0, using=ALIAS)
    recall("kept:1", names, using=ALIAS)
    recall("random:1", lambda: list(Author.objects.order_by("?")), timeout=None, using=ALIAS)
    return HttpResponse("<html><body></body></html>")


urlpatterns = [
    path("unkept-page/", unkept_page),
    path("page/", page),
    path("async-page/", async_page),
    path("toolbar/", include("debug_toolbar.urls")),
]
