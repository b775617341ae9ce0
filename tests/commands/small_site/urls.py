"""The views and URLs of the small site."""

from collections.abc import Iterator
from typing import Any

from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.urls import path
from django.utils import timezone, translation
from django.views.decorators.cache import cache_page

from tests.commands.small_site.records import records


def page(request: HttpRequest, number: int = 0) -> HttpResponse:
    records.requests.append(request)
    zone = timezone.get_current_timezone_name()
    cache.set("language-and-zone", (translation.get_language(), zone))
    cache.set(f"page:{number}", f"This is page {number}.")
    return HttpResponse(f"This is page {number}.")


def greeting(request: Any) -> HttpResponse:
    records.requests.append(request)
    return HttpResponse(f"Hello, {request.user}.")


def country(request: HttpRequest, code: str) -> HttpResponse:
    if code not in {"DE", "FR", "IT"}:
        raise Http404(code)
    return HttpResponse(code)


async def async_page(request: HttpRequest) -> HttpResponse:
    records.requests.append(request)
    await cache.aset("async-page", "rendered")
    return HttpResponse("async")


def streamed(request: HttpRequest) -> StreamingHttpResponse:
    def chunks() -> Iterator[str]:
        yield "first"
        cache.set("streamed-page", "to its end")
        yield "last"

    return StreamingHttpResponse(chunks())


def breaks_while_streaming(request: HttpRequest) -> StreamingHttpResponse:
    def chunks() -> Iterator[str]:
        yield "first"
        raise RuntimeError("the stream broke")

    return StreamingHttpResponse(chunks())


def broken(request: HttpRequest) -> HttpResponse:
    raise ValueError("no such country: XX")


def odd(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=499)


def hangs(request: HttpRequest) -> HttpResponse:
    records.hanging.wait(30)
    return HttpResponse("at last")


def hidden(request: HttpRequest) -> HttpResponse:
    raise PermissionDenied


def in_french(request: HttpRequest) -> HttpResponse:
    translation.activate("fr")
    return HttpResponse("bonjour")


def redirect(request: HttpRequest) -> HttpResponseRedirect:
    response = HttpResponseRedirect("/")
    response["Location"] = request.GET.get("to", request.path)
    return response


def served(request: HttpRequest, name: str) -> HttpResponse:
    try:
        return HttpResponse(records.files[name], content_type="application/octet-stream")
    except KeyError:
        raise Http404(name) from None


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    # Django's handler would use the template 404.html of any app.
    return HttpResponse("There is no such page.", status=404)


handler404 = not_found
urlpatterns = [
    path("", page),
    path("page/<int:number>/", page),
    path("kept/<int:number>/", cache_page(60, key_prefix="kept")(page)),
    path("country/<str:code>/", country),
    path("greeting/", cache_page(60, key_prefix="greeting")(greeting)),
    path("hangs/", hangs),
    path("async/", async_page),
    path("streamed/", streamed),
    path("breaks-while-streaming/", breaks_while_streaming),
    path("broken/", broken),
    path("hidden/", hidden),
    path("odd/", odd),
    path("in-french/", in_french),
    path("redirect/", redirect),
    path("served/<path:name>", served),
    path("países/", page),
]
