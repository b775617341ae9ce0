"""{% fragments %}: a block for each item of a list, with one bulk read and one bulk write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.http import HttpRequest
from django.template import TemplateSyntaxError
from django.test import RequestFactory
from django.utils import translation
from django.utils.translation import gettext
from jinja2 import TemplateSyntaxError as JinjaSyntaxError

from cachelayers.lookup.steps import TakeLease
from tests.fragments.conftest import Counter, NewRequest, new_counter
from tests.fragments.engines import DjangoTemplates, Templates
from tests.fragments.views import all_books, show_twice, titles
from tests.library.models import Author, Book
from tests.lookup.noting import noting


class Asked:
    """The calls of a cache, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cache: BaseCache) -> None:
        self.names: list[str] = []
        for name in ("get", "get_many", "set", "set_many", "add"):
            monkeypatch.setattr(type(cache), name, self._noting(name, getattr(type(cache), name)))

    def _noting(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*given: Any, **options: Any) -> Any:
            self.names.append(name)
            return method(*given, **options)

        return noted

    def since(self) -> list[str]:
        names, self.names = self.names, []
        return names


def test_a_list_is_read_and_stored_at_once(
    templates: Templates,
    author: Author,
    books: list[Book],
    tick: Counter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    templates.write(page=titles(templates))
    templates.render("page", books=[author], tick=tick)  # now the dimensions are known
    tick.since()
    asked = Asked(monkeypatch, caches["memory_table"])

    first = templates.render("page", books=all_books(), tick=tick)
    while_made = asked.since()
    second = templates.render("page", books=all_books(), tick=tick)

    assert first == second == "Book 0;Book 1;Book 2;Book 3;Book 4;"
    assert tick.since() == 5
    assert while_made.count("set_many") == 1
    assert "set" not in while_made
    assert asked.since() == ["get_many"]


def test_changing_one_row_renders_that_one(
    templates: Templates, books: list[Book], tick: Counter
) -> None:
    templates.write(page=titles(templates))
    for _ in range(2):
        templates.render("page", books=all_books(), tick=tick)
    tick.since()

    Book.objects.filter(pk=books[3].pk).update(title="Changed")

    assert templates.render("page", books=all_books(), tick=tick).endswith("Book 2;Changed;Book 4;")
    assert tick.since() == 1


def test_a_process_that_has_not_rendered_any_row_renders_the_changed_one_alone(
    templates: Templates, books: list[Book], tick: Counter
) -> None:
    """One row's entry tells the keys of the others."""
    templates.write(page=titles(templates))
    templates.render("page", books=all_books(), tick=tick)
    tick.since()
    Book.objects.filter(pk=books[3].pk).update(title="Changed")
    templates.write()  # a new engine, as in another process

    assert templates.render("page", books=all_books(), tick=tick).endswith("Book 2;Changed;Book 4;")
    assert tick.since() == 1


def test_a_single_fragment_and_a_list_of_the_same_name_are_two(
    templates: Templates, book: Book
) -> None:
    single = templates.fragment("single", "row", "book")
    templates.write(single=single, many=templates.fragments("many", "row", "book in books"))

    shown = [
        templates.render("single", book=book),
        templates.render("many", books=[book]),
        templates.render("single", book=book),
    ]

    assert shown == ["single", "many", "single"]


def test_an_empty_list_shows_what_stands_for_it(templates: Templates, tick: Counter) -> None:
    templates.write(page=titles(templates, empty="none"))

    assert templates.render("page", books=[], tick=tick) == "none"
    assert templates.render("page", tick=tick, books=None or ()) == "none"


def test_the_items_may_be_read_only_once(templates: Templates, tick: Counter) -> None:
    templates.write(page=templates.fragments("{{ word }}", "row", "word in words"))

    def words() -> Iterator[str]:
        yield from ("a", "b")

    assert templates.render("page", words=words()) == "ab"


def test_an_item_of_several_parts_is_taken_apart(templates: Templates, tick: Counter) -> None:
    body = templates.show("tick") + "{{ key }}={{ value }};"
    templates.write(page=templates.fragments(body, "row", "key, value in pairs"))
    pairs = [("a", 1), ("b", 2)]

    assert [templates.render("page", pairs=pairs, tick=tick) for _ in range(2)] == ["a=1;b=2;"] * 2
    assert tick.since() == 2


def test_an_item_of_too_few_parts_is_an_error(templates: Templates) -> None:
    templates.write(page=templates.fragments("x", "row", "key, value in pairs"))

    with pytest.raises(ValueError, match="2 names for an item of 3 parts"):
        templates.render("page", pairs=[(1, 2, 3)])


def test_arguments_tell_variants_apart_too(
    templates: Templates, books: list[Book], tick: Counter
) -> None:
    body = "{{ book.pk }}" + templates.show("tick")
    templates.write(page=templates.fragments(body, "row", "book in books", "number"))

    rendered = []
    for number in (1, 2, 1):
        templates.render("page", books=books[:1], number=number, tick=tick)
        rendered.append(tick.since())

    assert rendered == [1, 1, 0]


@pytest.mark.parametrize("tag", ['"row"', '"row" for book', '"row" for in books'])
def test_a_tag_without_a_loop_is_refused(templates: Templates, tag: str) -> None:
    templates.write(page=f"{{% fragments {tag} %}}x{{% endfragments %}}")

    with pytest.raises((TemplateSyntaxError, JinjaSyntaxError)):
        templates.render("page", books=[])


def test_a_list_within_a_fragment_makes_it_go_stale(
    templates: Templates, books: list[Book], tick: Counter
) -> None:
    outer = new_counter()
    body = templates.show("outer") + titles(templates)
    templates.write(page=templates.fragment(body, "list"))
    for _ in range(2):
        templates.render("page", books=all_books(), tick=tick, outer=outer)
    tick.since(), outer.since()

    Book.objects.filter(pk=books[0].pk).update(title="Changed")

    shown = templates.render("page", books=all_books(), tick=tick, outer=outer)
    assert shown.startswith("Changed;Book 1;")
    assert (tick.since(), outer.since()) == (1, 1)


def test_a_hole_in_a_list_sees_its_item(
    templates: Templates, books: list[Book], tick: Counter
) -> None:
    hole = templates.uncached("{{ book.pk }}{{ now }}")
    body = f"<{templates.show('tick')}{hole}>"
    templates.write(page=templates.fragments(body, "row", "book in books"))

    for now in ("a", "b"):
        shown = templates.render("page", books=books, now=now, tick=tick)
        assert shown == "".join(f"<{book.pk}{now}>" for book in books)

    assert tick.since() == 5


def test_a_list_is_kept_for_each_language(
    templates: Templates, books: list[Book], tick: Counter
) -> None:
    body = templates.show("tick") + templates.show("translated") + "{{ book.title }};"
    templates.write(page=templates.fragments(body, "row", "book in books"))

    def shown(language: str) -> str:
        with translation.override(language):
            given = {"tick": tick, "translated": lambda: gettext("Yes"), "books": books[:2]}
            return templates.render("page", None, **given)

    shown("en")
    tick.since()

    assert [shown(language) for language in ("en", "de") * 2] == [
        "YesBook 0;YesBook 1;",
        "JaBook 0;JaBook 1;",
    ] * 2
    assert tick.since() == 2


def test_a_row_with_a_secret_is_not_kept_and_the_others_are(
    templates: Templates, rf: RequestFactory, tick: Counter
) -> None:
    body = templates.show("tick") + "{% if number == 2 %}{{ csrf_token }}{% endif %}{{ number }};"
    templates.write(page=templates.fragments(body, "row", "number in numbers"))

    def request() -> HttpRequest:
        request = rf.get("/")
        vars(request)["_messages"] = []
        return request

    shown = [templates.render("page", request(), numbers=[1, 2, 3], tick=tick) for _ in range(3)]

    assert len(set(shown)) == 3
    assert tick.since() == 5


def test_a_user_s_rows_in_a_fragment_around_them_are_in_its_key_on_a_hit_too(
    templates: Templates, new_request: NewRequest, users: list[User]
) -> None:
    rows = templates.fragments("{{ user.username }}{{ n }};", "row", "n in numbers")
    templates.write(page=templates.fragment(rows, "outer", "number"))
    for user in users:
        templates.render("page", new_request(user), number=1, numbers=[1, 2])

    shown = [
        templates.render("page", new_request(user), number=2, numbers=[1, 2]) for user in users * 2
    ]

    assert shown == ["ann1;ann2;", "bob1;bob2;"] * 2


@pytest.mark.parametrize("is_list", [False, True])
def test_what_asks_for_the_language_is_read_at_once_too(
    templates: Templates, is_list: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = templates.show("translated") + "{{ n }};"
    templates.write(
        page=templates.fragments(body, "row", "n in numbers")
        if is_list
        else templates.fragment(body, "row")
    )
    given: dict[str, Any] = {"translated": lambda: gettext("Yes"), "numbers": [1, 2], "n": 1}
    show_twice(templates, **given)
    asked = Asked(monkeypatch, caches["memory_table"])

    templates.render("page", **given)

    assert asked.since() == ["get_many" if is_list else "get"]


def test_rows_that_are_not_kept_are_not_waited_for(
    templates: Templates, new_request: NewRequest, tick: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = templates.show("tick") + "{{ csrf_token }}{{ n }};"
    templates.write(page=templates.fragments(body, "row", "n in numbers"))
    for _ in range(2):  # the second time with the language in the key
        templates.render("page", new_request(), tick=tick, numbers=[1, 2])
    tick.since()
    asked: list[object] = []
    monkeypatch.setattr(TakeLease, "run", noting(asked))

    shown = templates.render("page", new_request(), tick=tick, numbers=[1, 2])

    assert shown.endswith("2;")
    assert tick.since() == 2
    assert asked == []


def test_arguments_may_be_of_the_item(author: Author, tick: Counter) -> None:
    templates = DjangoTemplates()
    templates.write(page=templates.fragments("{{ tick }};", "row", "book in books", "book.shelf"))
    book = Book.objects.create(title="Maps", author=author)

    rendered = []
    for book.shelf in (1, 2, 1):
        templates.render("page", books=[book], tick=tick)
        rendered.append(tick.since())

    assert rendered == [1, 1, 0]


def test_a_row_whose_item_is_the_user_is_identified_by_that(templates: Templates) -> None:
    templates.write(page=templates.fragments("{{ user.name }};", "row", "user in users"))
    users = [Author.objects.create(name=name) for name in ("Ann", "Bob")]

    assert templates.render("page", users=users) == "Ann;Bob;"
    assert templates.render("page", users=users[::-1]) == "Bob;Ann;"
