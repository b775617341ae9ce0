"""Fragments within fragments, and the holes in them."""

from __future__ import annotations

from typing import Any

import pytest
from django.template import Context, Template

from cachelayers import unit_of_work
from tests.fragments.conftest import Counter, new_counter
from tests.fragments.engines import DjangoTemplates, JinjaTemplates, Templates
from tests.library.models import Author, Book


@pytest.fixture
def books(author: Author) -> list[Book]:
    return [Book.objects.create(title=f"Book {number}", author=author) for number in range(100)]


def all_books() -> Any:
    return Book.objects.order_by("pk")


def test_changing_one_row_of_100_renders_one_inner_fragment_and_the_outer_one(
    templates: Templates, books: list[Book], tick: Counter
) -> None:
    row = templates.fragment(templates.show("inner") + "{{ book.title }};", "row", "book")
    rows = templates.loop("book", "books", row)
    templates.write(page=templates.fragment(templates.show("tick") + rows, "list"))
    inner = new_counter()

    def shown() -> str:
        return templates.render("page", books=all_books(), tick=tick, inner=inner)

    shown(), shown()
    tick.since(), inner.since()
    Book.objects.filter(pk=books[50].pk).update(title="Changed")
    after = shown()

    assert after.count("Book ") == 99
    assert "Changed;" in after
    assert (tick.since(), inner.since()) == (1, 1)


def test_an_outer_fragment_is_kept_again_with_inner_ones_that_are_older_than_the_change(
    templates: Templates, books: list[Book], tick: Counter
) -> None:
    row = templates.fragment("{{ book.title }};", "row", "book")
    rows = templates.loop("book", "books", row)
    templates.write(page=templates.fragment(templates.show("tick") + rows, "list"))

    def shown() -> str:
        return templates.render("page", books=all_books(), tick=tick)

    shown(), shown()
    Book.objects.filter(pk=books[50].pk).update(title="Changed")
    shown()
    tick.since()
    shown(), shown()

    assert tick.since() == 0


def test_an_outer_fragment_goes_stale_with_an_inner_hit_s_rows(
    templates: Templates, author: Author
) -> None:
    """The inner one runs no statement while the outer one is rendered."""
    inner = templates.fragment(templates.show("count"), "inner")
    templates.write(page=templates.fragment(inner, "outer", "number"))
    count = Book.objects.count
    for number in (1, 2):
        templates.render("page", number=number, count=count)
        templates.render("page", number=number, count=count)

    Book.objects.create(title="One", author=author)

    assert templates.render("page", number=2, count=count) == "1"


def test_an_inner_fragment_s_word_invalidates_the_outer_one(
    templates: Templates, tick: Counter
) -> None:
    from cachelayers import invalidate

    inner = templates.fragment("x", "inner", tags='"news"')
    templates.write(page=templates.fragment(inner + templates.show("tick"), "outer"))
    templates.render("page", tick=tick)

    invalidate("news")
    templates.render("page", tick=tick)

    assert tick.since() == 2


# Holes


def test_a_hole_is_rendered_for_each_request(templates: Templates, tick: Counter) -> None:
    hole = templates.uncached("[{{ now }}]")
    templates.write(page=templates.fragment(f"a{hole}b{templates.show('tick')}{hole}c", "card"))

    shown = [templates.render("page", now=number, tick=tick) for number in range(3)]

    assert shown == [f"a[{number}]b[{number}]c" for number in range(3)]
    assert tick.since() == 1


def test_a_hole_without_a_fragment_is_just_rendered(templates: Templates) -> None:
    templates.write(page="a" + templates.uncached("{{ now }}") + "b")

    assert [templates.render("page", now=number) for number in (1, 2)] == ["a1b", "a2b"]


def test_a_hole_in_an_inner_fragment_is_one_in_the_outer_one(
    templates: Templates, tick: Counter
) -> None:
    inner = templates.fragment("i" + templates.uncached("{{ now }}"), "inner")
    templates.write(page=templates.fragment(inner + templates.show("tick") + "o", "outer"))

    shown = [templates.render("page", now=number, tick=tick) for number in range(3)]

    assert shown == ["i0o", "i1o", "i2o"]
    assert tick.since() == 1


def test_a_hole_sees_the_loop_around_the_outermost_fragment(templates: Templates) -> None:
    hole = templates.uncached("{{ item }}{{ now }}")
    templates.write(
        page=templates.loop("item", "items", templates.fragment(f"<{hole}>", "x", "item"))
    )

    shown = [templates.render("page", items="ab", now=number) for number in (1, 2)]

    assert shown == ["<a1><b1>", "<a2><b2>"]


def test_a_hole_may_use_what_no_fragment_may(templates: Templates, rf: Any) -> None:
    hole = templates.uncached("{{ csrf_token }}")
    templates.write(page=templates.fragment(f"<{hole}>", "form"))

    def shown() -> str:
        request = rf.get("/")
        request._messages = []
        return templates.render("page", request)

    first, second = shown(), shown()

    assert len(first) == len(second) > 32
    assert first != second


def test_what_users_have_written_is_not_taken_for_a_hole(templates: Templates) -> None:
    hole = templates.uncached("hole")
    templates.write(page=templates.fragment("{{ text }}" + hole, "card", "text"))
    text = "0;1; cachelayers:parts"

    assert [templates.render("page", text=text) for _ in range(2)] == [f"{text}hole"] * 2


def test_a_hole_that_a_filter_would_change_is_rendered_with_the_rest(
    templates: Templates, caplog: pytest.LogCaptureFixture
) -> None:
    hole = templates.uncached("{{ now }}z")
    body = "{% filter upper %}a" + hole + "{% endfilter %}"
    templates.write(page=templates.fragment(body, "card"))

    shown = [templates.render("page", now=number) for number in (1, 2)]

    assert shown == ["A1Z", "A2Z"]
    assert "{% filter %} is around an {% uncached %}" in caplog.text


def test_an_error_in_a_hole_is_the_template_s_and_the_rest_stays(
    templates: Templates, tick: Counter
) -> None:
    hole = templates.uncached(templates.show("call"))
    templates.write(page=templates.fragment(templates.show("tick") + hole, "card"))

    def fail() -> str:
        raise ZeroDivisionError("the view's own")

    with pytest.raises(ZeroDivisionError, match="the view's own"):
        templates.render("page", call=fail, tick=tick)

    assert templates.render("page", call=lambda: "fine", tick=tick) == "fine"
    assert tick.since() == 1


def test_a_hole_in_an_included_template_is_found_by_a_process_that_has_not_compiled_it(
    tick: Counter,
) -> None:
    templates = DjangoTemplates()
    templates.write(
        page=templates.fragment('<{% include "part.html" %}>' + templates.show("tick"), "card"),
        part="p" + templates.uncached("{{ now }}"),
    )
    templates.render("page", now=0, tick=tick)
    templates.write()  # a new engine, as in another process

    shown = [templates.render("page", now=number, tick=tick) for number in (1, 2)]

    assert shown == ["<p1>", "<p2>"]
    assert tick.since() == 1


def test_a_hole_in_a_template_that_jinja_includes_is_rendered_with_the_rest(
    caplog: pytest.LogCaptureFixture,
) -> None:
    templates = JinjaTemplates()
    templates.write(
        page=templates.fragment('<{% include "part.html" %}>', "card"),
        part="p" + templates.uncached("{{ now }}"),
    )

    shown = [templates.render("page", now=number) for number in (1, 2)]

    assert shown == ["<p1>", "<p2>"]
    assert "there is a hole in a template that it includes" in caplog.text


def test_a_hole_in_a_template_from_a_string_is_rendered_for_each_request(tick: Counter) -> None:
    source = "{% load cachelayers %}{% fragment 'card' %}{{ tick }}a{% uncached %}{{ now }}"
    source += "{% enduncached %}{% endfragment %}"

    def shown(now: int) -> str:
        with unit_of_work():
            return Template(source).render(Context({"now": now, "tick": tick}))

    assert [shown(now) for now in (1, 2)] == ["a1", "a2"]
    assert tick.since() == 1


def test_a_hole_in_an_included_template_without_a_name_is_rendered_with_the_rest(
    caplog: pytest.LogCaptureFixture,
) -> None:
    part = Template("{% load cachelayers %}p{% uncached %}{{ now }}{% enduncached %}")
    page = Template(
        "{% load cachelayers %}{% fragment 'card' %}{% include part %}{% endfragment %}"
    )

    def shown(now: int) -> str:
        with unit_of_work():
            return page.render(Context({"now": now, "part": part}))

    assert [shown(now) for now in (1, 2)] == ["p1", "p2"]
    assert "it includes a hole in a template that has no name" in caplog.text
