"""The overview lists the rows, tables and tags that are invalidated most."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from cachelayers import invalidate, recall
from cachelayers.lookup.calls import invalidate_key
from cachelayers.models import Invalidation
from tests.admin.conftest import SECTION, LogIn, said
from tests.library.models import Author

URL = f"{SECTION}overview/"


def listed(client: Client) -> list[Any]:
    [found] = client.get(URL).context["overview"].hot
    return list(found.hots)


@pytest.fixture
def author() -> Author:
    """Return a row that was invalidated twice, among others."""
    author = Author.objects.create(name="Ada")
    Invalidation.objects.all().delete()
    invalidate(author)
    invalidate(author)
    invalidate("homepage")
    invalidate_key("busiest")
    return author


def test_each_is_shown_in_words_with_its_rows(boss: Client, author: Author) -> None:
    found = {hot.what: hot.rows for hot in listed(boss)}

    assert found == {f"author {author.pk}": 2, "queries on authors": 2, "tag homepage": 1}
    text = said(boss.get(URL))
    assert "What was invalidated most in default: last hour" in text
    assert "Counted in the log since 20" in text
    assert "each tag counts once at most" in text


@pytest.mark.django_db(transaction=True)
def test_each_links_to_the_entries_that_are_made_from_it(boss: Client, author: Author) -> None:
    recall("of-ada", lambda: Author.objects.get(pk=author.pk).name, tags=["homepage"])
    response = boss.get(URL)
    start = response.context["entries_url"]
    links = {hot.what: f"{start}{hot.search}" for hot in listed(boss)}

    assert f'href="{links["tag homepage"]}"'.replace("&", "&amp;") in response.content.decode()
    for what in (f"author {author.pk}", "tag homepage"):
        [(entry, _, _)] = boss.get(links[what]).context["rows"]
        assert "of-ada" in entry.name


def test_who_may_not_see_the_log_sees_no_keys_of_rows(log_in: LogIn, author: Author) -> None:
    client = log_in("cachelayers.view_overview")

    assert client.get(URL).context["overview"].hot == []


def test_who_may_not_see_entries_gets_no_link(log_in: LogIn, author: Author) -> None:
    client = log_in("cachelayers.view_overview", "cachelayers.view_invalidation")

    assert listed(client)
    assert f"{SECTION}entries/" not in client.get(URL).content.decode()


@pytest.mark.parametrize(
    ("tag", "chosen"),
    [
        ("table:library_author", "models=library.Author"),
        ("row:library_author:7", "rows=library.Author+7"),
        ("slice:library_essay:author_id:7", "models=library.Essay"),
        ("slices:library_essay", "models=library.Essay"),
        ("word:homepage", "words=homepage&unknown_too=on"),
        ("table:nowhere", "words=table%3Anowhere&unknown_too=on"),
    ],
)
def test_a_search_for_a_tag_of_the_log_offers_to_invalidate_what_it_names(
    boss: Client, tag: str, chosen: str
) -> None:
    response = boss.get(f"{SECTION}entries/", {"alias": "memory", "tag": tag})

    assert response.context["invalidate_all"].endswith(f"?{chosen}")


def test_where_nothing_was_invalidated_it_says_so(boss: Client) -> None:
    Invalidation.objects.all().delete()

    assert "Nothing was invalidated in this time." in said(boss.get(URL))
