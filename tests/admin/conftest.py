"""Users with some permissions, a site with a LayeredCache, and the text of a page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html import unescape
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.test import Client
from pytest_django import Settings

from cachelayers.admin.changelists import offer_on_tracked_models
from cachelayers.statistics.writing import writer
from cachelayers.utils import counters
from tests.settings import database_cache, layered_cache, memory_cache, patient

SECTION = "/admin/cachelayers/"

EMPTY = "\N{EN DASH}"  # an empty cell

LogIn = Callable[..., Client]


class OneDatabase:
    """A router that keeps every table in one database, like a small site."""

    def allow_migrate(self, database: str, *names: str, **hints: Any) -> bool:
        return database == "default"


@pytest.fixture(autouse=True)
def _stack(settings: Settings, db: None) -> Iterator[None]:
    """Use a cache of memory above a table.

    Tests that recall are marked as transactional, because nothing is served within a transaction.
    """
    settings.CACHES = {
        "default": patient(layered_cache("memory", "table", bus="log")),
        "memory": memory_cache(),
        "table": database_cache("default"),
    }
    settings.DATABASE_ROUTERS = ["tests.admin.conftest.OneDatabase"]
    # As when the site's URLs are made. They may have been made while other models were tracked.
    offer_on_tracked_models(admin.site)
    counters.begin_anew_after_fork()
    writer.reset_after_fork()
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def log_in() -> LogIn:
    """Return a function that logs in a staff user with some permissions."""

    def start(*permissions: str, name: str = "ann", **options: Any) -> Client:
        user = User.objects.create_user(name, is_staff=True)
        for permission in permissions:
            label, _, codename = permission.partition(".")
            found = Permission.objects.filter(content_type__app_label=label, codename=codename)
            user.user_permissions.add(found.get())
        client = Client(**options)
        client.force_login(user)
        return client

    return start


@pytest.fixture
def boss() -> Client:
    """Return a client of a superuser."""
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    return client


def said(response: Any) -> str:
    """Return the visible text of a page's content."""
    content = response.content.decode()
    begins = content.index('id="content-main"') if 'id="content-main"' in content else 0
    text = re.sub(r"<(script|style)\b.*?</\1>", " ", content[begins:], flags=re.DOTALL)
    words = unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", text.partition(">")[2])))
    return words.replace(EMPTY, "-")


def messages_of(response: Any) -> list[str]:
    """Return the messages above the page."""
    return [str(message) for message in response.context["messages"]]


def entry_url(alias: str, name: str, client: Client) -> str:
    """Return the URL of an entry in the screen's list."""
    response = client.get(f"{SECTION}entries/", {"alias": alias, "text": name})
    [(_, url, _)] = response.context["rows"]
    return f"{SECTION}entries/{url}"
