"""Promises that were found broken: what leaks first, then what goes stale, then what is wrong."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from datetime import timezone as fixed
from types import SimpleNamespace
from typing import Any

import django
import pytest
from django.contrib import messages
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.auth.models import User
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.template import Context, Engine, Template
from django.test import RequestFactory
from django.utils import timezone, translation
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext
from jinja2 import DictLoader, Environment
from pytest_django import Settings

from cachelayers import unit_of_work
from cachelayers.jinja import CacheLayersExtension
from tests.fragments.conftest import Counter
from tests.fragments.engines import LIBRARIES, DjangoTemplates, JinjaTemplates, Templates
from tests.library.models import Author, Book, Subject

NewRequest = Callable[..., Any]
BUILTINS = ["cachelayers.templatetags.cachelayers", "tests.fragments.finding_tags"]


def respond(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


@pytest.fixture
def new_request(rf: RequestFactory) -> NewRequest:
    """Return what makes a request as Django's middleware leaves it, of a user or of nobody."""

    def make(user: User | None = None) -> HttpRequest:
        request = rf.get("/")
        SessionMiddleware(respond).process_request(request)
        if user is not None:
            request.session["_auth_user_id"] = str(user.pk)
            request.session["_auth_user_backend"] = "django.contrib.auth.backends.ModelBackend"
            request.session["_auth_user_hash"] = user.get_session_auth_hash()
            request.session.save()
        AuthenticationMiddleware(respond).process_request(request)
        MessageMiddleware(respond).process_request(request)
        request.session.accessed = False
        return request

    return make


@pytest.fixture
def users() -> list[User]:
    User.objects.all().delete()
    return [User.objects.create_user(name) for name in ("ann", "bob")]


class WithTags(DjangoTemplates):
    """Django's engine, with the tags of the findings."""

    def _new_engine(self) -> Engine:
        loader = ("django.template.loaders.locmem.Loader", self.sources)
        return Engine(
            loaders=[("django.template.loaders.cached.Loader", [loader])],
            libraries=LIBRARIES,
            builtins=BUILTINS,
        )


class WithoutCachedLoader(DjangoTemplates):
    """Django's engine, which compiles a template each time that it is asked for."""

    def _new_engine(self) -> Engine:
        return Engine(
            loaders=[("django.template.loaders.locmem.Loader", self.sources)], builtins=BUILTINS
        )


# What leaks of a session


def test_leak_the_key_of_a_session(templates: Templates, new_request: NewRequest) -> None:
    """Django's sessions do not count a look at the key as one at the session."""
    templates.write(page=templates.fragment(templates.show("key"), "card"))

    for _ in range(2):
        request = new_request()
        request.session.create()
        request.session.accessed = False
        key = functools.partial(getattr, request.session, "session_key")
        assert templates.render("page", request, key=key) == request.session.session_key


@pytest.mark.parametrize("header", ["HTTP_COOKIE", "HTTP_AUTHORIZATION", "CSRF_COOKIE"])
def test_leak_a_secret_in_the_headers(
    templates: Templates, rf: RequestFactory, header: str
) -> None:
    templates.write(page=templates.fragment(f"{{{{ request.META.{header} }}}}", "card"))

    def shown(value: str) -> str:
        request: Any = rf.get("/")
        request.META[header] = value
        request._messages = []
        return templates.render("page", request)

    assert [shown("one"), shown("other")] == ["one", "other"]


# What leaks of a token


def test_leak_a_token_in_a_macro_that_was_imported(new_request: NewRequest) -> None:
    """Without the context: the request is not known there, and the token is a parameter."""
    templates = JinjaTemplates()
    templates.write(
        macros="{% macro form(csrf_input) %}"
        + templates.fragment("<form>{{ csrf_input }}</form>", "form")
        + "{% endmacro %}",
        page='{% from "macros.html" import form %}{{ form(csrf_input) }}',
    )

    shown = [templates.render("page", new_request()) for _ in range(2)]

    assert "csrfmiddlewaretoken" in shown[0]
    assert shown[0] != shown[1]


def test_leak_the_session_of_a_request_that_a_macro_was_given(new_request: NewRequest) -> None:
    templates = JinjaTemplates()
    templates.write(
        macros="{% macro card(request) %}"
        + templates.fragment("{{ request.session.get('basket') }}", "card")
        + "{% endmacro %}",
        page='{% from "macros.html" import card %}{{ card(request) }}',
    )

    def shown(basket: str) -> str:
        request = new_request()
        request.session["basket"] = basket
        return templates.render("page", request)

    assert [shown("one"), shown("other")] == ["one", "other"]


def test_leak_the_user_of_a_request_that_a_macro_was_given(
    new_request: NewRequest, users: list[User]
) -> None:
    templates = JinjaTemplates()
    templates.write(
        macros="{% macro card(request) %}"
        + templates.fragment("{{ request.user.username }}", "card")
        + "{% endmacro %}",
        page='{% from "macros.html" import card %}{{ card(request) }}',
    )

    shown = [templates.render("page", new_request(user)) for user in users]

    assert shown == ["ann", "bob"]


def test_leak_a_token_under_another_name(templates: Templates, new_request: NewRequest) -> None:
    """As a view gives one to the script of its page."""
    templates.write(page=templates.fragment("{{ token }}", "script"))

    def shown(request: HttpRequest) -> str:
        return templates.render("page", request, token=get_token(request))

    assert shown(new_request()) != shown(new_request())


def test_leak_a_token_that_was_made_above_and_has_another_name_below(
    new_request: NewRequest,
) -> None:
    templates = DjangoTemplates()
    templates.write(
        page='{{ csrf_token }},{% include "form.html" with token=csrf_token only %}',
        form=templates.fragment("{{ token }}", "form"),
    )

    for _ in range(2):
        above, below = templates.render("page", new_request()).split(",")
        assert above == below


@pytest.mark.parametrize("text_filter", ["lower", "escapejs"])
def test_leak_a_secret_that_was_made_above_and_is_written_otherwise_below(
    new_request: NewRequest, text_filter: str
) -> None:
    templates = DjangoTemplates()
    body = f"{{{{ csp_nonce|{text_filter} }}}}"
    templates.write(page="{{ csp_nonce }}," + templates.fragment(body, "script"))
    shown = []
    for number in range(2):
        nonce = SimpleLazyObject(functools.partial("NONCE{:016}==".format, number))
        request = new_request()
        request.csp_nonce = nonce
        shown.append(templates.render("page", request, csp_nonce=nonce).partition(",")[2])

    assert shown[0] != shown[1]


# What leaks of requests that wrap another one, as those of REST framework do


class Wrapped:
    """Passes everything on, as rest_framework.request.Request does."""

    def __init__(self, request: HttpRequest, user: Any = None) -> None:
        self._request = request
        self._user = user

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)

    @property
    def user(self) -> Any:
        return self._user

    @user.setter
    def user(self, value: Any) -> None:
        self._user = value
        self._request.user = value


def test_leak_a_nonce_of_a_request_that_is_wrapped(
    templates: Templates, new_request: NewRequest
) -> None:
    body = "{{ request.csp_nonce }}"
    templates.write(page=f"{body}," + templates.fragment(body, "script"))

    for number in range(2):
        request = new_request()
        request.csp_nonce = f"nonce-{number:032}"
        wrapped: Any = Wrapped(request)
        above, below = templates.render("page", wrapped).split(",")
        assert above == below


def test_leak_the_user_of_a_view_s_request(
    templates: Templates, new_request: NewRequest, users: list[User]
) -> None:
    """The context has the request that the view's own one wraps."""
    templates.write(page=templates.fragment("{{ view.request.user.username }}", "card"))

    def shown(user: User) -> str:
        request = new_request()
        view = SimpleNamespace(request=Wrapped(request, user))
        return templates.render("page", request, view=view)

    assert [shown(user) for user in users] == ["ann", "bob"]


def test_leak_the_session_of_a_view_whose_template_knows_no_request(
    templates: Templates, new_request: NewRequest
) -> None:
    """As render_to_string(name, {"view": self}) leaves it."""
    lookup = "{{ view.request.session.basket }}"
    templates.write(page=templates.fragment(lookup, "card"))

    def shown(basket: str) -> str:
        request = new_request()
        request.session["basket"] = basket
        return templates.render("page", view=SimpleNamespace(request=request))

    assert [shown("one"), shown("other")] == ["one", "other"]


# What leaks of a user


def test_leak_a_plain_user_under_another_name(
    templates: Templates, rf: RequestFactory, users: list[User]
) -> None:
    templates.write(page=templates.fragment("{{ me.username }}", "card"))

    def shown(user: User) -> str:
        request: Any = rf.get("/")
        request.user = user
        request._messages = []
        return templates.render("page", request, me=user)

    assert [shown(user) for user in users] == ["ann", "bob"]


def test_leak_a_plain_user_that_a_macro_asks_for(rf: RequestFactory, users: list[User]) -> None:
    templates = JinjaTemplates()
    templates.write(
        page="{% macro show() %}{{ user.username }}{% endmacro %}"
        + templates.fragment("{{ show() }}", "card")
    )

    def shown(user: User) -> str:
        request: Any = rf.get("/")
        request.user = user
        request._messages = []
        return templates.render("page", request)

    assert [shown(user) for user in users] == ["ann", "bob"]


def test_leak_messages_that_a_macro_asks_for(new_request: NewRequest) -> None:
    templates = JinjaTemplates()
    templates.write(
        page="{% macro flash() %}{% for m in messages %}{{ m }}{% endfor %}{% endmacro %}"
        "{% if messages|length %}{% endif %}" + templates.fragment("{{ flash() }}", "card")
    )

    def shown(text: str) -> str:
        request = new_request()
        messages.info(request, text)
        return templates.render("page", request)

    assert [shown("one"), shown("other")] == ["one", "other"]


def test_leak_messages_under_another_name(templates: Templates, new_request: NewRequest) -> None:
    body = templates.loop("one", "notes", "{{ one }}")
    templates.write(page="{{ notes|length }}" + templates.fragment(body, "card"))

    def shown(text: str) -> str:
        request = new_request()
        messages.info(request, text)
        return templates.render("page", request, notes=messages.get_messages(request))

    assert [shown("one"), shown("other")] == ["1one", "1other"]


def test_leak_users_of_two_databases_with_one_key(
    templates: Templates, rf: RequestFactory, users: list[User]
) -> None:
    templates.write(page=templates.fragment("{{ request.user.username }}", "card"))

    def shown(database: str, name: str) -> str:
        request: Any = rf.get("/")
        request.user = User(pk=1, username=name)
        request.user._state.db = database
        request._messages = []
        return templates.render("page", request)

    assert [shown("default", "ann"), shown("other", "bob")] == ["ann", "bob"]


def test_leak_what_a_user_typed_into_a_form_that_was_refused(
    templates: Templates, rf: RequestFactory, book: Book
) -> None:
    """Django's forms write it into the instance before they look at whether all is right."""
    templates.write(page=templates.fragment("{{ given.title }}", "card", "given"))

    def refuse() -> str:
        request: Any = rf.post("/")
        request._messages = []
        with unit_of_work():
            found = Book.objects.get()
            found.title = "typed in"
            return templates.render_here("page", request, given=found)

    assert [refuse() for _ in range(2)] == ["typed in"] * 2
    assert view_of(templates, Book.objects.get)() == "Maps"


# What leaks of a language and a time zone


@pytest.mark.parametrize("name", ["LANGUAGE_CODE", "request.LANGUAGE_CODE", "LANGUAGE_BIDI"])
def test_leak_the_language_that_a_name_holds(
    templates: Templates, rf: RequestFactory, name: str
) -> None:
    """As the context processor and LocaleMiddleware put it there."""
    templates.write(page=templates.fragment(f"{{{{ {name} }}}}", "card"))

    def shown(language: str) -> str:
        with translation.override(language):
            request: Any = rf.get("/")
            request.LANGUAGE_CODE = language
            request._messages = []
            return templates.render(
                "page",
                request,
                LANGUAGE_CODE=language,
                LANGUAGE_BIDI=translation.get_language_bidi(),
            )

    assert shown("en") != shown("ar")


def test_leak_the_time_zone_that_a_name_holds(templates: Templates) -> None:
    templates.write(page=templates.fragment("{{ TIME_ZONE }}", "card"))
    shown = []
    for zone in ("UTC", "Asia/Tokyo"):
        with timezone.override(zone):
            given: dict[str, Any] = {"TIME_ZONE": zone}
            shown.append(templates.render("page", **given))

    assert shown == ["UTC", "Asia/Tokyo"]


def test_leak_time_zones_of_one_name(templates: Templates) -> None:
    templates.write(page=templates.fragment(templates.show("hour"), "card"))
    now = timezone.now().replace(hour=12)
    shown = []
    for hours in (0, 2):
        with timezone.override(fixed(timedelta(hours=hours), "local")):
            shown.append(templates.render("page", hour=lambda: str(timezone.localtime(now).hour)))

    assert shown == ["12", "14"]


def test_leak_a_block_that_changes_the_language_is_kept_for_the_one_it_began_with(
    templates: Templates,
) -> None:
    templates.write(
        page=templates.fragment(templates.show("word") + templates.show("german"), "card")
    )

    def german() -> str:
        translation.activate("de")
        return ""

    def shown(language: str) -> str:
        with translation.override(language):
            return templates.render("page", word=lambda: gettext("Yes"), german=german)

    assert [shown("en"), shown("de")] == ["Yes", "Ja"]


# What leaks for it is not escaped


@pytest.mark.parametrize("tag_filter", ["force_escape", "striptags", "linebreaks"])
def test_leak_what_a_filter_around_a_hole_would_have_made_harmless(tag_filter: str) -> None:
    templates = DjangoTemplates()
    inner = f"{{% filter {tag_filter} %}}{{}}{{% endfilter %}}"
    body = "{% autoescape off %}{{ text }}{% endautoescape %}"
    templates.write(
        plain=inner.replace("{}", body),
        page=templates.fragment(inner.replace("{}", templates.uncached(body)), "card"),
    )
    text = "<script>\n\n1</script>"

    shown = [templates.render("page", text=text) for _ in range(2)]

    assert shown == [templates.render("plain", text=text)] * 2


def test_leak_what_a_filter_around_a_hole_would_have_made_harmless_in_jinja() -> None:
    templates = JinjaTemplates()
    body = templates.uncached("{{ text|safe }}")
    templates.write(
        page=templates.fragment("{% filter striptags %}" + body + "{% endfilter %}", "card")
    )

    assert templates.render("page", text="<script>1</script>") == "1"


@pytest.mark.parametrize(("outer", "inner"), [("off", "on"), ("on", "off")])
def test_leak_a_hole_is_escaped_as_it_is_written(outer: str, inner: str) -> None:
    templates = DjangoTemplates()
    hole = templates.uncached("{{ text }}")
    body = f"{{% autoescape {inner} %}}{hole}{{% endautoescape %}}"
    templates.write(
        page=f"{{% autoescape {outer} %}}{templates.fragment(body, 'card')}{{% endautoescape %}}"
    )

    shown = [templates.render("page", text="<b>") for _ in range(2)]

    assert shown == ["&lt;b&gt;" if inner == "on" else "<b>"] * 2


@pytest.mark.parametrize(("outer", "inner"), [("false", "true"), ("true", "false")])
def test_leak_a_hole_is_escaped_as_it_is_written_in_jinja(outer: str, inner: str) -> None:
    templates = JinjaTemplates()
    hole = templates.uncached("{{ text }}")
    body = f"{{% autoescape {inner} %}}{hole}{{% endautoescape %}}"
    templates.write(
        page=f"{{% autoescape {outer} %}}{templates.fragment(body, 'card')}{{% endautoescape %}}"
    )

    shown = [templates.render("page", text="<b>") for _ in range(2)]

    assert shown == ["&lt;b&gt;" if inner == "true" else "<b>"] * 2


# What outlives its data


def all_titles() -> str:
    return ", ".join(Book.objects.order_by("title").values_list("title", flat=True))


def view_of(
    templates: Templates, read: Callable[[], Any], name: str = "given"
) -> Callable[[], str]:
    """Return a view: its reads and its template are of one unit of work."""

    def view() -> str:
        with unit_of_work():
            return templates.render_here("page", **{name: read()})

    return view


def check_noticed(
    view: Callable[[], str], change: Callable[[], Any], before: str, after: str
) -> None:
    """See a view show what there is, and after a change what there is then."""
    assert [view(), view()] == [before] * 2

    change()

    assert view() == after


def rename() -> None:
    Book.objects.update(title="Atlas")


def test_stale_an_argument_that_is_told_by_its_text(templates: Templates, book: Book) -> None:
    """The text of a page of a list says nothing of the rows on it."""
    body = templates.loop("book", "given", "{{ book.title }}")
    templates.write(page=templates.fragment(body, "list", "given"))

    view = view_of(templates, lambda: Paginator(list(Book.objects.order_by("pk")), 10).page(1))
    check_noticed(view, rename, "Maps", "Atlas")


@pytest.mark.parametrize(
    ("wrap", "lookup"),
    [
        (lambda book: {"book": book}, "given.book.title"),
        (lambda book: [(book, 3)], "given.0.0.title"),
    ],
    ids=["dict", "list of tuples"],
)
def test_stale_an_instance_deep_in_an_argument(
    templates: Templates, book: Book, wrap: Callable[[Book], Any], lookup: str
) -> None:
    if isinstance(templates, JinjaTemplates):
        lookup = lookup.replace("given.0.0", "given[0][0]")
    templates.write(page=templates.fragment(f"{{{{ {lookup} }}}}", "card", "given"))

    check_noticed(view_of(templates, lambda: wrap(Book.objects.get())), rename, "Maps", "Atlas")


def test_stale_an_instance_whose_key_is_a_number_among_the_arguments(
    templates: Templates, author: Author
) -> None:
    """Which row is featured is read too; that its key is the number of a page is chance."""
    first = Book.objects.create(pk=1, title="One", author=author)
    Book.objects.create(pk=2, title="Two", author=author)
    subject = Subject.objects.create(word="1")
    templates.write(page=templates.fragment("{{ given.title }}", "featured", "1"))

    def featured() -> Book:
        return Book.objects.get(pk=int(Subject.objects.get().pk))

    def feature_the_other() -> None:
        subject.delete()
        Subject.objects.create(word="2")

    assert first.pk == 1
    check_noticed(view_of(templates, featured), feature_the_other, "One", "Two")


def test_stale_a_query_whose_condition_was_read_before(
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

    check_noticed(view_of(templates, chosen), choose_the_other, "One", "Two")


def test_stale_a_related_manager_of_a_row_that_was_read_before(templates: Templates) -> None:
    for name, shelf in (("Ann", "One"), ("Bea", "Two")):
        Book.objects.create(title=shelf, author=Author.objects.create(name=name))
    call = "" if isinstance(templates, DjangoTemplates) else "()"
    body = templates.loop("book", f"given.all{call}", "{{ book.title }}")
    templates.write(page=templates.fragment(body, "list"))

    def swap() -> None:
        Author.objects.filter(name="Ann").update(name="Cid")
        Author.objects.filter(name="Bea").update(name="Ann")

    view = view_of(templates, lambda: Author.objects.get(name="Ann").books)
    check_noticed(view, swap, "One", "Two")


def test_stale_a_function_whose_default_was_read_before(templates: Templates, book: Book) -> None:
    templates.write(page=templates.fragment(templates.show("given"), "list"))

    def read() -> Callable[[], str]:
        found = all_titles()

        def titles(found: str = found) -> str:
            return found

        return titles

    check_noticed(view_of(templates, read), rename, "Maps", "Atlas")


@pytest.mark.parametrize("name", ["block", "debug", "forloop", "user", "perms"])
def test_stale_a_value_under_a_name_that_django_uses_too(
    templates: Templates, book: Book, name: str
) -> None:
    """As editors of content call their blocks, and forums their messages."""
    templates.write(page=templates.fragment(f"{{{{ {name}.title }}}}", "card"))

    view = view_of(templates, lambda: {"title": all_titles(), "pk": 1}, name)
    if name == "user":
        view = view_of(templates, lambda: SimpleNamespace(title=all_titles(), pk=1), name)
    check_noticed(view, rename, "Maps", "Atlas")


def test_stale_a_row_that_the_request_holds(
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

    check_noticed(view, rename, "Maps", "Atlas")


def test_stale_the_row_of_a_user_who_was_found_before(
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
            assert request.user.is_authenticated  # as login_required asks
            return templates.render_here("page", request)

    check_noticed(view, lambda: User.objects.update(first_name="Anna"), "", "Anna")


def test_stale_permissions_that_were_looked_at_before(
    templates: Templates, new_request: NewRequest, users: list[User], settings: Settings
) -> None:
    settings.CACHELAYERS = {
        **settings.CACHELAYERS,
        "TRACK": [*settings.CACHELAYERS["TRACK"], "auth"],
    }
    from django.contrib.auth.models import Permission

    permission = Permission.objects.get(codename="change_book")
    templates.write(page=templates.fragment("{{ perms.library.change_book }}", "card"))

    def view() -> str:
        with unit_of_work():
            request = new_request(users[0])
            request.user.has_perm("library.change_book")  # as permission_required asks
            return templates.render_here("page", request)

    check_noticed(view, lambda: users[0].user_permissions.add(permission), "False", "True")


def test_stale_what_the_place_in_a_loop_says_of_the_rest() -> None:
    templates = DjangoTemplates()
    row = "{{ book.title }}{% if not forloop.last %}, {% endif %}"
    templates.write(page=templates.loop("book", "books", templates.fragment(row, "row", "book.pk")))
    author = Author.objects.create(name="Ann")
    Book.objects.create(title="One", author=author)

    def view() -> str:
        with unit_of_work():
            return templates.render_here("page", books=list(Book.objects.order_by("pk")))

    check_noticed(view, lambda: Book.objects.create(title="Two", author=author), "One", "One, Two")


def test_stale_what_was_read_before_where_there_is_no_unit(
    templates: Templates, book: Book
) -> None:
    """In a thread or script of the site's own."""
    templates.write(page=templates.fragment("{{ given }}", "list"))

    def view() -> str:
        return templates.render_here("page", given=all_titles())

    check_noticed(view, rename, "Maps", "Atlas")


def test_stale_what_was_read_before_a_unit_within_a_unit(templates: Templates, book: Book) -> None:
    templates.write(page=templates.fragment("{{ given }}", "list"))

    def view() -> str:
        with unit_of_work():
            given = all_titles()
            return templates.render("page", given=given)

    check_noticed(view, rename, "Maps", "Atlas")


def test_stale_what_threads_of_the_view_have_read(templates: Templates, book: Book) -> None:
    templates.write(page=templates.fragment("{{ given }}", "list"))

    def read() -> str:
        from django.db import connections

        def in_thread() -> str:
            try:
                return all_titles()
            finally:
                connections.close_all()

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(in_thread).result()

    check_noticed(view_of(templates, read), rename, "Maps", "Atlas")


# What outlives its template


def test_stale_a_template_that_is_included_as_an_object(templates: Templates) -> None:
    templates.write(page=templates.fragment("{% include given %}", "card"), one="old")

    def shown() -> str:
        found: Any = (
            templates.engine.get_template("one.html")
            if isinstance(templates, DjangoTemplates)
            else templates.environment.get_template("one.html")  # type: ignore[attr-defined]
        )
        return templates.render("page", given=found)

    before = [shown(), shown()]
    templates.write(one="new")

    assert before == ["old", "old"]
    assert shown() == "new"


def test_stale_a_template_between_the_tag_s_and_the_one_that_is_rendered() -> None:
    templates = JinjaTemplates()
    texts = {
        "base": templates.fragment("{% block main %}{% endblock %}", "card"),
        "middle": '{% extends "base.html" %}{% block main %}old{% endblock %}',
        "page": "{% extends parent %}",
    }
    templates.write(**texts)
    before = templates.render("page", parent="middle.html")

    templates.write(middle=texts["middle"].replace("old", "new"))

    assert (before, templates.render("page", parent="middle.html")) == ("old", "new")


def test_stale_an_inclusion_tag_s_template_in_a_block_that_is_overridden() -> None:
    """A tag keeps the template it has found until the page is done: a second fragment misses it."""
    templates = WithTags()
    templates.write(
        base="{% for n in numbers %}"
        + templates.fragment("{% block row %}{% endblock %}", "row", "n")
        + "{% endfor %}",
        page='{% extends "base.html" %}{% block row %}{% show_item %}{% endblock %}',
        item="old",
    )
    before = templates.render("page", numbers=[1, 2])

    templates.write(item="new")

    assert (before, templates.render("page", numbers=[1, 2])) == ("oldold", "newnew")


def test_stale_a_template_that_no_loader_keeps() -> None:
    """A loader of templates in a table, say, beside one that is cached."""
    cached: dict[str, str] = {}
    source: dict[str, str] = {"part.html": "old"}
    locmem = "django.template.loaders.locmem.Loader"
    cached["page.html"] = '{% fragment "card" %}{% include "part.html" %}{% endfragment %}'
    engine = Engine(
        loaders=[("django.template.loaders.cached.Loader", [(locmem, cached)]), (locmem, source)],
        builtins=BUILTINS,
    )

    def shown() -> str:
        with unit_of_work():
            return engine.get_template("page.html").render(Context())

    before = [shown(), shown()]
    source["part.html"] = "new"

    assert before == ["old", "old"]
    assert shown() == "new"


@pytest.mark.skipif(django.VERSION < (6, 0), reason="partials came with Django 6.0")
def test_stale_partials_of_templates_made_from_strings_are_told_apart() -> None:
    def shown(text: str) -> str:
        source = (
            "{% load cachelayers %}{% partialdef row %}" + text + "{% endpartialdef %}"
            '{% fragment "card" %}{% partial row %}{% endfragment %}'
        )
        with unit_of_work():
            return Template(source).render(Context())

    assert [shown("one"), shown("other")] == ["one", "other"]


# What is not as it would be without the tag


def test_wrong_a_fragment_in_jinja_outside_of_the_blocks_of_a_template_that_extends() -> None:
    templates = JinjaTemplates()
    templates.write(
        base="<{% block main %}{% endblock %}>",
        page='{% extends "base.html" %}'
        + templates.fragment("lost", "card")
        + "{% block main %}x{% endblock %}",
    )

    assert templates.render("page") == "<x>"


def test_wrong_a_template_from_a_string_that_extends_the_one_with_the_tag() -> None:
    templates = DjangoTemplates()
    templates.write(base=templates.fragment("{% block main %}{% endblock %}", "card"))

    def shown(text: str) -> str:
        source = '{% extends "base.html" %}{% block main %}' + text + "{% endblock %}"
        with unit_of_work():
            return templates.engine.from_string(source).render(Context())

    assert [shown("one"), shown("other")] == ["one", "other"]


@pytest.mark.parametrize(
    "tag_filter",
    ["urlencode", "escapejs", 'cut:";"'],
)
def test_wrong_a_filter_around_a_hole_that_takes_the_mark_apart(tag_filter: str) -> None:
    templates = DjangoTemplates()
    source = "{% filter FILTER %}abc{}{{ text }}{% endfilter %}".replace("FILTER", tag_filter)
    templates.write(
        page=templates.fragment(source.replace("{}", templates.uncached("xyz")), "card"),
        plain=source.replace("{}", "xyz"),
    )
    text = "some more text that is longer than the mark which stands for a hole, to be cut"

    shown = [templates.render("page", text=text) for _ in range(2)]

    assert shown == [templates.render("plain", text=text)] * 2


def test_wrong_a_hole_in_a_template_that_no_loader_keeps() -> None:
    templates = WithoutCachedLoader()
    templates.write(
        page=templates.fragment('{% include "part.html" %}', "card"),
        part=templates.uncached("x"),
    )

    assert [templates.render("page") for _ in range(2)] == ["x", "x"]


def test_wrong_holes_of_two_templates_with_one_name(tmp_path: Any) -> None:
    """One that extends the one of its own name which it stands in front of."""
    for folder, text in {
        "site": '{% extends "page.html" %}{% block main %}{% uncached %}site{% enduncached %}'
        "{{ block.super }}{% endblock %}",
        "library": "{% block main %}{% uncached %}library{% enduncached %}{% endblock %}",
    }.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "page.html").write_text(text)
    (tmp_path / "site" / "index.html").write_text(
        '{% fragment "card" %}{% include "page.html" %}{% endfragment %}'
    )
    engine = Engine(
        dirs=[str(tmp_path / folder) for folder in ("site", "library")], builtins=BUILTINS
    )

    def shown() -> str:
        with unit_of_work():
            return engine.get_template("index.html").render(Context())

    assert [shown(), shown()] == ["sitelibrary"] * 2


def test_wrong_a_hole_in_a_template_of_another_engine(templates: Templates) -> None:
    other = DjangoTemplates()
    other.write(part=other.uncached("x"))
    templates.write(page=templates.fragment(templates.show("part"), "card"))

    def part() -> str:
        return other.engine.get_template("part.html").render(Context())

    assert [templates.render("page", part=part) for _ in range(2)] == ["x", "x"]


def test_wrong_an_overlay_of_a_jinja_environment() -> None:
    environment = Environment(
        loader=DictLoader(
            {"page.html": '{% fragment "card" %}x{% endfragment %}', "mail.txt": "{{ text }}"}
        ),
        autoescape=True,
        extensions=[CacheLayersExtension],
    )
    with unit_of_work():
        environment.get_template("page.html").render()

    overlay = environment.overlay(autoescape=False)

    assert overlay.get_template("mail.txt").render(text="<b>") == "<b>"


def test_wrong_a_user_that_jinja_does_not_know(new_request: NewRequest, users: list[User]) -> None:
    templates = JinjaTemplates()
    body = "{% if user %}{{ user.username }}{% endif %}{{ request.user.username }}"
    templates.write(page=templates.fragment(body, "card"))

    def shown(user: User) -> str:
        with unit_of_work():
            template = templates.environment.get_template("page.html")
            return template.render(request=new_request(user))

    assert [shown(user) for user in users] == ["ann", "bob"]


@pytest.mark.parametrize(
    ("macro", "use"),
    [
        ("{% macro card() %}{}{% endmacro %}", "{% call card() %}x{% endcall %}"),
        ("{% macro card() %}{}{% endmacro %}", "{{ card(1, 2) }}"),
        ("{% macro card() %}{}{% endmacro %}", "{{ card(a=1) }}"),
    ],
    ids=["caller", "varargs", "kwargs"],
)
def test_wrong_what_a_macro_was_given_besides_its_parameters(
    macro: str, use: str, request: pytest.FixtureRequest
) -> None:
    templates = JinjaTemplates()
    body = {
        "caller": "{{ caller() }}",
        "varargs": "{{ varargs|join }}",
        "kwargs": "{{ kwargs.a }}",
    }[request.node.callspec.id]
    templates.write(
        plain=macro.replace("{}", body) + use,
        page=macro.replace("{}", templates.fragment(body, "card")) + use,
    )

    assert templates.render("page") == templates.render("plain")


def test_wrong_a_block_is_rendered_twice(templates: Templates) -> None:
    """What can be read once only, such as a generator, is lost then."""
    body = "{{ user.name }}" + templates.loop("number", "numbers", "{{ number }}")
    templates.write(page=templates.fragment(body, "card"))
    user = SimpleNamespace(name="ann")

    shown = [templates.render("page", user=user, numbers=iter([1, 2])) for _ in range(2)]

    assert shown == ["ann12", "ann12"]


def test_wrong_a_block_with_a_changed_hole_is_rendered_twice(
    templates: Templates, tick: Counter
) -> None:
    body = "{% filter upper %}" + templates.show("tick") + templates.uncached("x")
    templates.write(page=templates.fragment(body + "{% endfilter %}", "card"))

    assert templates.render("page", tick=tick) == "X"
    assert tick.since() == 1


def test_wrong_what_is_set_within_a_secret_block_stays_within_each_time(
    new_request: NewRequest,
) -> None:
    templates = DjangoTemplates()
    body = "{% if csrf_token %}{{ csrf_token }}{% endif %}{% firstof 'set' as word %}"
    templates.write(page=templates.fragment(body, "card") + ",{{ word }}")

    shown = [templates.render("page", new_request()).partition(",")[2] for _ in range(3)]

    assert len(set(shown)) == 1


def test_wrong_an_include_in_jinja_is_kept_though_the_context_has_messages(
    new_request: NewRequest, tick: Counter
) -> None:
    """Nothing asks for them."""
    templates = JinjaTemplates()
    templates.write(
        page=templates.fragment('{{ tick() }}{% include "part.html" %}', "card"), part="x"
    )

    for _ in range(3):
        templates.render("page", new_request(), tick=tick)

    assert tick.since() == 1


def test_wrong_a_list_that_is_called_messages_is_kept(templates: Templates, tick: Counter) -> None:
    body = templates.show("tick") + templates.loop("one", "messages", "{{ one }}")
    templates.write(page=templates.fragment(body, "card"))

    for _ in range(2):
        templates.render("page", tick=tick, messages=["a", "b"])

    assert tick.since() == 1


def test_wrong_memory_grows_with_templates_made_from_strings() -> None:
    environment = Environment(extensions=[CacheLayersExtension])
    [extension] = environment.extensions.values()

    for number in range(3_000):
        source = f'{{% fragment "card" timeout=0 %}}{number}{{% endfragment %}}'
        with unit_of_work():
            environment.from_string(source).render()

    assert len(extension._tags) < 2_000  # type: ignore[attr-defined]
