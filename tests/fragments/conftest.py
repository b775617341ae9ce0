"""Fixtures of the fragments' tests: both engines, a cache, and a counter of renderings."""

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
    """Called while a block is rendered. Its text is empty."""

    def __call__(self) -> str: ...

    def since(self) -> int:
        """Return the number of calls since the last question."""


def count() -> str:
    """The code of a counter; its list is a global, so that it is not a closure."""
    calls.append(1)  # type: ignore[name-defined] # noqa: F821
    return ""


def count_anew() -> int:
    """The code of a counter's since()."""
    number = len(calls)  # type: ignore[name-defined] # noqa: F821
    calls.clear()  # type: ignore[name-defined] # noqa: F821
    return number


def new_counter() -> Counter:
    """Return a counter that is a plain function, because fragments know that these hold no data."""
    calls: list[int] = []
    counter: Any = FunctionType(count.__code__, {"calls": calls}, "counter")

    counter.since = FunctionType(count_anew.__code__, {"calls": calls}, "since")
    found: Counter = counter
    return found


def call_it() -> Any:
    """The code of a plain function."""
    return called()  # type: ignore[name-defined] # noqa: F821


def plain(function: Callable[[], Any]) -> Callable[[], Any]:
    """Return a plain function that calls another one; all of them have the same code."""
    return FunctionType(call_it.__code__, {"called": function}, "plain")


@pytest.fixture(autouse=True)
def store(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, settings: Settings
) -> Iterator[BaseCache]:
    """Return the empty cache of fragments; the library has no books, before and after."""
    settings.CACHELAYERS = {**settings.CACHELAYERS, "ALIAS": "memory_table"}
    with django_db_blocker.unblock():
        empty_library()
        yield empty_cache("memory_table")
        empty_library()


def empty_library() -> None:
    for model in (Book, Author, Subject):
        model._default_manager.all().delete()


@pytest.fixture(params=sorted(ENGINES))
def templates(request: pytest.FixtureRequest) -> Templates:
    return ENGINES[request.param]()


@pytest.fixture
def tick() -> Counter:
    return new_counter()


def respond(request: HttpRequest) -> HttpResponse:
    """The view behind a middleware."""
    return HttpResponse()


@pytest.fixture
def new_request(rf: RequestFactory) -> NewRequest:
    """Return a function that makes a request, for a user or not, like Django's middleware."""

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
    """Read the log up to now, like a process that serves requests."""
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
