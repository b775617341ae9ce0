"""The invalidate screen: choose, see a preview, confirm, see the result."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.cache import cache, caches
from django.test import Client
from pytest_django import Settings

from cachelayers import invalidate, recall, unit_of_work
from cachelayers.models import Invalidation
from testproject.airports.models import Country
from tests.admin.conftest import SECTION, LogIn, said
from tests.library.models import Author, Book

URL = f"{SECTION}invalidate/"


class Computed:
    """Cached values, and how often each was computed."""

    def __init__(self) -> None:
        self.author = Author.objects.create(name="Ada")
        self.other = Author.objects.create(name="Bob")
        self.made: list[str] = []

    def ask(self) -> list[str]:
        """Recall everything in a new unit of work; return what was computed."""
        self.made = []
        with unit_of_work():
            recall("word", lambda: self._make("word"), tags=["homepage"])
            recall("fragment", lambda: self._make("fragment"), tags=["fragment:card"])
            recall("ada", lambda: self._make("ada", Author.objects.get(pk=self.author.pk)))
            recall("bob", lambda: self._make("bob", Author.objects.get(pk=self.other.pk)))
            recall("authors", lambda: self._make("authors", list(Author.objects.all())))
            recall("books", lambda: self._make("books", list(Book.objects.all())))
        return self.made

    def _make(self, name: str, _read: object = None) -> str:
        self.made.append(name)
        return name


@pytest.fixture
def computed() -> Computed:
    """Return values that are all cached."""
    found = Computed()
    found.ask()
    assert found.ask() == []
    return found


def errors_of(response: Any) -> list[str]:
    return [str(error) for errors in response.context["form"].errors.values() for error in errors]


# What it invalidates


@pytest.mark.django_db(transaction=True)
def test_each_target_invalidates_what_depends_on_it_and_nothing_else(
    boss: Client, computed: Computed
) -> None:
    row = f"library.Author {computed.author.pk}"
    expected = {
        ("words", "homepage"): ["word"],
        ("fragments", "card"): ["fragment"],
        ("models", "library.Author"): ["ada", "bob", "authors"],
        ("rows", row): ["ada", "authors"],
        ("aliases", "default"): ["word", "fragment", "ada", "bob", "authors", "books"],
        ("key_prefix", "boo"): ["books"],
    }
    for (field, value), made in expected.items():
        response = boss.post(URL, {field: value, "confirm": "1"}, follow=True)

        assert response.status_code == 200, said(response)
        assert computed.ask() == made, (field, said(response))


@pytest.mark.django_db(transaction=True)
def test_nothing_happens_before_it_is_confirmed_by_a_post(boss: Client, computed: Computed) -> None:
    chosen = {"words": "homepage", "aliases": "default", "models": "library.Author"}

    shown = boss.post(URL, chosen)
    boss.get(URL, {**chosen, "confirm": "1"})

    assert "What this will touch" in shown.content.decode()
    assert computed.ask() == []
    assert not LogEntry.objects.exists()


def test_the_preview_says_what_each_target_will_touch(boss: Client) -> None:
    invalidate("homepage", "fragment:card")
    author = Author.objects.create(name="Ada")
    row = f"library.Author {author.pk}"
    chosen = {
        "words": "new books",
        "fragments": "card",
        "models": ["library.Author"],
        "rows": row,
        "aliases": ["default", "table"],
    }

    text = said(boss.post(URL, chosen))

    assert "tag new books Every entry with this tag, as each write to library.Book does." in text
    assert "fragment card Every fragment of this name" in text
    assert "model library.Author Every entry that was made from authors" in text
    assert f"row {row} Every entry that was made from this row (Ada)" in text
    assert "LayeredCache: its own entries in every layer" in text
    assert "DatabaseCache: all of its" in text
    assert "It is a layer of 'default', whose other layers keep their entries." in text


def test_what_was_chosen_is_confirmed_as_it_was_shown(boss: Client) -> None:
    invalidate("homepage", "fragment:card")
    chosen = {"words": "homepage\nnew books", "aliases": ["memory", "table"], "key_prefix": "b "}

    shown = boss.post(URL, chosen)

    typed = dict.fromkeys(name for name, _ in shown.context["typed"])
    sent = {name: [v for n, v in shown.context["typed"] if n == name] for name in typed}
    assert sent["words"] == ["homepage\nnew books"]
    assert sent["aliases"] == ["memory", "table"]
    assert sent["key_prefix"] == ["b "]


def test_change_brings_the_form_back_as_it_was_filled_in(boss: Client) -> None:
    invalidate("homepage", "fragment:card")
    response = boss.post(URL, {"words": "homepage", "aliases": "table", "change": "1"})

    form = response.context["form"]
    assert form["words"].value() == "homepage"
    assert form["aliases"].value() == ["table"]


def test_a_link_may_choose_already(boss: Client) -> None:
    author = Author.objects.create(name="Ada")
    response = boss.get(URL, {"rows": f"library.Author {author.pk}"})

    assert "this row (Ada)" in said(response)


# The result


@pytest.mark.django_db(transaction=True)
def test_each_layer_tells_what_became_of_it(boss: Client, computed: Computed) -> None:
    response = boss.post(URL, {"aliases": "default", "confirm": "1"}, follow=True)

    [note] = LogEntry.objects.all()
    assert response.redirect_chain == [(f"{URL}{note.object_id}/change/", 302)]
    text = said(response)
    assert "By boss," in text
    assert "default memory done cleared" in text
    assert "default table done cleared" in text


def test_a_cache_that_counts_says_how_many_entries_went(boss: Client) -> None:
    caches["table"].set_many({"one": 1, "two": 2})

    response = boss.post(URL, {"aliases": "table", "key_prefix": "o", "confirm": "1"}, follow=True)

    assert "table - done removed 1 entry" in said(response)
    assert caches["table"].get_many(["one", "two"]) == {"two": 2}


@pytest.mark.django_db(transaction=True)
def test_of_tags_it_says_that_no_layer_has_to_be_touched(boss: Client, computed: Computed) -> None:
    response = boss.post(URL, {"words": "homepage", "confirm": "1"}, follow=True)

    text = said(response)
    assert "the log in default - done 1 row was logged." in text
    assert "default table done Nothing removed" in text


def test_a_cache_that_fails_is_told_and_the_others_are_cleared(
    boss: Client, settings: Settings
) -> None:
    down = {"BACKEND": "tests.commands.fakes.DownCache", "LOCATION": "down"}
    settings.CACHES = {**settings.CACHES, "down": down}
    caches["table"].set("one", 1)

    response = boss.post(URL, {"aliases": ["down", "table"], "confirm": "1"}, follow=True)

    text = said(response)
    assert "down - not done Failed: " in text
    assert "table - done removed" in text
    assert caches["table"].get("one") is None


def test_a_cache_that_cannot_be_searched_is_left_alone_by_a_prefix(
    boss: Client, settings: Settings
) -> None:
    files = {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "LOCATION": "not searched",
    }
    settings.CACHES = {**settings.CACHES, "local": files}
    caches["local"].set("one", 1)

    shown = boss.post(URL, {"key_prefix": "o"})
    done = boss.post(URL, {"key_prefix": "o", "confirm": "1"}, follow=True)

    assert "Left alone: its keys cannot be searched." in said(shown)
    assert "local - done Left alone: its keys cannot be searched." in said(done)
    assert caches["local"].get("one") == 1


def test_entries_that_nobody_uses_go_where_a_cache_knows_of_them(
    boss: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounded = {**settings.CACHES["table"], "OPTIONS": {"MAX_ENTRIES": 1000}}
    settings.CACHES = {**settings.CACHES, "bounded": bounded}
    caches["bounded"].set("old", 1, timeout=None)
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + 100)
    caches["bounded"].set("new", 1, timeout=None)

    shown = boss.post(URL, {"unused_for": "60"})
    done = boss.post(URL, {"unused_for": "60", "confirm": "1"}, follow=True)
    both = boss.post(URL, {"unused_for": "60", "key_prefix": "o"})

    assert "DatabaseCache: 1 unused entry" in said(shown)
    assert "bounded - done removed 1 entry" in said(done)
    assert caches["bounded"].get_many(["old", "new"]) == {"new": 1}
    assert errors_of(both) == ["Give a prefix or a time, not both."]


@pytest.mark.django_db(transaction=True)
def test_a_result_stays_where_it_is_for_who_may_see_the_screen(
    boss: Client, log_in: LogIn, computed: Computed
) -> None:
    url = boss.post(URL, {"words": "homepage", "confirm": "1"})["Location"]

    assert "By boss," in said(log_in("cachelayers.clear_caches").get(url))
    assert log_in("cachelayers.view_entry", name="bob").get(url).status_code == 403


# Wrong input


def test_nothing_chosen_is_an_error(boss: Client) -> None:
    response = boss.post(URL, {"words": " \n ", "confirm": "1"})

    assert errors_of(response) == ["Nothing was chosen. Name at least one target."]


@pytest.mark.parametrize(
    ("field", "typed", "message"),
    [
        (
            "models",
            "library.Athor",
            "There is no tracked model 'library.Athor'. Did you mean 'library.Author'",
        ),
        ("models", "library.Untracked", "library.Untracked is not tracked"),
        ("aliases", "tabel", "There is no alias in CACHES 'tabel'. Did you mean 'table'?"),
        ("rows", "library.Athor 1", "There is no tracked model 'library.Athor'. Did you mean"),
        ("rows", "library.Author", "'library.Author' names no row. Write model and primary key"),
        ("rows", "library.Author 0", "There is no library.Author with the primary key '0'."),
        ("rows", "library.Author x", "There is no library.Author with the primary key 'x'."),
        ("rows", f"library.Author {9**40}", "There is no library.Author with the primary key"),
        ("rows", "library.Card x", "There is no library.Card with the primary key 'x'."),
        ("key_prefix", "django.contrib.sessions.cache1", "Single sessions cannot be chosen"),
        ("words", "a" * 201, "has 201 characters. Use at most 200."),
        ("rows", "library.Author 1\n" * 1001, "1001 lines are too many: give at most 1000"),
        ("rows", "airports.Country \x00", "Null characters are not allowed."),
        ("words", "bell\x07", "has control characters. Leave them out."),
    ],
)
def test_what_does_not_exist_is_a_form_error_with_similar_names(
    boss: Client, field: str, typed: str, message: str
) -> None:
    invalidate("fragment:card")
    caches["table"].set("kept", 1)
    before = Invalidation.objects.count()

    response = boss.post(URL, {"aliases": "table", field: typed, "confirm": "1"})

    [error] = errors_of(response)
    assert message in error
    assert caches["table"].get("kept") == 1
    assert Invalidation.objects.count() == before


def test_an_unknown_tag_or_fragment_is_invalidated_after_a_warning(boss: Client) -> None:
    invalidate("fragment:card")
    chosen = {"words": "new boks", "fragments": "crd"}

    shown = said(boss.post(URL, chosen))
    done = boss.post(URL, {**chosen, "confirm": "1"}, follow=True)

    assert "There is no tag 'new boks'. Did you mean 'new books'?" in shown
    assert "There is no fragment 'crd'. Did you mean 'card'?" in shown
    assert "It is invalidated anyway" in shown
    assert "tag new boks" in said(done)
    assert Invalidation.objects.filter(tag="word:new boks").exists()
    assert Invalidation.objects.filter(tag="word:fragment:crd").exists()


def test_a_known_tag_has_no_warning(boss: Client) -> None:
    assert "It is invalidated anyway" not in said(boss.post(URL, {"words": "new books"}))


@pytest.mark.django_db(transaction=True)
def test_a_tag_that_was_stored_or_invalidated_once_is_known(boss: Client) -> None:
    Invalidation.objects.create(tag="word:logged", at=0)
    recall("noted", lambda: 1, tags=["just stored"])

    for word in ("logged", "just stored"):
        assert f"tag {word} Every entry" in said(boss.post(URL, {"words": word}))


def test_what_is_typed_is_shown_as_text(boss: Client) -> None:
    evil = "<script>alert(1)</script>"

    wrong = boss.post(URL, {"words": evil, "rows": evil, "aliases": evil})
    right = boss.post(URL, {"words": evil})
    done = boss.post(URL, {"words": evil, "confirm": "1"}, follow=True)

    for response in (wrong, right, done, boss.get(f"{SECTION}log/"), boss.get("/admin/")):
        assert response.status_code == 200
        assert evil not in response.content.decode()
    assert evil in said(done)


# Permissions


@pytest.mark.django_db(transaction=True)
def test_without_a_csrf_token_nothing_is_done(log_in: LogIn, computed: Computed) -> None:
    client = log_in("cachelayers.invalidate_entries", enforce_csrf_checks=True)

    assert client.post(URL, {"words": "homepage", "confirm": "1"}).status_code == 403
    assert computed.ask() == []


@pytest.mark.django_db(transaction=True)
def test_who_may_invalidate_may_not_clear(log_in: LogIn, computed: Computed) -> None:
    client = log_in("cachelayers.invalidate_entries")

    refused = client.post(URL, {"aliases": "default", "key_prefix": "b", "confirm": "1"})
    assert errors_of(refused) == ["Nothing was chosen. Name at least one target."]
    assert computed.ask() == []

    client.post(URL, {"words": "homepage", "aliases": "default", "confirm": "1"})
    assert computed.ask() == ["word"]


def test_what_a_row_is_called_is_told_to_who_may_view_it_only(log_in: LogIn) -> None:
    country = Country.objects.create(code="FR", name="Wakanda")
    some = log_in("cachelayers.invalidate_entries")
    more = log_in("cachelayers.invalidate_entries", "airports.view_country", name="bob")
    asked = {"rows": f"airports.Country {country.pk}"}

    assert "from this row, and those" in said(some.get(URL, asked))
    assert "Wakanda" not in said(some.get(URL, asked))
    assert "from this row (Wakanda), and those" in said(more.get(URL, asked))


@pytest.mark.django_db(transaction=True)
def test_who_may_clear_may_not_invalidate(log_in: LogIn, computed: Computed) -> None:
    client = log_in("cachelayers.clear_caches")
    cache.set("plain", 1)

    client.post(URL, {"words": "homepage", "aliases": "memory", "confirm": "1"})

    assert not Invalidation.objects.filter(tag="word:homepage").exists()
    fields = list(client.get(URL).context["form"].fields)
    assert fields == ["aliases", "key_prefix", "unused_for"]
