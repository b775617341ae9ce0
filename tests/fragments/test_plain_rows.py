"""The short way to the key of a plain row: one text for equal rows, another for all others."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from django.db.models import Model

from cachelayers.fragments.canonical import encoder_of_plain_rows
from cachelayers.fragments.lookups import canonical_plain
from tests.library.models import Author, Book, Branch, Card, Subject

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


def book(**fields: object) -> Book:
    author, _ = Author.objects.get_or_create(name="Jane")
    kept, _ = Book.objects.get_or_create(title="Emma", author=author)
    made = Book.objects.get(pk=kept.pk)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def form_of(row: Model) -> str | None:
    return encoder_of_plain_rows(type(row))(row)


# All of them differ, though Python holds some of them for equal.
DIFFERENT = [
    None,
    "",
    "1",
    b"1",
    1,
    1.0,
    True,
    -0.0,
    0.0,
    float("nan"),
    2**70,
    "\udc80",
    Decimal(1),
    Decimal("1.0"),
    NOON,
    NOON.replace(tzinfo=None),
    NOON.replace(fold=1),
    NOON.astimezone(timezone(timedelta(hours=2))),
    NOON.date(),
    NOON.time(),
    timedelta(1),
    uuid.UUID(int=1),
]


def test_rows_have_one_form_only_if_all_their_fields_are_the_same() -> None:
    forms = [form_of(book(title=value)) for value in DIFFERENT]

    assert None not in forms
    assert len({*forms}) == len(DIFFERENT)
    assert forms == [form_of(book(title=value)) for value in DIFFERENT]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Subject.objects.create(word="irony"),
        lambda: Card.objects.create(id=uuid.uuid4(), holder="Ann"),
        lambda: Branch.objects.create(name="North", rooms=3),
    ],
    ids=["a text as key", "a UUID as key", "a key in another table"],
)
def test_the_text_does_not_depend_on_the_instance(make: Callable[[], Model]) -> None:
    row = make()
    again = type(row).objects.get(pk=row.pk)  # type: ignore[attr-defined]
    found = canonical_plain(row)

    assert found is not None
    assert found.rows == [row]
    assert found.text == form_of(again)


def test_rows_of_two_tables_or_keys_differ() -> None:
    author = Author.objects.create(name="irony")

    assert form_of(author) != form_of(Author.objects.create(name="irony"))
    assert form_of(author) != form_of(Subject.objects.create(word="irony"))


OTHERS: dict[str, Callable[[], Model]] = {
    "not saved": lambda: Author(pk=1, name="Jane"),
    "of no database": lambda: Author.from_db(None, ["id", "name"], [1, "Jane"]),
    "without a key": lambda: book(id=None),
    "a deferred field": lambda: Book.objects.only("title").get(pk=book().pk),
    "an added attribute": lambda: book(is_liked=True),
    "a related row": lambda: Book.objects.select_related("author").get(pk=book().pk),
    "a list in a field": lambda: book(title=["Emma"]),
}


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_every_other_row_is_left_to_the_long_way(make: Callable[[], Model]) -> None:
    row = make()

    assert form_of(row) is None
    assert canonical_plain(row) is None
