"""The URLs of the demo site, and those of pages that wait."""

import time

from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from cachelayers import recall

WAIT_SECONDS = 0.005  # as for a database on another host, or a service


def waiting(request: HttpRequest, number: int) -> HttpResponse:
    return HttpResponse(recall(f"waiting:{number}", lambda: wait(number)))


def wait(number: int) -> str:
    time.sleep(WAIT_SECONDS)
    return f"This is page {number}."


urlpatterns = [
    path("waiting/<int:number>/", waiting),
    path("", include("testproject.urls")),
]
