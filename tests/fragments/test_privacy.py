"""Nothing that is for one response, or for one user, is ever shown in another's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import django
import pytest
from django.contrib import messages
from django.contrib.auth.context_processors import PermWrapper
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.test import RequestFactory
from django.utils import timezone, translation
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext

from cachelayers.lookup.steps import TakeLease
from tests.fragments.conftest import Counter
from tests.fragments.engines import DjangoTemplates, Templates

View = Callable[[HttpRequest], str]
NewRequest = Callable[..., HttpRequest]


def respond(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


@pytest.fixture
def new_request(rf: RequestFactory) -> NewRequest:
    """Return what makes a request as Django's middleware leaves it, of a user or of nobody."""

    def make(user: User | None = None, **cookies: str) -> HttpRequest:
        request = rf.get("/")
        request.COOKIES.update(cookies)
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


def counted(templates: Templates, body: str) -> str:
    return templates.fragment(f"{templates.show('tick')}{body}", "card")


# Secrets of one response: not kept


def use_token(request: HttpRequest) -> str:
    return get_token(request)


def use_session(request: HttpRequest) -> str:
    return str(request.session.get("basket"))


def use_messages(request: HttpRequest) -> str:
    return ", ".join(str(message) for message in messages.get_messages(request))


def use_cookie(request: HttpRequest) -> str:
    return str(request.COOKIES.get("name"))


SECRETS = {
    "the CSRF token": use_token,
    "the session": use_session,
    "messages": use_messages,
    "a cookie": use_cookie,
}


@pytest.mark.parametrize("secret", SECRETS)
def test_a_block_whose_code_uses_a_secret_is_not_kept_and_says_so_once(
    templates: Templates,
    new_request: NewRequest,
    tick: Counter,
    caplog: pytest.LogCaptureFixture,
    secret: str,
) -> None:
    templates.write(page="\n" + counted(templates, templates.show("use")))

    shown = []
    for name in ("ann", "bob", "cid"):
        request = new_request(name=name)
        request.session["basket"] = name
        messages.info(request, name)
        request.session.accessed = False

        def use(request: HttpRequest = request) -> str:
            return SECRETS[secret](request)

        shown.append(templates.render("page", request, use=use, tick=tick).strip())

    assert len(set(shown)) == 3
    assert tick.since() == 3
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "page.html, line 2: the fragment 'card' is not cached" in caplog.text
    assert f"it uses {secret}" in caplog.text


@pytest.mark.parametrize(
    ("engine_s", "secret"),
    [
        ({"django": "{% csrf_token %}", "jinja2": "{{ csrf_input }}"}, "the CSRF token"),
        ({"django": "{{ csrf_token }}", "jinja2": "{{ csrf_token }}"}, "the CSRF token"),
        (
            {"django": "{{ request.session.basket }}", "jinja2": "{{ request.session.basket }}"},
            "the session",
        ),
        ({"django": "{% for m in messages %}{{ m }}{% endfor %}"}, "messages"),
        ({"jinja2": "{% for m in messages %}{{ m }}{% endfor %}"}, "messages"),
        ({"django": "{{ csp_nonce }}", "jinja2": "{{ csp_nonce }}"}, "a CSP nonce"),
        (
            {"django": "{{ request.csp_nonce }}", "jinja2": "{{ request.csp_nonce }}"},
            "a CSP nonce",
        ),
    ],
)
def test_a_block_whose_template_uses_a_secret_is_not_kept(
    templates: Templates,
    new_request: NewRequest,
    tick: Counter,
    caplog: pytest.LogCaptureFixture,
    engine_s: dict[str, str],
    secret: str,
) -> None:
    body = engine_s.get("django" if isinstance(templates, DjangoTemplates) else "jinja2")
    if body is None:
        return
    templates.write(page=counted(templates, body))

    shown = []
    for number in range(3):
        request: Any = new_request()
        messages.info(request, f"message {number}")
        request.session["basket"] = number
        request.session.accessed = False
        request.csp_nonce = SimpleLazyObject(partial("a-nonce-{:032}".format, number))
        given = {"csp_nonce": request.csp_nonce} if "request" not in body else {}
        shown.append(templates.render("page", request, tick=tick, **given))

    assert len(set(shown)) == 3
    assert tick.since() == 3
    assert "which is for one response only" in caplog.text
    assert secret in caplog.text


@pytest.mark.skipif(django.VERSION < (6, 0), reason="Django's own nonces came with 6.0")
def test_django_s_own_nonce_is_not_kept(
    templates: Templates, new_request: NewRequest, tick: Counter
) -> None:
    from django.middleware.csp import ContentSecurityPolicyMiddleware, get_nonce

    templates.write(page=counted(templates, "{{ csp_nonce }}"))
    shown = []
    for _ in range(2):
        request = new_request()
        ContentSecurityPolicyMiddleware(respond).process_request(request)
        shown.append(templates.render("page", request, tick=tick, csp_nonce=get_nonce(request)))

    assert len(set(shown)) == 2
    assert all(len(nonce) > 8 for nonce in shown)


def test_a_secret_that_the_page_uses_elsewhere_is_no_obstacle(
    templates: Templates, new_request: NewRequest, tick: Counter
) -> None:
    templates.write(page="{{ csrf_token }}" + counted(templates, "x") + "{{ csrf_token }}")

    for _ in range(2):
        templates.render("page", new_request(), tick=tick)

    assert tick.since() == 1


def test_a_token_that_was_made_above_is_not_kept_below(
    new_request: NewRequest, tick: Counter
) -> None:
    """Django makes it once for a page: below, nobody asks for it again."""
    templates = DjangoTemplates()
    templates.write(page="{{ csrf_token }}" + counted(templates, "{{ csrf_token }}"))

    for _ in range(2):
        templates.render("page", new_request(), tick=tick)

    assert tick.since() == 2


def test_the_cookie_of_the_token_is_still_sent(
    templates: Templates, new_request: NewRequest, tick: Counter
) -> None:
    templates.write(page=counted(templates, "{{ csrf_token }}"))
    request = new_request()

    templates.render("page", request, tick=tick)

    assert request.META["CSRF_COOKIE_NEEDS_UPDATE"] is True


def test_a_token_used_before_is_still_sent_after_a_block_without_one(
    templates: Templates, new_request: NewRequest, tick: Counter
) -> None:
    templates.write(page=counted(templates, "x"))
    request = new_request()
    get_token(request)

    templates.render("page", request, tick=tick)

    assert request.META["CSRF_COOKIE_NEEDS_UPDATE"] is True


def test_the_response_still_varies_by_a_session_that_was_read_around_it(
    templates: Templates, new_request: NewRequest, tick: Counter
) -> None:
    templates.write(page=counted(templates, "x"))
    request = new_request()
    request.session.get("anything")

    templates.render("page", request, tick=tick)

    assert request.session.accessed is True


def test_an_inner_block_with_a_secret_is_not_kept_in_the_outer_one(
    templates: Templates, new_request: NewRequest, tick: Counter
) -> None:
    inner = templates.fragment("{{ csrf_token }}", "inner")
    templates.write(page=templates.fragment(inner + templates.show("tick"), "outer"))

    shown = [templates.render("page", new_request(), tick=tick) for _ in range(4)]

    assert len(set(shown)) == 4
    assert tick.since() == 4


def test_what_is_not_kept_is_not_waited_for(
    templates: Templates, new_request: NewRequest, tick: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once known to be secret, no lease is asked for: it would be of no use to anybody."""
    templates.write(page=counted(templates, "{{ csrf_token }}"))
    templates.render("page", new_request(), tick=tick)
    asked: list[object] = []
    monkeypatch.setattr(TakeLease, "run", asked.append)

    templates.render("page", new_request(), tick=tick)

    assert tick.since() == 2
    assert asked == []


# The user: in the key


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
    templates.write(page="{{ user.username }}" + counted(templates, "x") + "{{ user.username }}")

    shown = [templates.render("page", new_request(user), tick=tick) for user in users]

    assert shown == ["annxann", "bobxbob"]
    assert tick.since() == 1


def test_a_user_that_only_a_branch_asks_for_is_in_the_key_from_then_on(
    templates: Templates, new_request: NewRequest, users: list[User]
) -> None:
    body = "{% if number == 2 %}{{ user.username }}{% else %}x{% endif %}"
    templates.write(page=templates.fragment(body, "card", "number"))
    visits = [(number, user) for number in (1, 2, 1, 2) for user in users]

    shown = [templates.render("page", new_request(user), number=number) for number, user in visits]

    assert shown == ["x", "x", "ann", "bob"] * 2


def test_another_process_finds_the_way_by_the_signpost(
    templates: Templates, new_request: NewRequest, tick: Counter, users: list[User]
) -> None:
    """Compiled anew, the tag knows nothing of what was learned before."""
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


def test_a_user_that_is_no_lazy_object_is_told_too(
    templates: Templates, rf: RequestFactory, users: list[User]
) -> None:
    """As API frameworks, and tests, put one on the request."""
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
def test_a_user_without_a_request_is_told_too(
    templates: Templates, users: list[User], name: str
) -> None:
    """As render_to_string() gives one for an email."""
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


def test_a_user_in_an_inner_fragment_is_in_the_outer_one_s_key_on_a_hit_too(
    templates: Templates, new_request: NewRequest, users: list[User]
) -> None:
    inner = templates.fragment("{{ user.username }}", "inner")
    templates.write(page=templates.fragment(inner, "outer", "number"))
    for user in users:
        templates.render("page", new_request(user), number=1)

    shown = [templates.render("page", new_request(user), number=2) for user in users * 2]

    assert shown == ["ann", "bob"] * 2


# Language and time zone


def test_a_block_that_is_translated_is_kept_for_each_language(
    templates: Templates, tick: Counter
) -> None:
    templates.write(page=counted(templates, templates.show("translated")))

    def translated() -> str:
        return gettext("Yes")

    shown = []
    for language in ("en", "de", "fr") * 2:
        with translation.override(language):
            shown.append(templates.render("page", tick=tick, translated=translated))

    assert shown == ["Yes", "Ja", "Oui"] * 2
    assert tick.since() == 3


def test_a_number_is_written_as_the_language_does(tick: Counter) -> None:
    templates = DjangoTemplates()
    templates.write(page=counted(templates, "{{ number }}"))
    shown = []

    for language in ("en", "de") * 2:
        with translation.override(language):
            shown.append(templates.render("page", tick=tick, number=1.5))

    assert shown == ["1.5", "1,5"] * 2


def test_a_block_without_words_is_shared_by_all_languages(
    templates: Templates, tick: Counter
) -> None:
    templates.write(page=counted(templates, "x"))

    for language in ("en", "de"):
        with translation.override(language):
            templates.render("page", tick=tick)

    assert tick.since() == 1


def test_a_time_is_written_in_the_active_time_zone(templates: Templates, tick: Counter) -> None:
    templates.write(page=counted(templates, templates.show("hour")))
    now = timezone.now().replace(hour=12)

    def hour() -> str:
        return str(timezone.localtime(now).hour)

    shown = []
    for zone in ("UTC", "Asia/Tokyo") * 2:
        with timezone.override(zone):
            shown.append(templates.render("page", tick=tick, hour=hour))

    assert shown == ["12", "21"] * 2
    assert tick.since() == 2


def test_user_and_language_are_told_together(
    templates: Templates, new_request: NewRequest, tick: Counter, users: list[User]
) -> None:
    templates.write(page=counted(templates, "{{ user.username }}" + templates.show("translated")))
    visits = [(user, language) for user in users for language in ("en", "de")]

    shown = []
    for user, language in visits * 2:
        with translation.override(language):
            shown.append(
                templates.render(
                    "page", new_request(user), tick=tick, translated=lambda: gettext("Yes")
                )
            )

    assert shown == ["annYes", "annJa", "bobYes", "bobJa"] * 2
    assert tick.since() == 4


# Where there is no thread to wait in


def test_in_an_event_loop_it_is_rendered_and_not_kept(
    templates: Templates, tick: Counter, caplog: pytest.LogCaptureFixture
) -> None:
    templates.write(page=counted(templates, "x"))

    async def view() -> str:
        return templates.render("page", tick=tick)

    shown = [asyncio.run(view()) for _ in range(2)]

    assert shown == ["x", "x"]
    assert tick.since() == 2
    assert "render in a thread" in caplog.text
