"""{% fragments %}: rows that fail, are stale, have many callers, or cannot be cached."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connections, transaction
from pytest_django import Settings

from tests.fragments.conftest import Counter, plain
from tests.fragments.engines import Templates
from tests.fragments.views import all_books, titles
from tests.library.models import Book


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


def test_what_tells_nothing_is_rendered_each_time(
    templates: Templates, tick: Counter, caplog: pytest.LogCaptureFixture
) -> None:
    templates.write(page=templates.fragments(templates.show("tick") + "x", "row", "one in some"))

    for _ in range(2):
        assert templates.render("page", some=["a", object(), "b"], tick=tick) == "xxx"

    assert tick.since() == 4
    assert len(caplog.records) == 1


class Some:
    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return self.name

    def value(self) -> str:
        if self.name == "bad":
            raise ZeroDivisionError("the view's own")
        return self.name


def test_an_error_in_one_row_is_the_template_s_and_those_before_it_are_kept(
    templates: Templates, tick: Counter
) -> None:
    body = templates.show("tick") + "{{ one.value" + templates.call + " }}"
    templates.write(page=templates.fragments(body, "row", "one in some"))

    templates.render("page", some=[Some("other")], tick=tick)  # now the dimensions are known
    tick.since()
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
    templates.render("page", some="ab", call=plain(lambda: "kept;"))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 61)

    def fail() -> str:
        raise ZeroDivisionError("the view's own")

    assert templates.render("page", some="ab", call=plain(fail)) == "kept;kept;"
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
    templates.render("page", numbers=[0], slowly=plain(slowly))  # now the dimensions are known
    rendered.clear()

    def visit(_: int) -> str:
        barrier.wait()
        try:
            return templates.render("page", numbers=[1, 2, 3], slowly=plain(slowly))
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
    templates.render("page", numbers=[1], call=plain(lambda: "old"))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 61)
    seen_by_others: list[str] = []

    def while_rendered() -> str:
        def visit() -> None:
            seen_by_others.append(
                templates.render("page", numbers=[1], call=plain(lambda: "never"))
            )
            connections.close_all()

        thread = threading.Thread(target=visit)
        thread.start()
        thread.join()
        return "new"

    shown = templates.render("page", numbers=[1], call=plain(while_rendered))

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
