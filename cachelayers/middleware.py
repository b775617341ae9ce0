"""Make every request a unit of work; say how long a static file with an id may be kept.

The first is put in front of all other middleware when Django starts, the second by the project.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from functools import partial
from typing import Any, cast
from urllib.parse import urlsplit

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from cachelayers.invalidation.units import AGE_SECONDS, Unit, begin_unit, end_unit, within_unit
from cachelayers.staticfiles import MARKERS, PARAMETER, current_id
from cachelayers.utils.tracing import Work, is_sampling, note_view, sampling

SAFE_METHODS = frozenset({"GET", "HEAD"})
ERRORS = 400  # status codes from here on
GetResponse = Callable[[HttpRequest], Any]


@sync_and_async_middleware
def unit_of_work_middleware(get_response: GetResponse) -> GetResponse:
    """Begin a unit of work around everything that makes the response."""
    if iscoroutinefunction(get_response):

        async def answer_async(request: HttpRequest) -> HttpResponseBase:
            with unit_until_sent(request) as finish:
                if not is_sampling():
                    return finish(await get_response(request))
                with sampling() as work:
                    response: HttpResponseBase = await get_response(request)
                note_request(work, request, response)
                return finish(response)

        return answer_async

    def answer(request: HttpRequest) -> HttpResponseBase:
        with unit_until_sent(request) as finish:
            if not is_sampling():
                return finish(get_response(request))
            with sampling() as work:
                response: HttpResponseBase = get_response(request)
            note_request(work, request, response)
            return finish(response)

    return answer


@contextmanager
def unit_until_sent(request: HttpRequest) -> Iterator[Callable[[Any], HttpResponseBase]]:
    """Begin a unit of work that ends with the block, or when its response has been streamed.

    Gives a function that is to be called with the response, and returns it.
    """
    unit = begin_unit(request)
    streamed = False

    def finish(response: HttpResponseBase) -> HttpResponseBase:
        nonlocal streamed
        # A file is read by the server, often without Python. No code of the site runs meanwhile.
        if isinstance(response, StreamingHttpResponse) and not is_file(response):
            streamed = True
            stream_within(unit, response)
        return response

    try:
        with within_unit(unit):
            yield finish
    finally:
        if not streamed:
            end_unit(unit)


def is_file(response: StreamingHttpResponse) -> bool:
    """Tell whether a response is a file."""
    return getattr(response, "file_to_stream", None) is not None


def stream_within(unit: Unit, response: StreamingHttpResponse) -> None:
    """Have what makes the parts of a response run within a unit, which ends with the response."""
    end = partial(end_unit, unit)
    content: Any = response.streaming_content
    response.streaming_content = (
        AsyncChunks(unit, content) if response.is_async else Chunks(unit, content)
    )
    closers: list[Callable[[], None]] = cast(Any, response)._resource_closers
    closers.append(end)
    # A client that goes away, and a server that closes nothing.
    weakref.finalize(response, end).atexit = False


class Chunks(Iterator[Any]):
    """The parts of a response, each made within a unit of work."""

    def __init__(self, unit: Unit, parts: Iterable[Any]) -> None:
        self._unit, self._parts = unit, iter(parts)

    def __next__(self) -> Any:
        """Return the next one."""
        with chunk_within(self._unit, StopIteration):
            return next(self._parts)


class AsyncChunks(AsyncIterator[Any]):
    """The parts of an async response, each made within a unit of work."""

    def __init__(self, unit: Unit, parts: AsyncIterator[Any]) -> None:
        self._unit, self._parts = unit, parts

    async def __anext__(self) -> Any:
        """Return the next one."""
        with chunk_within(self._unit, StopAsyncIteration):
            return await anext(self._parts)


@contextmanager
def chunk_within(unit: Unit, no_more: type[Exception]) -> Iterator[None]:
    """Have one part made within a unit. One that streams for long asks the log for each recall."""
    if time.monotonic() - unit.began > AGE_SECONDS:
        unit.grow_old()
    with within_unit(unit):
        try:
            yield
        except no_more:
            end_unit(unit)
            raise


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


IMMUTABLE = "public, max-age=31536000, immutable"  # a year, the longest that counts
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
        verdict = compare_id(request)
        response: HttpResponseBase = self._get_response(request)
        if verdict is Verdict.MATCH:
            verdict = compare_id(request)
        return with_verdict(response, verdict)

    async def _answer_async(self, request: HttpRequest) -> HttpResponseBase:
        if static_name(request) is None:
            return cast("HttpResponseBase", await self._get_response(request))
        verdict = await sync_to_async(compare_id)(request)
        response: HttpResponseBase = await self._get_response(request)
        if verdict is Verdict.MATCH:
            verdict = await sync_to_async(compare_id)(request)
        return with_verdict(response, verdict)


def compare_id(request: HttpRequest) -> Verdict:
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
        response.headers["Cache-Control"] = IMMUTABLE
    else:
        response.headers["Cache-Control"] = ASK_AGAIN
    return response
