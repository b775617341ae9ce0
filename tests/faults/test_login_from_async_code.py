"""``alogin()`` with sessions in the cache and in the database, on each kind of table."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth import aget_user, alogin, alogout
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.test import override_settings

from tests.settings import database_cache, layered_cache, memory_cache


def on_a_server(name: str) -> Any:
    databases = ["default", name]
    allowed = pytest.mark.django_db(transaction=True, databases=databases)
    return pytest.param(name, marks=[getattr(pytest.mark, name), allowed])


TABLES = [
    pytest.param("default", marks=pytest.mark.django_db(transaction=True)),
    on_a_server("postgres"),
    on_a_server("mariadb"),
]


@pytest.fixture(params=["cached_db", "cache"])
def engine(request: pytest.FixtureRequest) -> Any:
    """Return the module of a session engine that uses the cache."""
    return importlib.import_module(f"django.contrib.sessions.backends.{request.param}")


@pytest.fixture(params=TABLES)
def _table(request: pytest.FixtureRequest, engine: Any) -> Iterator[None]:
    """Put sessions into a table, behind memory."""
    configured = {
        "sessions-table": database_cache(request.param),
        "sessions-memory": memory_cache(),
        "sessions": layered_cache("sessions-memory", "sessions-table"),
    }
    with override_settings(
        CACHES={**settings.CACHES, **configured},
        SESSION_CACHE_ALIAS="sessions",
        SESSION_ENGINE=engine.__name__,
    ):
        yield


@pytest.mark.usefixtures("_table")
def test_a_user_logs_in_is_known_and_logs_out(engine: Any) -> None:
    user = User.objects.create_user("homer", password="sing")

    async def request_of(session_key: str | None) -> HttpRequest:
        request = HttpRequest()
        request.session = engine.SessionStore(session_key)
        request.user = await aget_user(request)
        return request

    async def visit() -> list[Any]:
        first = await request_of(None)
        await first.session.aset("before", 1)
        await alogin(first, user)
        await first.session.asave()
        second = await request_of(first.session.session_key)
        found = [second.user.pk, await second.session.aget("before")]
        await alogout(second)
        third = await request_of(first.session.session_key)
        return [*found, third.user.is_anonymous]

    assert asyncio.run(visit()) == [user.pk, 1, True]
