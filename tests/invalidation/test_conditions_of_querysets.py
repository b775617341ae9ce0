"""What the conditions show in the statements that Django writes for querysets."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from django.db import connections
from django.db.models import (
    Case,
    Count,
    Exists,
    F,
    Max,
    OuterRef,
    Prefetch,
    Q,
    Subquery,
    Sum,
    Value,
    When,
    Window,
)
from django.db.models.functions import Coalesce, Length, Lower, RowNumber

from cachelayers.invalidation.sql.conditions import occurrences_in
from tests.invalidation.conftest import Site
from tests.invalidation.test_conditions import show
from tests.library.models import Author, Book, Branch, Card, Loan, Place, Subject

CARD = uuid.UUID(int=7)
books_of = Book.objects.filter(author=OuterRef("pk"))


def of(model: Any) -> Callable[[str], Any]:
    return model.objects.using  # type: ignore[no-any-return]


author, book, subject, branch = of(Author), of(Book), of(Subject), of(Branch)

QUERYSETS: list[tuple[Callable[[str], Any], str]] = [
    # One table
    (lambda db: author(db).all(), "author"),
    (lambda db: author(db).get(pk=1), "author(id=%0)"),
    (lambda db: author(db).filter(name="a").first(), "author(name=%0)"),
    (lambda db: author(db).filter(name="a", pk=1).exists(), "author(name=%1 & id=%2)"),
    (lambda db: author(db).filter(name="a").count(), "author(name=%0)"),
    (lambda db: author(db).in_bulk([1, 2]), "author(id=%0|%1)"),
    (lambda db: author(db).filter(Q(pk=1) | Q(name="a")), "author"),
    (lambda db: author(db).filter(Q(pk=1) | Q(pk=2), name="a"), "author(name=%2)"),
    (lambda db: author(db).filter(~Q(pk=1), name="a"), "author(name=%1)"),
    (lambda db: author(db).exclude(name="a"), "author"),
    (lambda db: author(db).filter(name__iexact="a"), "author"),
    (lambda db: author(db).filter(name__isnull=True), "author"),
    (lambda db: author(db).filter(pk__gte=1, pk__lt=9), "author"),
    (lambda db: author(db).annotate(low=Lower("name")).filter(low="a"), "author"),
    (lambda db: author(db).filter(name=Lower(Value("A"))), "author"),
    (lambda db: author(db).filter(name="a").distinct().values_list("name")[2:5], "author(name=%0)"),
    (lambda db: author(db).filter(name="a").order_by(Length("name"), "-pk")[:3], "author(name=%0)"),
    (
        lambda db: author(db).annotate(one=Case(When(pk=1, then=1), default=2)).filter(one=1),
        "author",
    ),
    (lambda db: of(Card)(db).filter(pk=CARD), "card(id=%0)"),
    (lambda db: of(Loan)(db).filter(pk__in=[1, 2]), "loan(number=%0|%1)"),
    (lambda db: subject(db).filter(pk="law"), "subject(word=%0)"),
    (
        lambda db: book(db).filter(shelf=F("author_id"), author_id=1),
        "book(author_id=%0 & shelf=%0 by book.author_id)",
    ),
    (lambda db: book(db).extra(where=["shelf = %s OR title = %s"], params=[1, "a"]), "book"),
    (
        lambda db: book(db).filter(shelf=1).raw("SELECT * FROM library_book WHERE author_id = 1"),
        "book(author_id=1)",
    ),
    # Joins
    (lambda db: book(db).select_related("author").filter(pk=1), "book(id=%0), author"),
    (
        lambda db: book(db).select_related("author").filter(author=1),
        "book(author_id=%0), author(id=%0 by book.author_id)",
    ),
    (lambda db: book(db).filter(author__name="a"), "book, author(name=%0)"),
    (lambda db: author(db).filter(books__pk=1), "author, book(id=%0)"),
    (
        lambda db: author(db).filter(books__title="a", books__shelf=1),
        "author, book(shelf=%0 & title=%1)",
    ),
    (
        lambda db: author(db).filter(books__title="a").filter(books__shelf=1),
        "author, book(title=%0), book(shelf=%1)",
    ),
    (lambda db: author(db).filter(Q(books__title="a") | Q(name="a")), "author, book"),
    (lambda db: author(db).exclude(books__title="a"), "author, book(title=%1)"),
    (lambda db: author(db).get(pk=1).books.all(), "author(id=%0); book(author_id=%0)"),
    (
        lambda db: book(db).get(pk=1).subjects.all(),
        "book(id=%0); subject, book_subjects(book_id=%0)",
    ),
    (
        lambda db: subject(db).get(pk="law").books.filter(shelf=1),
        "subject(word=%0); book(shelf=%1), book_subjects(subject_id=%0)",
    ),
    (
        lambda db: book(db).filter(pk=1).values("title", "subjects__word"),
        "book(id=%0), book_subjects(book_id=%0 by book.id)",
    ),
    (lambda db: book(db).filter(subjects="law"), "book, book_subjects(subject_id=%0)"),
    (
        lambda db: branch(db).get(pk=2),
        "branch(place_ptr_id=%0), place(id=%0 by branch.place_ptr_id)",
    ),
    (lambda db: branch(db).filter(name="b"), "branch, place(name=%0)"),
    (
        lambda db: of(Place)(db).filter(pk=2).select_related("branch"),
        "place(id=%0), branch(place_ptr_id=%0 by place.id)",
    ),
    # Several statements
    (
        lambda db: author(db).filter(pk=1).prefetch_related("books__subjects"),
        "author(id=%0); book(author_id=%0); subject, book_subjects(book_id=%0)",
    ),
    (
        lambda db: (
            author(db)
            .filter(pk=1)
            .prefetch_related(Prefetch("books", Book.objects.filter(shelf=1)))
        ),
        "author(id=%0); book(shelf=%0 & author_id=%1)",
    ),
    # Aggregates and windows
    (
        lambda db: book(db).filter(author=1).aggregate(Max("shelf"), Count("subjects")),
        "book(author_id=%0), book_subjects",
    ),
    (
        lambda db: author(db).filter(pk=1).annotate(n=Count("books")),
        "author(id=%0), book(author_id=%0 by author.id)",
    ),
    (
        lambda db: author(db).annotate(n=Count("books")).filter(n=1, pk=1),
        "author(id=%0), book(author_id=%0 by author.id)",
    ),
    (
        lambda db: author(db).annotate(n=Count("books", filter=Q(books__shelf=1))).filter(pk=1),
        "author(id=%1), book(author_id=%1 by author.id)",
    ),
    (
        lambda db: book(db).filter(author=1).values("shelf").annotate(n=Count("*")),
        "book(author_id=%0)",
    ),
    (
        lambda db: author(db).filter(pk=1).annotate(n=Coalesce(Sum("books__shelf"), 0)).count(),
        "author(id=%0), book(author_id=%0 by author.id)",
    ),
    (lambda db: book(db).filter(author=1).distinct()[:2].count(), "book(author_id=%0)"),
    (
        lambda db: (
            book(db)
            .filter(author=1)
            .annotate(at=Window(RowNumber(), partition_by="shelf", order_by="pk"))
            .filter(at=1)
        ),
        "book(author_id=%0)",
    ),
    # Subqueries
    (
        lambda db: author(db).filter(Exists(books_of), pk=1),
        "author(id=%1), book(author_id=%1 by author.id)",
    ),
    (lambda db: author(db).filter(~Exists(books_of.filter(shelf=1))), "author, book(shelf=%1)"),
    (lambda db: author(db).filter(Exists(books_of) | Q(pk=1)), "author, book"),
    (
        lambda db: author(db).filter(pk=1).annotate(t=Subquery(books_of.values("title")[:1])),
        "author(id=%0), book(author_id=%0 by author.id)",
    ),
    (
        lambda db: author(db).filter(pk__in=book(db).filter(shelf=1).values("author")),
        "author, book(shelf=%0)",
    ),
    (
        lambda db: book(db).filter(author__in=author(db).filter(name="a"), shelf=1),
        "book(shelf=%1), author(name=%0)",
    ),
    # Several SELECTs
    (
        lambda db: author(db).filter(pk=1).union(author(db).filter(pk=2), all=True),
        "author(id=%0), author(id=%1)",
    ),
    (
        lambda db: author(db).filter(pk=1).union(author(db).filter(name="b")).order_by("name")[:1],
        "author(id=%0), author(name=%1)",
    ),
    (lambda db: author(db).filter(pk=1) | author(db).filter(pk=2), "author"),
    (lambda db: author(db).filter(pk=1) & author(db).filter(name="a"), "author(id=%0 & name=%1)"),
]


def test_the_statements_of_querysets_show_their_rows(site: Site) -> None:
    first = author(site.database).create(pk=1, name="a")
    book(site.database).create(pk=1, author=first).subjects.add(
        subject(site.database).create(pk="law")
    )
    branch(site.database).create(pk=2, name="b")
    vendor = connections[site.database].vendor
    found: list[str] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "library_" in sql:
            occurrences = occurrences_in(sql, vendor)
            shown = "?" if occurrences is None else ", ".join(map(show, occurrences))
            found.append(shown.replace("library_", ""))
        return execute(sql, params, many, context)

    for run, expected in QUERYSETS:
        found.clear()
        with connections[site.database].execute_wrapper(note):
            result = run(site.database)
            if hasattr(result, "__iter__"):
                list(result)
        assert "; ".join(found) == expected
