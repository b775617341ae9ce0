"""A fragment for one user is never shown to another, however the block gets the user."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.context_processors import PermWrapper
from django.contrib.auth.models import AnonymousUser, User
from django.core.handlers.wsgi import WSGIRequest
from django.template import Context
from django.test import RequestFactory
from django.utils.functional import SimpleLazyObject

from cachelayers import unit_of_work
from tests.fragments.conftest import Counter, NewRequest
from tests.fragments.engines import DjangoTemplates, JinjaTemplates, Templates
from tests.fragments.views import Wrapped, counted
from tests.library.models import Author


@pytest.mark.parametrize(
    "body",
    [
        "{{ user.username }}",
        "{{ request.user.username }}",
        "{{ request.user }}",
        "{% if user.is_authenticated %}{{ user.username }}{% endif %}",
    ],
)
def test_two_users_never_see_each_other_s(
    templates: Templates, new_request: NewRequest, tick: Counter, users: list[User], body: str
) -> None:
    templates.write(page=counted(templates, body))

    shown = [templates.render("page", new_request(user), tick=tick) for user in users * 2]

    assert shown == ["ann", "bob", "ann", "bob"]
    assert tick.since() == 2


def test_those_who_are_not_logged_in_share_one(
    templates: Templates, new_request: NewRequest, tick: Counter, users: list[User]
) -> None:
    templates.write(page=counted(templates, "{{ user.is_authenticated }}"))
    whose = [None, users[0], None, users[0]]

    shown = [templates.render("page", new_request(user), tick=tick) for user in whose]

    assert shown == ["False", "True"] * 2
    assert tick.since() == 2


def test_a_block_without_a_user_is_shared_by_all(
    templates: Templates, new_request: NewRequest, tick: Counter, users: list[User]
) -> None:
    block = counted(templates, "{% if nothing %}{% endif %}x")
    templates.write(page="{{ user.username }}" + block + "{{ user.username }}")
    given: dict[str, Any] = {"tick": tick, "nothing": None}

    shown = [templates.render("page", new_request(user), **given) for user in users]

    assert shown == ["annxann", "bobxbob"]
    assert tick.since() == 1


def test_a_block_without_a_user_does_not_find_out_who_that_is(
    templates: Templates, new_request: NewRequest, tick: Counter
) -> None:
    """That reads the session, and the response would vary by the cookie."""
    templates.write(page=counted(templates))
    request = new_request()

    templates.render("page", request, tick=tick)

    assert not request.session.accessed


def test_a_user_who_is_not_found_in_the_session_leaves_it_alone(
    templates: Templates, new_request: NewRequest, users: list[User]
) -> None:
    templates.write(page=templates.fragment("{{ request.user.username }}", "card"))
    request = new_request()
    request.user = SimpleLazyObject(lambda: users[0])

    assert templates.render("page", request) == "ann"
    assert not request.session.accessed


def test_a_user_that_only_a_branch_asks_for_is_in_the_key_from_then_on(
    templates: Templates, new_request: NewRequest, users: list[User]
) -> None:
    body = "{% if number == 2 %}{{ user.username }}{% else %}x{% endif %}"
    templates.write(page=templates.fragment(body, "card", "number"))
    visits = [(number, user) for number in (1, 2, 1, 2) for user in users]

    shown = [templates.render("page", new_request(user), number=number) for number, user in visits]

    assert shown == ["x", "x", "ann", "bob"] * 2


def test_another_process_finds_the_way_by_the_variant_marker(
    templates: Templates, new_request: NewRequest, tick: Counter, users: list[User]
) -> None:
    """The tag is compiled again, and has learned nothing yet."""
    templates.write(page=counted(templates, "{{ user.username }}"))
    for user in users:
        templates.render("page", new_request(user), tick=tick)
    templates.write()

    shown = [templates.render("page", new_request(user), tick=tick) for user in users]

    assert shown == ["ann", "bob"]
    assert tick.since() == 2


def test_permissions_are_the_user_s(
    templates: Templates, new_request: NewRequest, users: list[User]
) -> None:
    User.objects.filter(pk=users[0].pk).update(is_superuser=True)
    templates.write(page=templates.fragment("{{ perms.library.change_book }}", "card"))

    shown = [templates.render("page", new_request(user)) for user in users * 2]

    assert shown == ["True", "False"] * 2


def test_a_user_in_an_inner_fragment_is_in_the_outer_one_s_key_on_a_hit_too(
    templates: Templates, new_request: NewRequest, users: list[User]
) -> None:
    inner = templates.fragment("{{ user.username }}", "inner")
    templates.write(page=templates.fragment(inner, "outer", "number"))
    for user in users:
        templates.render("page", new_request(user), number=1)

    shown = [templates.render("page", new_request(user), number=2) for user in users * 2]

    assert shown == ["ann", "bob"] * 2


@pytest.mark.parametrize("is_list", [False, True])
def test_a_fragment_that_finds_a_user_s_one_within_it_is_the_user_s_too(
    templates: Templates, users: list[User], is_list: bool
) -> None:
    """By a process that knows neither key, and without a request whose user could be observed."""
    body = "{{ user.username }};"
    rows = templates.fragments(body, "row", "n in numbers")
    inner = rows if is_list else templates.fragment(body, "inner")
    templates.write(page=templates.fragment(inner, "outer", "number"))
    for user in users:
        templates.render("page", user=user, number=1, numbers=[1])
    templates.write()

    shown = [templates.render("page", user=user, number=2, numbers=[1]) for user in users * 2]

    assert shown == ["ann;", "bob;"] * 2


@pytest.mark.parametrize("is_list", [False, True])
def test_a_fragment_around_a_user_s_one_that_other_pages_show_too_is_the_user_s(
    templates: Templates, new_request: NewRequest, users: list[User], is_list: bool
) -> None:
    """This process knows the key of the inner one, but not of the outer one."""
    body = "{{ user.username }}"
    templates.write(
        part=templates.fragments(body, "row", "n in numbers")
        if is_list
        else templates.fragment(body, "name"),
        page='{% include "part.html" %}',
        outer=templates.fragment('{% include "part.html" %}', "outer"),
    )
    for user in users * 2:
        templates.render("page", new_request(user), numbers=[1])

    shown = [templates.render("outer", new_request(user), numbers=[1]) for user in users * 2]

    assert shown == ["ann", "bob"] * 2


def test_a_log_in_while_it_is_rendered_is_kept(
    templates: Templates, new_request: NewRequest, users: list[User]
) -> None:
    request = new_request()

    def log_in() -> str:
        request.user = users[0]
        return "in"

    templates.write(page=templates.fragment(templates.show("log_in"), "card"))
    templates.render("page", request, log_in=log_in)

    assert request.user == users[0]


def test_the_response_varies_by_the_session_that_the_user_was_found_in(
    templates: Templates, new_request: NewRequest, users: list[User]
) -> None:
    templates.write(page=templates.fragment("{{ user.username }}", "card"))

    for _ in range(2):  # rendered, and served
        request = new_request(users[0])
        templates.render("page", request)
        assert request.session.accessed is True


# Users that are not lazy objects of a request


def test_a_user_that_is_no_lazy_object_is_in_the_key_too(
    templates: Templates, rf: RequestFactory, users: list[User]
) -> None:
    """As API frameworks, and tests, set it on the request."""
    templates.write(page=templates.fragment("{{ user.username }}{{ request.user.pk }}", "card"))

    def shown(user: Any) -> str:
        request: Any = rf.get("/")
        request.user = user
        request._messages = []
        return templates.render("page", request)

    assert [shown(user) for user in users * 2] == [
        f"{user.username}{user.pk}" for user in users * 2
    ]
    assert shown(AnonymousUser()).startswith("None") or shown(AnonymousUser()) in {"", "None"}


@pytest.mark.parametrize("name", ["user", "perms"])
def test_a_user_without_a_request_is_in_the_key_too(
    templates: Templates, users: list[User], name: str
) -> None:
    """As render_to_string() gets one for an email."""
    User.objects.filter(pk=users[0].pk).update(is_superuser=True)
    bodies = {"user": "{{ user.is_superuser }}", "perms": "{{ perms.library.change_book }}"}
    templates.write(page=templates.fragment(bodies[name], "card"))

    def shown(user: User) -> str:
        user = User.objects.get(pk=user.pk)
        return templates.render("page", user=user, perms=PermWrapper(user))

    assert [shown(user) for user in users * 2] == ["True", "False"] * 2


def test_a_user_without_a_key_is_rendered_each_time(
    templates: Templates, tick: Counter, caplog: pytest.LogCaptureFixture
) -> None:
    templates.write(page=counted(templates, "{{ user.name }}"))

    shown = [templates.render("page", user=SimpleNamespace(name=name), tick=tick) for name in "abc"]

    assert shown == ["a", "b", "c"]
    assert "the user has no key" in caplog.text


def test_users_of_two_databases_with_one_key_are_distinguished(
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


def test_users_of_two_kinds_with_one_key_are_distinguished(
    templates: Templates, rf: RequestFactory
) -> None:
    templates.write(page=templates.fragment("{{ request.user }}", "card"))

    def shown(user: Any) -> str:
        request: Any = rf.get("/")
        request.user = user
        user._state.db = "default"
        return templates.render("page", request)

    assert [shown(User(pk=1, username="ann")), shown(Author(pk=1, name="Bob"))] == ["ann", "Bob"]


def test_a_request_that_only_the_context_knows_tells_the_user(
    new_request: NewRequest, users: list[User]
) -> None:
    """A view passes it, without a context processor."""
    templates = DjangoTemplates()
    templates.write(page=templates.fragment("{{ request.user.username }}", "card"))

    def shown(user: User) -> str:
        with unit_of_work():
            context = Context({"request": new_request(user)})
            return templates.engine.get_template("page.html").render(context)

    assert [shown(user) for user in users * 2] == ["ann", "bob"] * 2


def test_the_user_of_the_request_that_is_answered_is_told_though_the_template_knows_none(
    templates: Templates, new_request: NewRequest, users: list[User]
) -> None:
    templates.write(page=templates.fragment(templates.show("who"), "card"))

    def shown(user: User) -> str:
        request = new_request(user)
        with unit_of_work(request):
            return templates.render("page", who=lambda: request.user.username)

    assert [shown(user) for user in users * 2] == ["ann", "bob"] * 2


# Other ways to a user


def test_a_plain_user_under_another_name_is_in_the_key_too(
    templates: Templates, rf: RequestFactory, users: list[User]
) -> None:
    templates.write(page=templates.fragment("{{ me.username }}", "card"))

    def shown(user: User) -> str:
        request: Any = rf.get("/")
        request.user = user
        request._messages = []
        return templates.render("page", request, me=user)

    assert [shown(user) for user in users] == ["ann", "bob"]


def test_a_plain_user_that_a_macro_asks_for_is_in_the_key_too(
    rf: RequestFactory, users: list[User]
) -> None:
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


def test_the_user_of_a_request_that_a_macro_was_given_is_in_the_key_too(
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


def test_the_user_of_a_view_s_request_is_in_the_key_too(
    templates: Templates, new_request: NewRequest, users: list[User]
) -> None:
    """The context has the request that the view's own one wraps."""
    templates.write(page=templates.fragment("{{ view.request.user.username }}", "card"))

    def shown(user: User) -> str:
        request = new_request()
        view = SimpleNamespace(request=Wrapped(request, user))
        return templates.render("page", request, view=view)

    assert [shown(user) for user in users] == ["ann", "bob"]


@pytest.mark.parametrize("is_lazy", [True, False])
def test_the_user_of_a_request_that_only_another_object_holds_is_never_kept(
    templates: Templates, new_request: NewRequest, users: list[User], is_lazy: bool
) -> None:
    """A form or a component may hold it."""
    templates.write(page=templates.fragment("{{ given.request.user.username }}", "card"))

    def shown(user: User) -> str:
        request = new_request(user)
        if not is_lazy:
            request.user = user
        return templates.render("page", given=SimpleNamespace(request=request))

    assert [shown(user) for user in users * 2] == ["ann", "bob"] * 2


def test_a_user_that_cannot_be_watched_on_a_request_is_identified_by_the_one_it_wraps(
    templates: Templates, new_request: NewRequest, users: list[User]
) -> None:
    class ReadOnly(Wrapped):
        user = property(lambda self: self._request.user)

    templates.write(page=templates.fragment("{{ request.user.username }}", "card"))

    def shown(user: User) -> str:
        wrapped: Any = ReadOnly.__new__(ReadOnly)
        wrapped._request = new_request(user)
        return templates.render("page", wrapped)

    assert [shown(user) for user in users * 2] == ["ann", "bob"] * 2


def test_a_user_that_cannot_be_watched_is_in_the_key_too(
    templates: Templates, rf: RequestFactory, users: list[User]
) -> None:
    """The class of the request has only a property for it."""

    class OwnRequest(WSGIRequest):
        user = property(lambda self: self.environ["user"])

    templates.write(page=templates.fragment("{{ request.user.username }}", "card"))

    def shown(user: User) -> str:
        environment = {**rf.get("/").environ, "user": user}
        return templates.render("page", OwnRequest(environment))

    assert [shown(user) for user in users * 2] == ["ann", "bob"] * 2


@pytest.mark.parametrize("is_nobody_first", [False, True])
def test_nobody_and_an_anonymous_user_are_distinguished(
    templates: Templates, new_request: NewRequest, is_nobody_first: bool
) -> None:
    templates.write(page=templates.fragment("{{ user.is_anonymous }}", "card"))
    nobody: Any = None
    if is_nobody_first:
        templates.render("page", user=nobody)

    assert templates.render("page", new_request()) == "True"
    assert templates.render("page", user=nobody) in {"", "None"}


def test_a_user_that_jinja_does_not_know_is_in_the_key_too(
    new_request: NewRequest, users: list[User]
) -> None:
    templates = JinjaTemplates()
    body = "{% if user %}{{ user.username }}{% endif %}{{ request.user.username }}"
    templates.write(page=templates.fragment(body, "card"))

    def shown(user: User) -> str:
        with unit_of_work():
            template = templates.environment.get_template("page.html")
            return template.render(request=new_request(user))

    assert [shown(user) for user in users] == ["ann", "bob"]
