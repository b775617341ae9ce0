"""Views that use the cache once: the whole site of the measurement."""

from django.contrib.auth.models import Group
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.urls import path

from cachelayers import recall

VALUE = "x" * 1_000


def nothing(request: HttpRequest) -> HttpResponse:
    return HttpResponse(VALUE)


def query(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{Group.objects.count()} groups")


def set_value(request: HttpRequest) -> HttpResponse:
    cache.set("key", VALUE, 600)
    return HttpResponse(VALUE)


def get_value(request: HttpRequest) -> HttpResponse:
    return HttpResponse(cache.get("key") or VALUE)


def recall_value(request: HttpRequest) -> HttpResponse:
    return HttpResponse(recall("groups", lambda: f"{Group.objects.count()} groups", timeout=600))


urlpatterns = [
    path("nothing", nothing),
    path("query", query),
    path("set", set_value),
    path("get", get_value),
    path("recall", recall_value),
]
