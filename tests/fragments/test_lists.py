"""{% fragments %}: a block for each item of a list, with one bulk read and one bulk write."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.db import connections, transaction
from django.http import HttpRequest
from django.template import TemplateSyntaxError
from django.test import RequestFactory
from django.utils import translation
from django.utils.translation import gettext
from jinja2 import TemplateSyntaxError as JinjaSyntaxError
from pytest_django import Settings

from cachelayers.lookup.steps import TakeLease
from tests.fragments.conftest import Counter, NewRequest, new_counter, read_log
from tests.fragments.engines import DjangoTemplates, Templates
from tests.library.models import Author, Book


class Asked:
    """What a cache was asked for, in order."""

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


@pytest.fixture
def books(author: Author) -> list[Book]:
    books = [Book.objects.create(title=f"Book {number}", author=author) for number in range(5)]
    read_log()
    return books


def all_books() -> Any:
    return Book.objects.order_by("pk")


def titles(templates: Templates, **options: Any) -> str:
    body = templates.show("tick") + "{{ book.title }};"
    return templates.fragments(body, "row", "book in books", **options)


def test_a_list_is_read_and_stored_at_once(
    templates: Templates, books: list[Book], tick: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    templates.write(page=titles(templates))
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


def test_arguments_tell_variants_apart_too(templates: Templates, books: list[Book]) -> None:
    body = "{{ book.pk }}{{ shown }};"
    templates.write(page=templates.fragments(body, "row", "book in books", "number"))

    shown = [
        templates.render("page", books=books[:1], number=number, shown=shown)
        for number, shown in [(1, "a"), (2, "b"), (1, "never")]
    ]

    assert [one[-2] for one in shown] == ["a", "b", "a"]


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


def test_rows_for_a_user_without_a_key_are_rendered_each_time(
    templates: Templates, tick: Counter, caplog: pytest.LogCaptureFixture
) -> None:
    body = templates.show("tick") + "{{ user.name }}{{ n }};"
    templates.write(page=templates.fragments(body, "row", "n in numbers"))

    shown = [
        templates.render("page", user=SimpleNamespace(name=name), numbers=[1, 2], tick=tick)
        for name in "abc"
    ]

    assert shown == ["a1;a2;", "b1;b2;", "c1;c2;"]
    assert "the user has no key" in caplog.text


def test_rows_that_are_not_kept_are_not_waited_for(
    templates: Templates, new_request: NewRequest, tick: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = templates.show("tick") + "{{ csrf_token }}{{ n }};"
    templates.write(page=templates.fragments(body, "row", "n in numbers"))
    for _ in range(2):  # the second time under the keys of the language, which it asked for
        templates.render("page", new_request(), tick=tick, numbers=[1, 2])
    tick.since()
    asked: list[object] = []
    monkeypatch.setattr(TakeLease, "run", lambda step: asked.append(step) is None)

    shown = templates.render("page", new_request(), tick=tick, numbers=[1, 2])

    assert shown.endswith("2;")
    assert tick.since() == 2
    assert asked == []


def test_in_an_event_loop_rows_are_rendered_and_not_kept(
    templates: Templates, tick: Counter, caplog: pytest.LogCaptureFixture
) -> None:
    body = templates.show("tick") + "{{ n }}"
    templates.write(page=templates.fragments(body, "row", "n in numbers"))

    async def view() -> str:
        return templates.render("page", tick=tick, numbers=[1, 2])

    assert [asyncio.run(view()) for _ in range(2)] == ["12", "12"]
    assert tick.since() == 4
    assert "render in a thread" in caplog.text


def test_arguments_may_be_of_the_item(author: Author) -> None:
    templates = DjangoTemplates()
    templates.write(page=templates.fragments("{{ shown }};", "row", "book in books", "book.shelf"))
    book = Book.objects.create(title="Maps", author=author)

    def shown(shelf: int, text: str) -> str:
        book.shelf = shelf
        return templates.render("page", books=[book], shown=text)

    assert [shown(1, "a"), shown(2, "b"), shown(1, "never")] == ["a;", "b;", "a;"]


def test_a_row_whose_item_is_the_user_is_told_by_that(templates: Templates) -> None:
    templates.write(page=templates.fragments("{{ user.name }};", "row", "user in users"))
    users = [Author.objects.create(name=name) for name in ("Ann", "Bob")]

    assert templates.render("page", users=users) == "Ann;Bob;"
    assert templates.render("page", users=users[::-1]) == "Bob;Ann;"


def test_what_tells_nothing_is_rendered_each_time(
    templates: Templates, tick: Counter, caplog: pytest.LogCaptureFixture
) -> None:
    templates.write(page=templates.fragments(templates.show("tick") + "x", "row", "one in some"))

    for _ in range(2):
        assert templates.render("page", some=["a", object(), "b"], tick=tick) == "xxx"

    assert tick.since() == 4
    assert len(caplog.records) == 1


def test_an_error_in_one_row_is_the_template_s_and_those_before_it_are_kept(
    templates: Templates, tick: Counter
) -> None:
    body = templates.show("tick") + "{{ one.value" + templates.call + " }}"
    templates.write(page=templates.fragments(body, "row", "one in some"))

    class Some:
        def __init__(self, name: str) -> None:
            self.name = name

        def __str__(self) -> str:
            return self.name

        def value(self) -> str:
            if self.name == "bad":
                raise ZeroDivisionError("the view's own")
            return self.name

    with pytest.raises(ZeroDivisionError, match="the view's own"):
        templates.render("page", some=[Some("good"), Some("bad")], tick=tick)

    assert templates.render("page", some=[Some("good")], tick=tick) == "good"
    assert tick.since() == 2


def test_stale_rows_are_rendered_by_the_caller_that_finds_them(
    templates: Templates, books: list[Book], tick: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    templates.write(page=titles(templates, timeout="60", stale="60"))
    for _ in range(2):
        templates.render("page", books=books, tick=tick)
    tick.since()
    now = time.time()

    monkeypatch.setattr(time, "time", lambda: now + 61)
    templates.render("page", books=books, tick=tick)
    after_the_first = tick.since()
    templates.render("page", books=books, tick=tick)

    assert (after_the_first, tick.since()) == (5, 0)


def test_a_stale_row_that_cannot_be_rendered_is_served_on(
    templates: Templates, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    body = templates.show("call")
    templates.write(page=templates.fragments(body, "row", "one in some", timeout="60", stale="60"))
    templates.render("page", some="ab", call=lambda: "kept;")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 61)

    def fail() -> str:
        raise ZeroDivisionError("the view's own")

    assert templates.render("page", some="ab", call=fail) == "kept;kept;"
    assert caplog.text.count("its refresh failed") == 2


def test_one_of_many_threads_renders_what_is_missing(
    templates: Templates, tick: Counter, django_db_blocker: Any
) -> None:
    threads = 6
    barrier, lock = threading.Barrier(threads), threading.Lock()
    rendered: list[int] = []

    def slowly() -> str:
        with lock:
            rendered.append(1)
        time.sleep(0.03)
        return "x"

    templates.write(page=templates.fragments(templates.show("slowly"), "row", "n in numbers"))

    def visit(_: int) -> str:
        barrier.wait()
        try:
            return templates.render("page", numbers=[1, 2, 3], slowly=slowly)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(threads) as pool:
        shown = set(pool.map(visit, range(threads)))

    assert shown == {"xxx"}
    assert len(rendered) == 3


def test_others_get_the_stale_rows_while_one_renders(
    templates: Templates, monkeypatch: pytest.MonkeyPatch
) -> None:
    templates.write(
        page=templates.fragments(
            templates.show("call"), "row", "n in numbers", timeout="60", stale="60"
        )
    )
    templates.render("page", numbers=[1], call=lambda: "old")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 61)
    seen_by_others: list[str] = []

    def while_rendered() -> str:
        def visit() -> None:
            seen_by_others.append(templates.render("page", numbers=[1], call=lambda: "never"))
            connections.close_all()

        thread = threading.Thread(target=visit)
        thread.start()
        thread.join()
        return "new"

    shown = templates.render("page", numbers=[1], call=while_rendered)

    assert (shown, seen_by_others) == ("new", ["old"])


def test_a_transaction_that_has_written_keeps_nothing(
    templates: Templates, books: list[Book], tick: Counter
) -> None:
    templates.write(page=titles(templates))
    for _ in range(2):
        templates.render("page", books=all_books(), tick=tick)
    tick.since()

    with transaction.atomic():
        Book.objects.update(title="Never")
        within = templates.render("page", books=all_books()[:1], tick=tick)
        transaction.set_rollback(True)

    assert within == "Never;"
    assert templates.render("page", books=all_books()[:1], tick=tick) == "Book 0;"


def test_a_cache_that_is_down_means_they_are_rendered(
    templates: Templates, tick: Counter, settings: Settings
) -> None:
    settings.CACHES = {
        **settings.CACHES,
        "down": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": "redis://127.0.0.1:9/0",
        },
    }
    body = templates.show("tick") + "{{ n }}"
    templates.write(page=templates.fragments(body, "row", "n in numbers", using='"down"'))

    assert [templates.render("page", numbers=[1, 2], tick=tick) for _ in range(2)] == ["12"] * 2
    assert tick.since() == 4
