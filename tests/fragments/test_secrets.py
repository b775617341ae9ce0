"""Values for one response are never cached, and still work in that response."""

from __future__ import annotations

import itertools
import logging
from functools import partial
from typing import Any

import django
import pytest
from django.contrib import messages
from django.http import HttpRequest
from django.middleware.csrf import get_token
from django.template import Context
from django.test import RequestFactory
from django.utils.functional import LazyObject, SimpleLazyObject

from cachelayers import unit_of_work
from cachelayers.fragments import serving
from cachelayers.lookup.steps import TakeLease
from cachelayers.request_access import real
from cachelayers.utils.tracing import tracing
from tests.fragments.conftest import Counter, NewRequest, respond
from tests.fragments.engines import DjangoTemplates, JinjaTemplates, Templates
from tests.fragments.views import counted
from tests.lookup.noting import noting


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

        with tracing() as trace:
            shown.append(templates.render("page", request, use=use, tick=tick).strip())

    # The log says it once, the trace of each request again.
    assert any(
        name == "card" and reason.startswith(f"it uses {secret}") for name, reason in trace.unkept
    )
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


def test_a_session_s_key_is_never_kept(templates: Templates, new_request: NewRequest) -> None:
    """Django's sessions do not count reading the key as an access."""
    templates.write(page=templates.fragment(templates.show("key"), "card"))

    for _ in range(2):
        request = new_request()
        request.session.create()
        request.session.accessed = False
        key = partial(getattr, request.session, "session_key")
        assert templates.render("page", request, key=key) == request.session.session_key


@pytest.mark.parametrize("header", ["HTTP_COOKIE", "HTTP_AUTHORIZATION", "CSRF_COOKIE"])
def test_a_secret_in_the_headers_is_never_kept(
    templates: Templates, rf: RequestFactory, header: str
) -> None:
    templates.write(page=templates.fragment(f"{{{{ request.META.{header} }}}}", "card"))

    def shown(value: str) -> str:
        request: Any = rf.get("/")
        request.META[header] = value
        request._messages = []
        return templates.render("page", request)

    assert [shown("one"), shown("other")] == ["one", "other"]


def test_a_token_that_was_made_above_is_not_kept_below(
    new_request: NewRequest, tick: Counter
) -> None:
    """Django makes it once per page: below, nothing asks for it again."""
    templates = DjangoTemplates()
    templates.write(page="{{ csrf_token }}" + counted(templates, "{{ csrf_token }}"))

    for _ in range(2):
        templates.render("page", new_request(), tick=tick)

    assert tick.since() == 2


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
    """Nobody waits for a lease of a block that is known to be uncacheable."""
    templates.write(page=counted(templates, "{{ csrf_token }}"))
    templates.render("page", new_request(), tick=tick)
    asked: list[object] = []
    monkeypatch.setattr(TakeLease, "run", noting(asked))

    templates.render("page", new_request(), tick=tick)

    assert tick.since() == 2
    assert asked == []


def test_a_block_that_is_no_secret_any_more_is_kept_after_a_while(
    templates: Templates, new_request: NewRequest, tick: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "{% if is_secret %}{{ csrf_token }}{% endif %}"
    templates.write(page=counted(templates, body))
    monkeypatch.setattr(serving, "UNCACHEABLE_SECONDS", 0.0)
    templates.render("page", new_request(), tick=tick, is_secret=True)
    tick.since()

    for _ in range(2):
        templates.render("page", new_request(), tick=tick, is_secret=False)

    assert tick.since() == 1


def test_only_so_many_secrets_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "MOST_UNCACHEABLE", 5)
    memory = serving.Memory()

    for number in range(12):
        memory.note_uncacheable(str(number))

    assert len(memory._uncacheable) <= 5
    assert memory.is_uncacheable("11")


# No secrets


def test_a_secret_that_the_page_uses_elsewhere_is_no_obstacle(
    templates: Templates, new_request: NewRequest, tick: Counter
) -> None:
    templates.write(page="{{ csrf_token }}" + counted(templates, "x") + "{{ csrf_token }}")

    for _ in range(2):
        templates.render("page", new_request(), tick=tick)

    assert tick.since() == 1


def test_an_include_in_jinja_is_kept_though_the_context_has_messages(
    new_request: NewRequest, tick: Counter
) -> None:
    """Nothing reads them."""
    templates = JinjaTemplates()
    templates.write(
        page=templates.fragment('{{ tick() }}{% include "part.html" %}', "card"), part="x"
    )

    for _ in range(3):
        templates.render("page", new_request(), tick=tick)

    assert tick.since() == 1


def test_a_list_that_is_called_messages_is_kept(templates: Templates, tick: Counter) -> None:
    body = templates.show("tick") + templates.loop("one", "messages", "{{ one }}")
    templates.write(page=templates.fragment(body, "card"))

    for _ in range(2):
        templates.render("page", tick=tick, messages=["a", "b"])

    assert tick.since() == 1


# What the response still needs


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


def test_a_request_is_as_it_was_when_a_block_has_been_rendered(
    templates: Templates, new_request: NewRequest, tick: Counter
) -> None:
    names = ("session", "_messages", "COOKIES", "user", "headers", "META")
    templates.write(page=counted(templates, "x"))
    request = new_request()
    before = [getattr(request, name) for name in names]

    templates.render("page", request, tick=tick)

    assert all(getattr(request, name) is value for name, value in zip(names, before, strict=True))


class OwnLazyObject(LazyObject):  # type: ignore[type-arg] # generic for mypy alone
    """A lazy object with its own method for evaluation."""

    def _setup(self) -> None:
        self._wrapped = "found"


@pytest.mark.parametrize("value", [None, 5, OwnLazyObject()], ids=["none", "number", "lazy"])
def test_what_is_only_called_a_nonce_is_no_obstacle(
    templates: Templates, tick: Counter, value: object
) -> None:
    templates.write(page=counted(templates, "x"))

    assert [templates.render("page", csp_nonce=value, tick=tick) for _ in range(2)] == ["x", "x"]
    assert tick.since() == 1


def test_a_session_that_is_found_late_is_no_obstacle(
    templates: Templates, new_request: NewRequest, tick: Counter
) -> None:
    templates.write(page=counted(templates, "x"))
    for _ in range(2):
        request = new_request()
        request.session = SimpleLazyObject(partial(real, request.session))
        templates.render("page", request, tick=tick)

    assert tick.since() == 1


def test_names_that_are_no_strings_are_no_obstacle(tick: Counter) -> None:
    templates = DjangoTemplates()
    templates.write(page=counted(templates, "x"))
    template = templates.engine.get_template("page.html")

    with unit_of_work():
        assert template.render(Context({5: "five", "tick": tick})) == "x"


def test_a_nonce_that_was_made_above_is_the_same_below_a_block_without_one(
    templates: Templates, new_request: NewRequest
) -> None:
    """The response header has that nonce."""
    made = itertools.count()
    templates.write(page="{{ csp_nonce }}," + templates.fragment("x", "card") + ",{{ csp_nonce }}")
    nonce = SimpleLazyObject(lambda: f"a-nonce-{next(made):032}")
    request = new_request()
    request.csp_nonce = nonce

    above, _, below = templates.render("page", request, csp_nonce=nonce).split(",")

    assert above == below
