"""Two middlewares: a unit of work for each request, and Cache-Control for static files with an id.

Django's start puts the first one before all others; the project adds the second.
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

from cachelayers.invalidation import OLD_POSITION_SECONDS, Unit, begin_unit, end_unit, within_unit
from cachelayers.staticfiles import MARKERS, PARAMETER, current_id
from cachelayers.utils.tracing import Work, is_sampling, note_view, sampling

SAFE_METHODS = frozenset({"GET", "HEAD"})
ERRORS = 400  # the lowest status code of an error
GetResponse = Callable[[HttpRequest], Any]


@sync_and_async_middleware
def unit_of_work_middleware(get_response: GetResponse) -> GetResponse:
    """Run the request within a unit of work."""
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
    """Begin a unit of work that ends with the block, or when a streamed response has been sent.

    Yields a function that takes the response and returns it.
    """
    unit = begin_unit(request)
    streamed = False

    def finish(response: HttpResponseBase) -> HttpResponseBase:
        nonlocal streamed
        # The server reads a file, often without Python, and no code of the site runs meanwhile.
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
    """Return whether a response is a file."""
    return getattr(response, "file_to_stream", None) is not None


def stream_within(unit: Unit, response: StreamingHttpResponse) -> None:
    """Produce the chunks of a response within a unit, which ends with the response."""
    end = partial(end_unit, unit)
    content: Any = response.streaming_content
    response.streaming_content = (
        AsyncChunks(unit, content) if response.is_async else Chunks(unit, content)
    )
    closers: list[Callable[[], None]] = cast(Any, response)._resource_closers
    closers.append(end)
    # For a client that disconnects from a server that closes nothing.
    weakref.finalize(response, end).atexit = False


class Chunks(Iterator[Any]):
    """The chunks of a response, each produced within a unit of work."""

    def __init__(self, unit: Unit, parts: Iterable[Any]) -> None:
        self._unit, self._parts = unit, iter(parts)

    def __next__(self) -> Any:
        with chunk_within(self._unit, StopIteration):
            return next(self._parts)


class AsyncChunks(AsyncIterator[Any]):
    """The chunks of an async response, each produced within a unit of work."""

    def __init__(self, unit: Unit, parts: AsyncIterator[Any]) -> None:
        self._unit, self._parts = unit, parts

    async def __anext__(self) -> Any:
        with chunk_within(self._unit, StopAsyncIteration):
            return await anext(self._parts)


@contextmanager
def chunk_within(unit: Unit, no_more: type[Exception]) -> Iterator[None]:
    """Produce a chunk within a unit. In a long stream, each recall reads the log again."""
    if time.monotonic() - unit.began > OLD_POSITION_SECONDS:
        unit.mark_outdated()
    with within_unit(unit):
        try:
            yield
        except no_more:
            end_unit(unit)
            raise


def note_request(work: Work, request: HttpRequest, response: HttpResponseBase) -> None:
    """Sample the view of a successful page for the advisor.

    The same page in another session counts as another page: it may show who is logged in.
    """
    match = request.resolver_match
    if request.method in SAFE_METHODS and match is not None and response.status_code < ERRORS:
        session = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
        # for a view without a name, Django's path to its function
        note_view(
            work, match.view_name or match._func_path, hash((request.get_full_path(), session))
        )


IMMUTABLE = "public, max-age=31536000, immutable"  # a year, the longest that caches accept
ASK_AGAIN = "no-cache"
KEEP_NOTHING = "no-store"
WITH_CONTENT = frozenset({200, 206, 304})


class Verdict(Enum):
    """How the id in a URL compares with the file's present content."""

    NONE = auto()  # not a static file, or without an id
    MATCH = auto()
    OTHER = auto()
    MARKER = auto()


class StaticCacheMiddleware:
    """Let browsers and CDNs cache static files for a year, if the id is that of the content.

    Put it before what serves static files: WhiteNoise, or Django's view.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        """``get_response`` may be async; then this is too."""
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
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
    """Compare the id in the URL with the present file.

    Called before the response, so that a file that is replaced later is not sent with its old
    content and cached under the new id; and after it, so that the reverse cannot happen.
    """
    name = static_name(request)
    if name is None:
        return Verdict.NONE
    ids = set(request.GET.getlist(PARAMETER))
    if ids & MARKERS:
        return Verdict.MARKER
    return Verdict.MATCH if ids == {current_id(name)} else Verdict.OTHER


def static_name(request: HttpRequest) -> str | None:
    """Return the name below STATIC_URL of a request with an id, or None for other requests."""
    prefix = urlsplit(str(settings.STATIC_URL or "")).path
    if not prefix or not request.path.startswith(prefix) or PARAMETER not in request.GET:
        return None
    return request.path[len(prefix) :]


def with_verdict(response: HttpResponseBase, verdict: Verdict) -> HttpResponseBase:
    """Set Cache-Control, unless there is no id or the response is private."""
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
