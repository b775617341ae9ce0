"""Fixtures of the fragments' tests: both engines, a cache, and a counter of what is rendered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any, Protocol

import pytest
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.auth.models import User
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.cache.backends.base import BaseCache
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from pytest_django import Settings
from pytest_django.plugin import DjangoDbBlocker

from cachelayers import unit_of_work
from tests.conftest import empty_cache
from tests.fragments.engines import ENGINES, Templates
from tests.library.models import Author, Book, Subject

NewRequest = Callable[..., Any]


class Counter(Protocol):
    """Something to be called while a block is rendered. Shows nothing."""

    def __call__(self) -> str:
        """Count one."""

    def since(self) -> int:
        """Return how often it was called since it was asked last."""


def count() -> str:
    """What a counter does; its list is its own global, so that it holds nothing by a closure."""
    calls.append(1)  # type: ignore[name-defined] # noqa: F821
    return ""


def count_anew() -> int:
    """What a counter does that is asked."""
    number = len(calls)  # type: ignore[name-defined] # noqa: F821
    calls.clear()  # type: ignore[name-defined] # noqa: F821
    return number


def new_counter() -> Counter:
    """Return a counter that is a plain function: a fragment knows that these hold no data."""
    calls: list[int] = []
    counter: Any = FunctionType(count.__code__, {"calls": calls}, "counter")

    counter.since = FunctionType(count_anew.__code__, {"calls": calls}, "since")
    found: Counter = counter
    return found


def call_it() -> Any:
    """What a plain function does."""
    return called()  # type: ignore[name-defined] # noqa: F821


def plain(function: Callable[[], Any]) -> Callable[[], Any]:
    """Return a function that says nothing of what it calls, so that all of them are the same."""
    return FunctionType(call_it.__code__, {"called": function}, "plain")


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
    return new_counter()


def respond(request: HttpRequest) -> HttpResponse:
    """Be the view behind a middleware."""
    return HttpResponse()


@pytest.fixture
def new_request(rf: RequestFactory) -> NewRequest:
    """Return what makes a request as Django's middleware leaves it, of a user or of nobody."""

    def make(user: User | None = None, **cookies: str) -> HttpRequest:
        request = rf.get("/")
        request.COOKIES.update(cookies)
        SessionMiddleware(respond).process_request(request)
        if user is not None:
            request.session["_auth_user_id"] = str(user.pk)
            request.session["_auth_user_backend"] = "django.contrib.auth.backends.ModelBackend"
            request.session["_auth_user_hash"] = user.get_session_auth_hash()
            request.session.save()
        AuthenticationMiddleware(respond).process_request(request)
        MessageMiddleware(respond).process_request(request)
        request.session.accessed = False
        return request

    return make


@pytest.fixture
def users() -> list[User]:
    User.objects.all().delete()
    return [User.objects.create_user(name) for name in ("ann", "bob")]


def read_log() -> None:
    """Know of what was written so far, as a process that serves requests does."""
    with unit_of_work() as unit:
        unit.refresh("default")


@pytest.fixture
def author() -> Author:
    author = Author.objects.create(name="Ann")
    read_log()
    return author


@pytest.fixture
def book(author: Author) -> Book:
    book = Book.objects.create(title="Maps", author=author)
    read_log()
    return book


@pytest.fixture
def books(author: Author) -> list[Book]:
    books = [Book.objects.create(title=f"Book {number}", author=author) for number in range(5)]
    read_log()
    return books
