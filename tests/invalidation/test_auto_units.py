"""Requests, tasks, Celery tasks and commands begin units of work automatically."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Iterator
from typing import Any

import celery
import django
import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path

from cachelayers.auto_units import MIDDLEWARE, add_middleware
from cachelayers.invalidation.units import Unit, current_unit

seen: list[Unit | None] = []


def look(request: HttpRequest) -> HttpResponse:
    seen.append(current_unit())
    return HttpResponse("looked")


async def alook(request: HttpRequest) -> HttpResponse:
    seen.append(current_unit())
    return HttpResponse("looked")


urlpatterns = [path("look/", look), path("alook/", alook)]


@pytest.fixture(autouse=True)
def _nothing_seen() -> Iterator[None]:
    seen.clear()
    yield
    assert current_unit() is None


def test_the_middleware_is_added_before_all_others(settings: Any) -> None:
    assert settings.MIDDLEWARE[0] == MIDDLEWARE


@pytest.mark.parametrize("given", [["one"], ("one",)], ids=["list", "tuple"])
def test_the_middleware_setting_keeps_its_type(given: Any) -> None:
    with override_settings(MIDDLEWARE=given):
        add_middleware()

        assert type(given)((MIDDLEWARE, "one")) == settings.MIDDLEWARE


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("address", ["/look/", "/alook/"])
def test_each_request_is_a_unit(client: Client, address: str) -> None:
    for _ in range(2):
        client.get(address)

    assert None not in seen
    assert len({id(unit) for unit in seen}) == 2


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("address", ["/look/", "/alook/"])
def test_each_async_request_is_a_unit(async_client: AsyncClient, address: str) -> None:
    async def get_twice() -> None:
        for _ in range(2):
            await async_client.get(address)

    asyncio.run(get_twice())

    assert None not in seen
    assert len({id(unit) for unit in seen}) == 2


class Look(BaseCommand):
    requires_system_checks = []

    def handle(self, *arguments: Any, **options: Any) -> None:
        seen.append(current_unit())


def test_a_command_is_a_unit() -> None:
    call_command(Look())

    assert seen[0] is not None


def test_a_celery_task_is_a_unit() -> None:
    app = celery.Celery("tests", broker="memory://")
    app.conf.task_always_eager = True

    def look_from_a_task() -> None:
        seen.append(current_unit())

    app.task(look_from_a_task).delay()

    assert seen[0] is not None


def test_a_celery_task_that_fails_ends_its_unit() -> None:
    app = celery.Celery("tests", broker="memory://")
    app.conf.task_always_eager = True

    def fail() -> None:
        raise ValueError

    result = app.task(fail).delay()

    assert result.failed()
    assert current_unit() is None


if importlib.util.find_spec("django.tasks") is not None:
    from django.tasks import task

    @task
    def look_from_django() -> None:
        seen.append(current_unit())

    def test_a_task_of_django_s_is_a_unit(settings: Any) -> None:
        settings.TASKS = {
            "default": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}
        }

        look_from_django.enqueue()

        assert seen[0] is not None

else:

    def test_there_are_tasks_from_django_6_on() -> None:
        assert django.VERSION < (6, 0)
