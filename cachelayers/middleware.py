"""Make every request a unit of work. Put in front of all other middleware when Django starts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from cachelayers.invalidation.units import unit_of_work

GetResponse = Callable[[HttpRequest], Any]


@sync_and_async_middleware
def unit_of_work_middleware(get_response: GetResponse) -> GetResponse:
    """Begin a unit of work around everything that makes the response."""
    if iscoroutinefunction(get_response):

        async def answer_async(request: HttpRequest) -> HttpResponseBase:
            with unit_of_work():
                response: Awaitable[HttpResponseBase] = get_response(request)
                return await response

        return answer_async

    def answer(request: HttpRequest) -> HttpResponseBase:
        with unit_of_work():
            response: HttpResponseBase = get_response(request)
            return response

    return answer
