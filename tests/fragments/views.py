"""The views of these tests: what they read, show and change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest

from cachelayers import unit_of_work
from tests.fragments.engines import Templates
from tests.library.models import Book


def counted(templates: Templates, body: str = "") -> str:
    """Return a fragment that counts its renderings."""
    return templates.fragment(f"{templates.show('tick')}{body}", "card")


def show_twice(templates: Templates, **names: Any) -> str:
    """Render until it is cached: rows written before the log is read are rendered again."""
    templates.render("page", **names)
    return templates.render("page", **names)


def titles(templates: Templates, **options: Any) -> str:
    """Return a list of books that counts their renderings."""
    body = templates.show("tick") + "{{ book.title }};"
    return templates.fragments(body, "row", "book in books", **options)


def all_books() -> Any:
    return Book.objects.order_by("pk")


def all_titles() -> str:
    return ", ".join(Book.objects.order_by("title").values_list("title", flat=True))


def rename() -> None:
    Book.objects.update(title="Atlas")


def view_of(
    templates: Templates, read: Callable[[], Any], name: str = "given"
) -> Callable[[], str]:
    """Return a view that reads and renders in one unit of work."""

    def view() -> str:
        with unit_of_work():
            return templates.render_here("page", **{name: read()})

    return view


def check_tracked(
    view: Callable[[], str], change: Callable[[], Any], before: str, after: str
) -> None:
    """Check that a view shows the current data, and the new data after a change."""
    assert [view(), view()] == [before] * 2

    change()

    assert view() == after


class Wrapped:
    """A request that passes all attributes on, like rest_framework.request.Request."""

    def __init__(self, request: HttpRequest, user: Any = None) -> None:
        self._request = request
        self._user = user

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)

    @property
    def user(self) -> Any:
        return self._user

    @user.setter
    def user(self, value: Any) -> None:
        self._user = value
        self._request.user = value
