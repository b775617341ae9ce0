"""Make every request a unit of work; say how long a static file with an id may be kept.

The first is put in front of all other middleware when Django starts, the second by the project.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import Any, cast
from urllib.parse import urlsplit

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from cachelayers.hashing.markers import MARKERS
from cachelayers.hashing.urls import PARAMETER, current_id
from cachelayers.invalidation.units import unit_of_work
from cachelayers.samples import Work, is_sampling, note_view, sampling

SAFE_METHODS = frozenset({"GET", "HEAD"})
ERRORS = 400  # status codes from here on
GetResponse = Callable[[HttpRequest], Any]


@sync_and_async_middleware
def unit_of_work_middleware(get_response: GetResponse) -> GetResponse:
    """Begin a unit of work around everything that makes the response."""
    if iscoroutinefunction(get_response):

        async def answer_async(request: HttpRequest) -> HttpResponseBase:
            with unit_of_work(request):
                response: Awaitable[HttpResponseBase] = get_response(request)
                if not is_sampling():
                    return await response
                with sampling() as work:
                    answered = await response
                note_request(work, request, answered)
                return answered

        return answer_async

    def answer(request: HttpRequest) -> HttpResponseBase:
        with unit_of_work(request):
            response: HttpResponseBase
            if not is_sampling():
                response = get_response(request)
                return response
            with sampling() as work:
                response = get_response(request)
            note_request(work, request, response)
            return response

    return answer


def note_request(work: Work, request: HttpRequest, response: HttpResponseBase) -> None:
    """Take a view that was asked for a page as a sample of what a cache could keep.

    The same page for another session is another one: it may show who is logged in.
    """
    match = request.resolver_match
    if request.method in SAFE_METHODS and match is not None and response.status_code < ERRORS:
        session = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
        # Django's own name for a view without one: the path to its function.
        note_view(
            work, match.view_name or match._func_path, hash((request.get_full_path(), session))
        )


FOR_EVER = "public, max-age=31536000, immutable"  # a year, the longest that counts
ASK_AGAIN = "no-cache"
KEEP_NOTHING = "no-store"
WITH_CONTENT = frozenset({200, 206, 304})


class Verdict(Enum):
    """How the id in a URL stands to the content that the file has now."""

    NONE = auto()  # no static file, or no id
    MATCH = auto()
    OTHER = auto()
    MARKER = auto()


class StaticCacheMiddleware:
    """Have browsers and CDNs keep static files for ever, where the id is that of the content.

    Belongs above what serves static files: WhiteNoise, or Django's view.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        """``get_response``: may be async; then this is too."""
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """Answer with the right Cache-Control."""
        if self._is_async:
            return self._answer_async(request)
        verdict = judge(request)
        response: HttpResponseBase = self._get_response(request)
        if verdict is Verdict.MATCH:
            verdict = judge(request)
        return with_verdict(response, verdict)

    async def _answer_async(self, request: HttpRequest) -> HttpResponseBase:
        if static_name(request) is None:
            return cast("HttpResponseBase", await self._get_response(request))
        verdict = await sync_to_async(judge)(request)
        response: HttpResponseBase = await self._get_response(request)
        if verdict is Verdict.MATCH:
            verdict = await sync_to_async(judge)(request)
        return with_verdict(response, verdict)


def judge(request: HttpRequest) -> Verdict:
    """Compare the id in the URL with the file as it is now.

    Before the response, so that a file which is replaced later cannot be sent with the old content
    and kept under the new id; and after it, so that the reverse cannot happen either.
    """
    name = static_name(request)
    if name is None:
        return Verdict.NONE
    given = set(request.GET.getlist(PARAMETER))
    if given & MARKERS:
        return Verdict.MARKER
    return Verdict.MATCH if given == {current_id(name)} else Verdict.OTHER


def static_name(request: HttpRequest) -> str | None:
    """Return the name below STATIC_URL of a request with an id; None for every other request."""
    prefix = urlsplit(str(settings.STATIC_URL or "")).path
    if not prefix or not request.path.startswith(prefix) or PARAMETER not in request.GET:
        return None
    return request.path[len(prefix) :]


def with_verdict(response: HttpResponseBase, verdict: Verdict) -> HttpResponseBase:
    """Set Cache-Control, unless there is no id or the response says that it is private."""
    said = response.headers.get("Cache-Control", "")
    if verdict is Verdict.NONE or "private" in said or "no-store" in said:
        return response
    if verdict is Verdict.MARKER:
        response.headers["Cache-Control"] = KEEP_NOTHING
    elif verdict is Verdict.MATCH and response.status_code in WITH_CONTENT:
        response.headers["Cache-Control"] = FOR_EVER
    else:
        response.headers["Cache-Control"] = ASK_AGAIN
    return response
