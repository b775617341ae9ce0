"""A fragment without arguments shows each client what the view has made for it."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.paginator import Paginator
from django.db import connection
from django.db.models import QuerySet, Value
from django.test.utils import CaptureQueriesContext
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import mark_safe

from cachelayers import unit_of_work
from tests.fragments.conftest import Counter
from tests.fragments.engines import DjangoTemplates, JinjaTemplates, Templates
from tests.library.models import Author, Book


def shown_to_each(templates: Templates, name: str, values: Iterable[Any]) -> list[str]:
    """Return what clients with one value each are shown, twice in turn."""
    given = list(values)
    return [templates.render("page", None, **{name: value}) for value in [*given, *given]]


@dataclasses.dataclass
class Basket:
    """Its text does not show its contents."""

    total: int = dataclasses.field(repr=False)

    def __str__(self) -> str:
        return "a basket"


class Preset:
    """Computes a value itself, unless a view has set it."""

    def __init__(self, total: Any) -> None:
        self.total = total

    def __repr__(self) -> str:
        return "preset"


def row(title: str) -> Book:
    return Book.objects.get(title=title)


def read(rows: QuerySet[Book]) -> QuerySet[Book]:
    """Return a queryset that a view has run."""
    len(rows)
    return rows


def altered(title: str) -> Book:
    """Return a row that a view has changed and not saved."""
    found = Book.objects.order_by("pk")[0]
    found.title = title
    return found


KINDS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "a text": ("{{ given }}", str),
    "a text that is not escaped": ("{{ given }}", lambda title: mark_safe(f"<{title}>")),
    "a row": ("{{ given.title }}", row),
    "a row that was altered": ("{{ given.title }}", altered),
    "a row that is lazy": ("{{ given.title }}", lambda title: SimpleLazyObject(lambda: row(title))),
    "an annotated row": (
        "{{ given.mark }}",
        lambda title: Book.objects.annotate(mark=Value(title)).order_by("pk")[0],
    ),
    "a list of rows": (
        "{% for one in given %}{{ one.title }}{% endfor %}",
        lambda title: list(Book.objects.filter(title=title)),
    ),
    "a query": (
        "{% for one in given %}{{ one.title }}{% endfor %}",
        lambda title: Book.objects.filter(title=title),
    ),
    "a query or a list of its rows": (
        "{{ given }}",
        lambda title: list(Book.objects.all()) if title == "One" else read(Book.objects.all()),
    ),
    "a query of values": (
        "{% for one in given %}{{ one }}{% endfor %}",
        lambda title: Book.objects.filter(title=title).values_list("title", flat=True),
    ),
    "rows of named tuples": (
        "{% for one in given %}{{ one.title }}{% endfor %}",
        lambda title: list(Book.objects.filter(title=title).values_list("title", named=True)),
    ),
    "a query by hand": (
        "{% for one in given %}{{ one.title }}{% endfor %}",
        lambda title: Book.objects.raw("SELECT * FROM library_book WHERE title = %s", [title]),
    ),
    "a dictionary": ("{{ given.title }}", lambda title: {"title": title}),
    "a nested dictionary": ("{{ given.a.b }}", lambda title: {"a": {"b": title}}),
    "a dictionary in another order": (
        "{% for key in given %}{{ key }}{% endfor %}",
        lambda title: dict.fromkeys(sorted("ab", reverse=title == "Two")),
    ),
    "a set that may change or not": (
        "{{ given }}",
        lambda title: {1} if title == "One" else frozenset([1]),
    ),
    "a namespace": ("{{ given.title }}", lambda title: SimpleNamespace(title=title)),
    "a hidden field": ("{{ given.total }}", lambda title: Basket(len(title) + (title == "Two"))),
    "an object": ("{{ given.total }}", lambda title: Preset(len(title) + (title == "Two"))),
    "an object with a row": (
        "{{ given.total.title }}",
        lambda title: Preset(row(title)),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_client_sees_what_the_view_has_made_for_that_one(
    templates: Templates, author: Author, kind: str
) -> None:
    body, make = KINDS[kind]
    for title in ("One", "Two"):
        Book.objects.create(title=title, author=author)
    templates.write(page=templates.fragment(body, "block"), plain=body)
    expected = [templates.render("plain", given=make(title)) for title in ("One", "Two")]

    shown = shown_to_each(templates, "given", [make(title) for title in ("One", "Two")])

    assert expected[0] != expected[1]
    assert shown == expected * 2


def test_what_is_the_same_is_rendered_once(
    templates: Templates, books: list[Book], tick: Counter
) -> None:
    body = "{{ a }}{{ b.title }}" + templates.loop("one", "c", "{{ one.title }}")
    templates.write(page=templates.fragment(templates.show("tick") + body, "block"))

    for _ in range(3):
        templates.render(
            "page", a=1, b=Book.objects.first(), c=Book.objects.order_by("pk"), tick=tick
        )

    assert tick.since() == 1


def test_a_query_is_not_run_by_a_hit(templates: Templates, books: list[Book]) -> None:
    body = templates.loop("one", "page_obj", "{{ one.title }}")
    templates.write(page=templates.fragment(body, "block"))

    def shown(number: int) -> str:
        paginator = Paginator(Book.objects.order_by("pk"), 2)
        paginator.count = 5  # as if it had been counted
        return templates.render("page", page_obj=paginator.page(number))

    pages = [shown(number) for number in (1, 2)]
    [shown(number) for number in (1, 2)]
    with CaptureQueriesContext(connection) as queries:
        again = [shown(number) for number in (1, 2)]

    assert pages == again == ["Book 0Book 1", "Book 2Book 3"]
    assert not [one for one in queries.captured_queries if "library_book" in one["sql"]]


def test_a_name_that_is_missing_tells_as_well(templates: Templates) -> None:
    body = "{% if offer %}{{ offer }}{% else %}none{% endif %}"
    templates.write(page=templates.fragment(body, "block"))

    shown = [templates.render("page", None, **names) for names in ({}, {"offer": "ten"}, {}) * 2]

    assert shown == ["none", "ten", "none"] * 2


@pytest.mark.parametrize("flags", [[True, False, True], [False, True, False]])
def test_a_name_that_only_some_look_up_tells_those(templates: Templates, flags: list[bool]) -> None:
    body = "{% if flag %}{{ one }}{% else %}{{ other }}{% endif %}"
    templates.write(page=templates.fragment(body, "block"))

    shown = [
        templates.render("page", flag=flag, one=number, other=-number)
        for flag in flags
        for number in (1, 2)
    ]

    assert shown == [str(number if flag else -number) for flag in flags for number in (1, 2)]


def test_a_list_of_fragments_is_identified_by_what_else_they_show(
    templates: Templates, books: list[Book]
) -> None:
    templates.write(page=templates.fragments("{{ book.pk }}{{ mark }};", "row", "book in books"))

    for mark in ("a", "b", "a", "b"):
        shown = templates.render("page", books=books, mark=mark)
        assert shown == "".join(f"{book.pk}{mark};" for book in books)


def test_a_fragment_around_others_is_identified_by_what_they_look_up(templates: Templates) -> None:
    inner = templates.fragment("{{ who }}", "inner")
    templates.write(
        page=templates.fragment(f"<{inner}>", "outer"),
        part=inner,
        included=templates.fragment('<{% include "part.html" %}>', "outer"),
        alone=inner,
    )

    for page in ("page", "included"):
        templates.render("alone", who="ann")
        shown = [templates.render(page, who=who) for who in ("ann", "bob", "ann", "cid")]
        assert shown == ["<ann>", "<bob>", "<ann>", "<cid>"]


def test_the_loop_around_it_tells_by_what_is_asked_of_it(templates: Templates) -> None:
    is_django = isinstance(templates, DjangoTemplates)
    number = "forloop.counter" if is_django else "loop.index"
    block = templates.fragment(f"{{{{ {number} }}}}{{{{ n }}}}", "block")
    templates.write(page=templates.loop("n", "numbers", block))

    shown = [templates.render("page", numbers=numbers) for numbers in ("ab", "ba", "aab") * 2]

    assert shown == ["1a2b", "1b2a", "1a2a3b"] * 2


def test_a_loop_within_it_does_not_ask_for_one_around_it(
    templates: Templates, tick: Counter
) -> None:
    body = templates.show("tick") + templates.loop("n", "numbers", "{{ n }}")
    templates.write(page=templates.loop("other", "others", templates.fragment(body, "block")))

    assert templates.render("page", others="abc", numbers="xy", tick=tick) == "xyxyxy"
    assert tick.since() == 1


def test_two_fragments_of_one_name_in_a_file_are_two(templates: Templates, book: Book) -> None:
    blocks = [templates.fragment(body, "card", "book") for body in ("{{ book.title }}", "{{ 1 }}")]
    templates.write(page="|".join(blocks))

    assert [templates.render("page", book=book) for _ in range(2)] == ["Maps|1"] * 2


def test_what_has_no_value_of_its_own_is_not_kept_and_named_once(
    templates: Templates, tick: Counter, caplog: pytest.LogCaptureFixture
) -> None:
    templates.write(page="\n" + templates.fragment(templates.show("tick") + "{{ lock }}", "card"))

    for _ in range(3):
        templates.render("page", lock=threading.Lock(), tick=tick)

    assert tick.since() == 3
    assert len(caplog.records) == 1
    assert "page.html, line 2: the fragment 'card' is not cached: it shows 'lock'" in caplog.text


def test_an_argument_that_does_not_exist_is_named_once(
    templates: Templates, book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    templates.write(page="\n" + templates.fragment("{{ book.title }}", "card", "bok"))

    assert [templates.render("page", book=book) for _ in range(2)] == ["\nMaps"] * 2
    [record] = caplog.records
    assert "page.html, line 2" in record.getMessage()
    assert "'bok'" in record.getMessage()


def test_a_row_that_it_shows_by_name_ends_it(templates: Templates, book: Book) -> None:
    templates.write(page=templates.fragment("{{ given.title }}{{ given.author.name }}", "card"))

    def view() -> str:
        with unit_of_work():
            return templates.render_here("page", given=Book.objects.get())

    assert [view(), view()] == ["MapsAnn"] * 2
    Author.objects.update(name="Bea")
    assert view() == "MapsBea"
    Book.objects.update(title="Atlas")
    assert view() == "AtlasBea"


# Django's templates


def test_blocks_of_templates_that_extend_another_are_in_the_key() -> None:
    templates = DjangoTemplates()
    templates.write(
        base=templates.fragment("{% block body %}base{% endblock %}", "body"),
        page='{% extends "base.html" %}{% block body %}{{ block.super }}{{ post }}{% endblock %}',
    )

    assert shown_to_each(templates, "post", ["a", "b"]) == ["basea", "baseb"] * 2


def test_what_a_tag_goes_on_with_from_one_use_to_the_next_is_not_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    templates = DjangoTemplates()
    block = templates.fragment("{% ifchanged n %}{{ n }}{% endifchanged %}", "block", "n")
    templates.write(page=templates.loop("n", "numbers", block))

    assert [templates.render("page", numbers=n) for n in ("aab", "aba", "aab")] == [
        "ab",
        "aba",
        "ab",
    ]


def test_what_one_fragment_remembers_for_another_is_there_and_neither_is_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    templates = DjangoTemplates()
    templates.write(
        page=templates.fragment("{% jot who %}", "first")
        + templates.fragment("{% jotted %}", "second")
    )

    assert shown_to_each(templates, "who", ["ann", "bob"]) == ["ann", "bob"] * 2
    assert caplog.text.count("'remembered' in it continues from") == 2


def test_a_cycle_within_the_block_is_kept_and_one_that_goes_on_from_use_to_use_is_not(
    tick: Counter,
) -> None:
    templates = DjangoTemplates()
    cycle = '{% cycle "a" "b" %}'
    templates.write(
        inside=templates.fragment("{{ tick }}" + templates.loop("n", "numbers", cycle), "list"),
        around=templates.loop("n", "numbers", templates.fragment("{{ tick }}" + cycle, "row", "n")),
    )

    for page, rendered in (("inside", 1), ("around", 6)):
        shown = [templates.render(page, numbers="xyz", tick=tick) for _ in range(2)]
        assert shown == ["aba"] * 2
        assert tick.since() == rendered


def test_what_a_block_sets_for_what_comes_after_it_is_there_and_not_kept() -> None:
    templates = DjangoTemplates()
    cycle = '{% cycle "a" "b" as letter silent %}'
    templates.write(
        page='{% cycle "x" "y" as letter silent %}'
        + templates.fragment(cycle, "block")
        + "{{ letter }}"
    )

    assert [templates.render("page") for _ in range(3)] == ["a"] * 3


# Jinja2


def test_a_macro_s_caller_is_identified_by_what_it_holds() -> None:
    templates = JinjaTemplates()
    box = templates.fragment("<{{ caller() }}>", "box")
    templates.write(
        page="{% macro box() %}" + box + "{% endmacro %}"
        "{% for n in numbers %}{% call box() %}{{ n }}{{ mark }}{% endcall %}{% endfor %}"
    )

    shown = [templates.render("page", numbers=n, mark=m) for n, m in [("ab", 1), ("ba", 2)] * 2]

    assert shown == ["<a1><b1>", "<b2><a2>"] * 2


@pytest.mark.parametrize("how", ["with context", "without context"])
def test_an_imported_macro_is_identified_by_what_it_holds(how: str) -> None:
    templates = JinjaTemplates()
    templates.write(
        macros="{% set greeting = 'Hi ' ~ (who or '') %}"
        "{% macro hi() %}{{ greeting }}{{ who }}{% endmacro %}",
        page='{% import "macros.html" as m '
        + how
        + " %}"
        + templates.fragment("{{ m.hi() }}", "x"),
    )
    is_given = how == "with context"

    shown = [templates.render("page", who=who) for who in ("ann", "bob", "ann")]

    assert shown == [f"Hi {who}{who}" if is_given else "Hi " for who in ("ann", "bob", "ann")]


def test_a_variable_that_the_template_sets_tells() -> None:
    templates = JinjaTemplates()
    templates.write(
        page="{% set greeting = 'Hi ' ~ who %}"
        "{% macro hi() %}{{ greeting }}{% endmacro %}"
        + templates.fragment("{{ greeting }}{{ hi() }}", "x")
    )

    assert shown_to_each(templates, "who", ["a", "b"]) == ["Hi aHi a", "Hi bHi b"] * 2


def test_a_macro_of_the_template_tells_by_what_it_looks_up() -> None:
    templates = JinjaTemplates()
    templates.write(
        page="{% macro hi() %}Hi {{ who }}{% endmacro %}" + templates.fragment("{{ hi() }}", "x")
    )

    assert shown_to_each(templates, "who", ["a", "b"]) == ["Hi a", "Hi b"] * 2
