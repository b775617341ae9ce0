"""The table of queries on the page about dependencies says which writes invalidate them."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from django.core.cache import cache
from django.db.models import Count, Q, QuerySet

from cachelayers import recall, unit_of_work
from tests.environment import PROJECT
from tests.library.models import Author, Book

QUERY = r"(?:`|<code>)(?P<query>(?:Book|Author|ann)\..+?)(?:`|</code>)"
ROW = re.compile(rf"^\| {QUERY} \| (?P<on>.+) \|$")


def queries_of_the_page() -> list[tuple[str, str]]:
    page = (PROJECT / "docs" / "dependencies.md").read_text()
    found = [ROW.match(line) for line in page.splitlines()]
    return [(html.unescape(row["query"]), row["on"]) for row in found if row]


def test_the_page_shows_queries_of_both_kinds() -> None:
    on = [depends_on for _, depends_on in queries_of_the_page()]

    assert len(on) == 12
    assert sum(text.startswith("all books") for text in on) == 6


@pytest.mark.parametrize(("query", "on"), queries_of_the_page())
def test_a_query_ends_with_what_it_depends_on(query: str, on: str, transactional_db: None) -> None:
    cache.clear()
    ann, bob, eve = (Author.objects.create(name=name) for name in ("Ann", "Bob", "Eve"))
    for author in (ann, bob, eve):
        Book.objects.create(title=f"Of {author.name}", author=author)
    names = {"Author": Author, "Book": Book, "Count": Count, "Q": Q, "ann": ann, "bob": bob}
    computed: list[object] = []

    def compute() -> Any:
        computed.append(query)
        found = eval(query, {**names, "eve": eve})
        return list(found) if isinstance(found, QuerySet) else found

    def ask() -> int:
        with unit_of_work():
            recall("answer", compute, timeout=60)
        return len(computed)

    assert [ask(), ask()] == [1, 1]
    Book.objects.filter(author=bob).update(title="Of another")
    after_other = ask()
    Book.objects.filter(author=ann).update(title="Changed")

    assert after_other == (2 if on.startswith("all books") else 1)
    assert ask() == after_other + 1
