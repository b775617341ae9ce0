"""A streamed response is one unit of work until it is closed in any way."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Iterator
from io import BytesIO
from typing import Any, cast

import pytest
from django.core.signals import request_finished
from django.db import close_old_connections
from django.http import FileResponse, HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.test import AsyncClient, Client, RequestFactory
from django.urls import path

from cachelayers.invalidation import units
from cachelayers.invalidation.units import Unit, current_unit, running_units
from cachelayers.middleware import unit_of_work_middleware

seen: list[Unit | None] = []


def parts() -> Iterator[str]:
    for _ in range(3):
        seen.append(current_unit())
        yield "part"


async def async_parts() -> AsyncIterator[str]:
    for _ in range(3):
        await asyncio.sleep(0)
        seen.append(current_unit())
        yield "part"


def stream(request: HttpRequest) -> HttpResponseBase:
    seen.append(current_unit())
    return StreamingHttpResponse(parts())


async def astream(request: HttpRequest) -> HttpResponseBase:
    seen.append(current_unit())
    return StreamingHttpResponse(async_parts())


urlpatterns = [path("stream/", stream), path("astream/", astream)]


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    seen.clear()
    before = len(running_units())
    # As the test client does: a response that is closed would look at connections of other tests.
    request_finished.disconnect(close_old_connections)
    yield
    request_finished.connect(close_old_connections)
    seen.clear()
    assert current_unit() is None
    assert len(running_units()) == before


@pytest.mark.urls(__name__)
def test_all_parts_are_made_within_the_unit_of_the_view(client: Client) -> None:
    response: Any = client.get("/stream/")
    assert b"".join(response.streaming_content) == b"partpartpart"

    assert len(seen) == 4
    assert seen[0] is not None
    assert set(seen) == {seen[0]}
    assert seen[0].has_ended


@pytest.mark.urls(__name__)
def test_all_parts_of_an_async_response_are_made_within_it(async_client: AsyncClient) -> None:
    async def get() -> bytes:
        response: Any = await async_client.get("/astream/")
        return b"".join([part async for part in response])

    assert asyncio.run(get()) == b"partpartpart"
    assert len(seen) == 4
    assert seen[0] is not None
    assert set(seen) == {seen[0]}


def answer_to_nobody(response: HttpResponseBase) -> HttpResponseBase:
    answered: HttpResponseBase = unit_of_work_middleware(lambda request: response)(
        RequestFactory().get("/")
    )
    return answered


def test_a_response_that_is_closed_before_its_end_ends_the_unit() -> None:
    response: Any = answer_to_nobody(StreamingHttpResponse(parts()))
    next(response.streaming_content)
    [unit] = cast("list[Unit]", seen)
    states = [unit.has_ended]
    response.close()
    states.append(unit.has_ended)

    assert states == [False, True]


def test_the_unit_of_an_unclosed_response_ends_when_it_is_deleted() -> None:
    response: Any = answer_to_nobody(StreamingHttpResponse(parts()))
    next(iter(response))
    [unit] = cast("list[Unit]", seen)
    assert unit in running_units()

    del response
    gc.collect()

    assert unit not in running_units()


def test_a_part_that_fails_leaves_no_unit_in_the_thread() -> None:
    def fail(part: str) -> str:
        raise ConnectionResetError(part)

    response: Any = answer_to_nobody(StreamingHttpResponse(map(fail, ["part"])))
    with pytest.raises(ConnectionResetError):
        next(iter(response))
    assert current_unit() is None
    response.close()


def test_a_file_is_left_to_the_server() -> None:
    file = BytesIO(b"content")
    response: Any = answer_to_nobody(FileResponse(file))

    assert response.file_to_stream is file
    response.close()


def test_a_long_stream_reads_the_log_for_each_recall(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    response: Any = answer_to_nobody(StreamingHttpResponse(parts()))
    content = iter(response)
    next(content)
    [unit] = cast("list[Unit]", seen)
    was_over = unit.is_outdated
    monkeypatch.setattr(unit, "began", time.monotonic() - units.OLD_POSITION_SECONDS - 1)
    next(content)

    assert not was_over
    assert unit.is_outdated
    response.close()
