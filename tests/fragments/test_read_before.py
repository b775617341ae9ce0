"""A fragment depends on what its view has read before, although it runs no query itself."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connections, transaction
from django.db.models import IntegerChoices
from django.test import RequestFactory
from django.utils.functional import SimpleLazyObject
from pytest_django import Settings

from cachelayers import invalidate, recall, unit_of_work
from tests.fragments.conftest import Counter, NewRequest
from tests.fragments.engines import DjangoTemplates, JinjaTemplates, Templates
from tests.fragments.views import all_titles, check_tracked, rename, show_twice, view_of
from tests.library.models import Author, Book, Subject


@pytest.mark.parametrize(
    "read",
    [
        lambda: Book.objects.count() + 0,
        lambda: list(Book.objects.order_by("title")),
        lambda: Book.objects.order_by("title").first(),
        lambda: Book.objects.filter(title="Atlas").exists(),
        lambda: recall("titles", all_titles),
        lambda: {"titles": all_titles()},
        lambda: used(SimpleLazyObject(all_titles)),
    ],
    ids=["count", "list", "first", "exists", "recalled", "dict", "lazy"],
)
def test_what_the_view_has_read_before_is_tracked_too(
    templates: Templates, book: Book, read: Callable[[], Any]
) -> None:
    """No query runs during the rendering, and no argument shows the data."""
    templates.write(page=templates.fragment("{{ given }}", "list"))
    shown = view_of(templates, read)
    before = [shown(), shown()][-1]

    Book.objects.create(title="Atlas", author=book.author)

    assert shown() != before


@pytest.mark.parametrize(
    "body",
    [
        "{{ site }}",
        '{% include "part.html" %}',
        "{% set one = user %}",
        "{% set one = csrf_token %}",
    ],
)
def test_what_the_view_has_read_is_no_part_of_a_block_that_shows_none_of_it(
    author: Author, new_request: NewRequest, tick: Counter, body: str
) -> None:
    """Except names of the environment, missing names, and names that are not used."""
    templates = JinjaTemplates()
    templates.write(page=templates.fragment("{{ tick() }}" + body, "card"), part="{{ nothing }}")
    templates.environment.globals["site"] = "Atlas"

    def view() -> str:
        with unit_of_work():
            Book.objects.count()
            token = SimpleLazyObject(lambda: "used")
            return templates.render_here("page", new_request(), tick=tick, csrf_token=token)

    view(), view()
    tick.since()
    Book.objects.create(title="Maps", author=author)
    view()

    assert tick.since() == 0


@pytest.mark.parametrize(
    "body",
    [
        "{{ STATIC_URL }}",
        "{{ LANGUAGE_CODE }}",
        "{{ TIME_ZONE }}",
        "{% if True %}{% endif %}",
        "{% with one=perms %}{% endwith %}",
    ],
)
def test_what_the_view_has_read_is_no_part_of_a_block_that_shows_what_django_gives(
    author: Author, new_request: NewRequest, tick: Counter, body: str
) -> None:
    templates = DjangoTemplates()
    templates.write(page=templates.fragment("{{ tick }}" + body, "card"))
    of_django = {"STATIC_URL": "/static/", "LANGUAGE_CODE": "en", "TIME_ZONE": "UTC"}

    def view() -> str:
        with unit_of_work():
            Book.objects.count()
            return templates.render_here("page", new_request(), tick=tick, **of_django)

    view(), view()
    tick.since()
    Book.objects.create(title="Maps", author=author)
    view()

    assert tick.since() == 0


class EntryStore(list[Any]):
    """A list with an attribute of its own."""

    __slots__ = ("best",)

    best: Any


class Label:
    """Its text does not show what it holds."""

    def __init__(self, title: str) -> None:
        self.title = title

    def __str__(self) -> str:
        return "a label"


def used(lazy: Any) -> Any:
    """Evaluate a lazy object."""
    str(lazy)
    return lazy


def entry_store_of(book: Book) -> EntryStore:
    shelf = EntryStore()
    shelf.best = {"books": (book,)}
    return shelf


@pytest.mark.parametrize(
    ("read", "body"),
    [
        (lambda: used(SimpleLazyObject(Book.objects.get)), "{{ given.title }}"),
        (lambda: [SimpleLazyObject(Book.objects.get)], "{{ given.0.title }}"),
        (lambda: entry_store_of(Book.objects.get()), "{{ given.best.books.0.title }}"),
        (lambda: Label(all_titles()), "{{ given.title }}"),
    ],
    ids=["lazy", "list of lazy ones", "added to a list", "untold"],
)
def test_what_an_argument_holds_is_tracked(
    templates: Templates, book: Book, read: Callable[[], Any], body: str
) -> None:
    templates.write(page=templates.fragment(body, "card", "given"))

    check_tracked(view_of(templates, read), rename, "Maps", "Atlas")


class Level(IntegerChoices):
    """So many that a walk from each to the others would not end."""

    ONE, TWO, THREE, FOUR, FIVE, SIX, SEVEN, EIGHT, NINE = range(9)


@pytest.mark.timeout(10)
def test_choices_as_arguments_are_looked_at_no_deeper(templates: Templates, tick: Counter) -> None:
    body = templates.show("tick") + "{{ level.label }}"
    templates.write(page=templates.fragment(body, "card", "level", "levels"))
    given: dict[str, Any] = {"level": Level.TWO, "levels": Level, "tick": tick}

    assert [templates.render("page", **given) for _ in range(2)] == ["Two", "Two"]
    assert tick.since() == 1


def test_the_condition_of_a_query_that_is_made_only_now_is_tracked(
    templates: Templates, author: Author
) -> None:
    for title in ("One", "Two"):
        Book.objects.create(title=title, author=author)
    Subject.objects.create(word="One")
    templates.write(
        page=templates.fragment(templates.loop("book", "given", "{{ book.title }}"), "list")
    )

    def chosen() -> Any:
        return Book.objects.filter(title=Subject.objects.get().word)

    def choose_the_other() -> None:
        Subject.objects.all().delete()
        Subject.objects.create(word="Two")

    check_tracked(view_of(templates, chosen), choose_the_other, "One", "Two")


def test_the_row_that_a_related_manager_is_of_is_tracked(templates: Templates) -> None:
    for name, shelf in (("Ann", "One"), ("Bea", "Two")):
        Book.objects.create(title=shelf, author=Author.objects.create(name=name))
    body = templates.loop("book", f"given.all{templates.call}", "{{ book.title }}")
    templates.write(page=templates.fragment(body, "list"))

    def swap() -> None:
        Author.objects.filter(name="Ann").update(name="Cid")
        Author.objects.filter(name="Bea").update(name="Ann")

    view = view_of(templates, lambda: Author.objects.get(name="Ann").books)
    check_tracked(view, swap, "One", "Two")


@pytest.mark.parametrize("way", ["default", "keyword", "closure"])
def test_what_a_function_holds_is_tracked(templates: Templates, book: Book, way: str) -> None:
    templates.write(page=templates.fragment(templates.show("given"), "list"))

    def read() -> Callable[[], str]:
        found = all_titles()

        def titles(found: str = found) -> str:
            return found

        def titles_by_keyword(*, found: str = found) -> str:
            return found

        def titles_by_closure() -> str:
            return found

        ways = {"default": titles, "keyword": titles_by_keyword, "closure": titles_by_closure}
        return ways[way]

    check_tracked(view_of(templates, read), rename, "Maps", "Atlas")


@pytest.mark.parametrize(
    "name", ["block", "debug", "forloop", "user", "perms", "LANGUAGE_CODE", "STATIC_URL"]
)
def test_a_value_under_a_name_that_django_uses_too_is_tracked(
    templates: Templates, book: Book, name: str
) -> None:
    """Content editors name their blocks so, and forums their messages."""
    templates.write(page=templates.fragment(f"{{{{ {name}.title }}}}", "card"))

    view = view_of(templates, lambda: {"title": all_titles(), "pk": 1}, name)
    if name == "user":
        view = view_of(templates, lambda: SimpleNamespace(title=all_titles(), pk=1), name)
    check_tracked(view, rename, "Maps", "Atlas")


def test_what_the_place_in_a_loop_says_of_the_rest_is_tracked() -> None:
    templates = DjangoTemplates()
    row = "{{ book.title }}{% if not forloop.last %}, {% endif %}"
    templates.write(page=templates.loop("book", "books", templates.fragment(row, "row", "book.pk")))
    author = Author.objects.create(name="Ann")
    Book.objects.create(title="One", author=author)

    def view() -> str:
        with unit_of_work():
            return templates.render_here("page", books=list(Book.objects.order_by("pk")))

    check_tracked(view, lambda: Book.objects.create(title="Two", author=author), "One", "One, Two")


def test_what_an_included_template_shows_of_it_is_tracked(templates: Templates, book: Book) -> None:
    templates.write(
        page=templates.fragment('{% include "part.html" %}', "list"), part="{{ given }}"
    )

    check_tracked(view_of(templates, all_titles), rename, "Maps", "Atlas")


# On the request


def test_a_row_that_the_request_holds_is_tracked(
    templates: Templates, rf: RequestFactory, book: Book
) -> None:
    """As middleware puts a site or a tenant there."""
    templates.write(page=templates.fragment("{{ request.chosen.title }}", "card"))

    def view() -> str:
        with unit_of_work():
            request: Any = rf.get("/")
            request._messages = []
            request.chosen = Book.objects.get()
            return templates.render_here("page", request)

    check_tracked(view, rename, "Maps", "Atlas")


def test_the_row_of_a_user_who_was_found_before_is_tracked(
    templates: Templates,
    new_request: NewRequest,
    users: list[User],
    settings: Settings,
) -> None:
    settings.CACHELAYERS = {
        **settings.CACHELAYERS,
        "TRACK": [*settings.CACHELAYERS["TRACK"], "auth"],
    }
    templates.write(page=templates.fragment("{{ request.user.first_name }}", "card"))

    def view() -> str:
        with unit_of_work():
            request = new_request(users[0])
            assert request.user.is_authenticated  # like login_required
            return templates.render_here("page", request)

    check_tracked(view, lambda: User.objects.update(first_name="Anna"), "", "Anna")


def test_permissions_that_were_looked_at_before_are_tracked(
    templates: Templates, new_request: NewRequest, users: list[User], settings: Settings
) -> None:
    settings.CACHELAYERS = {
        **settings.CACHELAYERS,
        "TRACK": [*settings.CACHELAYERS["TRACK"], "auth"],
    }
    permission = Permission.objects.get(codename="change_book")
    templates.write(page=templates.fragment("{{ perms.library.change_book }}", "card"))

    def view() -> str:
        with unit_of_work():
            request = new_request(users[0])
            request.user.has_perm("library.change_book")  # like permission_required
            return templates.render_here("page", request)

    check_tracked(view, lambda: users[0].user_permissions.add(permission), "False", "True")


# In which unit of work, and when


def test_what_was_read_where_there_is_no_unit_of_work_is_not_kept(
    templates: Templates, book: Book
) -> None:
    """In a thread or script of the site."""
    templates.write(page=templates.fragment("{{ given }}", "list"))

    def view() -> str:
        return templates.render_here("page", given=all_titles())

    check_tracked(view, rename, "Maps", "Atlas")


def test_what_was_read_before_a_unit_within_a_unit_is_tracked(
    templates: Templates, book: Book
) -> None:
    templates.write(page=templates.fragment("{{ given }}", "list"))

    def view() -> str:
        with unit_of_work():
            given = all_titles()
            return templates.render("page", given=given)

    check_tracked(view, rename, "Maps", "Atlas")


@pytest.mark.parametrize("depth", [1, 2])
def test_an_argument_that_was_read_before_a_unit_within_a_unit_is_not_kept_as_newer(
    templates: Templates, book: Book, depth: int
) -> None:
    """A command may read a row and render a page, which begins a unit of its own."""
    templates.write(page=templates.fragment("{{ given.title }}", "card", "given"))

    with unit_of_work():
        found = Book.objects.get()
        rename()
        with unit_of_work() if depth == 2 else nullcontext():
            shown = templates.render("page", given=found)

    assert shown == "Maps"
    assert view_of(templates, Book.objects.get)() == "Atlas"


def test_what_threads_of_the_view_have_read_is_tracked(templates: Templates, book: Book) -> None:
    templates.write(page=templates.fragment("{{ given }}", "list"))

    def read() -> str:
        def in_thread() -> str:
            try:
                return all_titles()
            finally:
                connections.close_all()

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(in_thread).result()

    check_tracked(view_of(templates, read), rename, "Maps", "Atlas")


def test_what_was_read_from_an_uncommitted_row_before_is_not_kept(
    templates: Templates, book: Book
) -> None:
    """The view has read it in a transaction that was rolled back before the template."""
    templates.write(page=templates.fragment("{{ given }}", "list"))

    def view() -> str:
        with unit_of_work():
            with transaction.atomic():
                Book.objects.update(title="Never")
                titles = all_titles()
                transaction.set_rollback(True)
            return templates.render_here("page", given=titles)

    view()

    assert templates.render("page", given="true again") == "true again"


@pytest.mark.parametrize("depth", [1, 2])
def test_an_argument_that_was_read_from_an_uncommitted_row_is_not_kept(
    templates: Templates, book: Book, depth: int
) -> None:
    templates.write(page=templates.fragment("{{ given.title }}", "card", "given"))

    with unit_of_work():
        with transaction.atomic():
            Book.objects.update(title="Never")
            found = Book.objects.get()
            transaction.set_rollback(True)
        with unit_of_work() if depth == 2 else nullcontext():
            assert templates.render_here("page", given=found) == "Never"

    assert view_of(templates, Book.objects.get)() == "Maps"


def test_a_write_between_the_view_s_read_and_the_template_is_not_overlooked(
    templates: Templates, book: Book
) -> None:
    templates.write(page=templates.fragment("{{ given }}", "list"))
    show_twice(templates, given="")
    invalidate("fragment:list")

    def read() -> str:
        found = all_titles()
        Book.objects.update(title="Atlas")  # another request, from the view of this one
        return found

    view_of(templates, read)()

    assert view_of(templates, all_titles)() == "Atlas"


# In recalls around the fragment


@pytest.mark.parametrize("depth", [1, 2])
def test_what_a_recall_around_it_has_read_is_tracked(
    templates: Templates, book: Book, depth: int
) -> None:
    """The outermost recall has read it, and the one around the fragment has not."""
    templates.write(page=templates.fragment("{{ given }}", "list"))

    def whole() -> str:
        given = all_titles()

        def render() -> str:
            return templates.render_here("page", given=given)

        return render() if depth == 1 else recall("within", render, timeout=0)

    def view() -> str:
        with unit_of_work():
            return recall("whole", whole, timeout=0)

    check_tracked(view, rename, "Maps", "Atlas")


def test_what_a_recall_gives_from_the_cache_is_tracked(templates: Templates, book: Book) -> None:
    templates.write(page=templates.fragment("{{ given }}", "list"))
    for _ in range(2):
        with unit_of_work():
            recall("titles", all_titles)

    check_tracked(view_of(templates, lambda: recall("titles", all_titles)), rename, "Maps", "Atlas")


def test_what_a_recall_has_read_that_nobody_else_may_see_is_not_kept(
    templates: Templates, book: Book
) -> None:
    """In a transaction that was rolled back since."""
    templates.write(page=templates.fragment("{{ given }}", "list"))
    with unit_of_work():
        all_titles()  # so that it has a position in the log
        with transaction.atomic():
            Book.objects.update(title="Never")
            titles = recall("titles", all_titles)
            transaction.set_rollback(True)
        assert templates.render_here("page", given=titles) == "Never"

    assert templates.render("page", given="true again") == "true again"


def test_a_fragment_above_that_was_just_shown_is_no_part_of_one_below(
    templates: Templates, book: Book, tick: Counter
) -> None:
    above = templates.fragment(templates.show("titles"), "above")
    below = templates.fragment(templates.show("tick") + "{{ given }}", "below", "number")
    templates.write(above=above, page=above + below)

    def shown(number: int) -> str:
        with unit_of_work():
            subjects = ", ".join(Subject.objects.values_list("word", flat=True))
            return templates.render_here(
                "page", given=subjects, number=number, titles=all_titles, tick=tick
            )

    for _ in range(2):
        shown(1)
    for _ in range(2):
        shown(2)  # the one above is a hit
    tick.since()
    rename()

    assert shown(2) == "Atlas"
    assert tick.since() == 0
