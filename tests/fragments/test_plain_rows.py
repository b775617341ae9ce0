"""The short way to the canonical form of a plain row gives the same form, or none."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
from django.db.models import Model

from cachelayers.fragments.canonical import Canonicalizer, encoder_of_plain_rows
from cachelayers.fragments.lookups import canonical_name, canonical_plain
from tests.library.models import Author, Book, Branch, Card, Subject

pytestmark = pytest.mark.django_db


def book(**fields: object) -> Book:
    author = Author.objects.create(name="Jane")
    made = Book.objects.get(pk=Book.objects.create(title="Emma", author=author).pk)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


PLAIN: dict[str, Callable[[], Model]] = {
    "a text as key": lambda: Subject.objects.create(word="irony"),
    "a UUID as key": lambda: Card.objects.create(id=uuid.uuid4(), holder="Ann"),
    "a key in another table": lambda: Branch.objects.create(name="North", rooms=3),
    "an empty field": lambda: book(shelf=None),
    "a changed field": lambda: book(title="Persuasion"),
    "a number as text": lambda: book(shelf="1"),
    "a foreign key": book,
}
OTHERS: dict[str, Callable[[], Model]] = {
    "not saved": lambda: Author(pk=1, name="Jane"),
    "of no database": lambda: Author.from_db(None, ["id", "name"], [1, "Jane"]),
    "without a key": lambda: book(id=None),
    "a deferred field": lambda: Book.objects.only("title").get(pk=book().pk),
    "an added attribute": lambda: book(is_liked=True),
    "a related row": lambda: Book.objects.select_related("author").get(pk=book().pk),
    "a list in a field": lambda: book(title=["Emma"]),
}


@pytest.mark.parametrize("make", PLAIN.values(), ids=PLAIN)
def test_a_plain_row_has_the_same_form_on_both_ways(make: Callable[[], Model]) -> None:
    row = make()

    assert encoder_of_plain_rows(type(row))(row) == Canonicalizer(is_named=True).canonical_form(row)
    assert canonical_plain(row) == canonical_name("row", row)


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_every_other_row_is_left_to_the_long_way(make: Callable[[], Model]) -> None:
    row = make()

    assert encoder_of_plain_rows(type(row))(row) is None
    assert canonical_plain(row) is None
