"""Fixtures of the fragments' tests: both engines, a cache, and a counter of what is rendered."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.cache.backends.base import BaseCache
from django.http import HttpRequest
from django.test import RequestFactory
from pytest_django import Settings
from pytest_django.plugin import DjangoDbBlocker

from tests.conftest import empty_cache
from tests.fragments.engines import ENGINES, Templates
from tests.library.models import Author, Book, Subject


class Counter:
    """Something to be called while a block is rendered. Shows nothing."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> str:
        self.count += 1
        return ""

    def __str__(self) -> str:
        return "counter"

    def since(self) -> int:
        """Return how often it was called since it was asked last."""
        count, self.count = self.count, 0
        return count


@pytest.fixture(autouse=True)
def store(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, settings: Settings
) -> Iterator[BaseCache]:
    """Return the cache that fragments are kept in, empty; and no book in the library."""
    settings.CACHELAYERS = {**settings.CACHELAYERS, "ALIAS": "memory_table"}
    with django_db_blocker.unblock():
        for model in (Book, Author, Subject):
            model._default_manager.all().delete()
        yield empty_cache("memory_table")


@pytest.fixture(params=sorted(ENGINES))
def templates(request: pytest.FixtureRequest) -> Templates:
    """Return an engine without templates."""
    return ENGINES[request.param]()


@pytest.fixture
def tick() -> Counter:
    return Counter()


@pytest.fixture
def request_of_nobody(rf: RequestFactory) -> HttpRequest:
    return rf.get("/")


@pytest.fixture
def author() -> Author:
    return Author.objects.create(name="Ann")


@pytest.fixture
def book(author: Author) -> Book:
    return Book.objects.create(title="Maps", author=author)
