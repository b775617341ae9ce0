"""@cached: a value made from an unsaved or unread instance is only for the caller."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.test import override_settings

from cachelayers import cached, recall
from cachelayers.invalidation.reports import reports
from tests.conftest import empty_cache
from tests.library.models import Author, Book

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def published(transactional_db: None) -> Iterator[Book]:
    with override_settings(CACHELAYERS={**settings.CACHELAYERS, "ALIAS": "sqlite_shared"}):
        empty_cache("sqlite_shared")
        reports.clear()
        yield Book.objects.create(title="public", author=Author.objects.create(name="Ann"))


def draft_of(book: Book) -> Book:
    """Return an editor's preview as Wagtail makes it: with the row's key and other values."""
    draft = Book(pk=book.pk, title="secret", author_id=book.author_id)
    draft._state.adding = False
    return draft


def unsaved(book: Book) -> Book:
    return Book(pk=book.pk, title="secret", author=book.author)


@cached
def title(book: Book) -> str:
    return book.title


@cached
def title_in(books: dict[str, list[Book]]) -> str:
    return books["all"][0].title


@cached
async def title_later(book: Book) -> str:
    return book.title


@cached(key=lambda book: str(book.pk))
def title_by_key(book: Book) -> str:
    return book.title


@cached(key=lambda books: str(books[0].pk))
def title_in_by_key(books: list[Book]) -> str:
    return books[0].title


@cached(key=lambda book: str(book.pk), capture=False)
def title_by_key_alone(book: Book) -> str:
    return book.title


BY_ROW: dict[str, Callable[[Book], str]] = {
    "an argument": title,
    "in a container": lambda book: title_in({"all": [book]}),
    "async": async_to_sync(title_later),
}
BY_KEY: dict[str, Callable[[Book], str]] = {
    "an argument": title_by_key,
    "in a list": lambda book: title_in_by_key([book]),
    "without capture": title_by_key_alone,
}


@pytest.mark.parametrize("how", BY_ROW)
def test_only_its_editor_sees_a_draft(
    published: Book, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    call = BY_ROW[how]

    with caplog.at_level(logging.WARNING, "cachelayers.invalidation"):
        shown = [call(draft_of(published)), call(Book.objects.get()), call(draft_of(published))]

    assert shown == ["secret", "public", "secret"]
    assert [record.message for record in caplog.records if "such as a draft" in record.message]


@pytest.mark.parametrize("make", [draft_of, unsaved])
@pytest.mark.parametrize("how", BY_KEY)
def test_a_value_from_a_draft_is_not_stored_under_the_key_of_its_row(
    published: Book, how: str, make: Any
) -> None:
    call = BY_KEY[how]

    assert [call(make(published)), call(Book.objects.get())] == ["secret", "public"]


def test_a_value_from_a_related_draft_is_not_stored(published: Book) -> None:
    def name_of_author(book: Book) -> str:
        return book.author.name

    cached_name = cached(key=lambda book: str(book.pk))(name_of_author)
    edited = Book.objects.get()
    edited.author = Author(pk=edited.author_id, name="secret")

    assert [cached_name(edited), cached_name(Book.objects.get())] == ["secret", "Ann"]


def test_the_outer_value_is_not_stored_either(published: Book) -> None:
    def page(book: Book) -> str:
        return recall("page", lambda: f"<h1>{title(book)}</h1>")

    shown = [page(draft_of(published)), page(Book.objects.get())]

    assert shown == ["<h1>secret</h1>", "<h1>public</h1>"]
