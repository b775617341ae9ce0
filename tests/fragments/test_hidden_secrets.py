"""Secrets are found under other names, in macros, and in requests that other objects hold."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib import messages
from django.http import HttpRequest
from django.middleware.csrf import get_token
from django.template.backends.utils import csrf_token_lazy
from django.test import RequestFactory
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import mark_safe

from cachelayers import unit_of_work
from tests.fragments.conftest import NewRequest
from tests.fragments.engines import DjangoTemplates, JinjaTemplates, Templates
from tests.fragments.views import Wrapped, view_of
from tests.library.models import Book

# Macros imported without the context: they do not know the request


def test_a_token_in_a_macro_that_was_imported_is_never_kept(new_request: NewRequest) -> None:
    """Without the context the macro does not know the request; the token is a parameter."""
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


def test_the_session_of_a_request_that_a_macro_was_given_is_never_kept(
    new_request: NewRequest,
) -> None:
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


def test_messages_that_a_macro_asks_for_are_never_kept(new_request: NewRequest) -> None:
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


# Other names, other forms


def test_messages_under_another_name_are_never_kept(
    templates: Templates, new_request: NewRequest
) -> None:
    body = templates.loop("one", "notes", "{{ one }}")
    templates.write(page="{{ notes|length }}" + templates.fragment(body, "card"))

    def shown(text: str) -> str:
        request = new_request()
        messages.info(request, text)
        return templates.render("page", request, notes=messages.get_messages(request))

    assert [shown("one"), shown("other")] == ["1one", "1other"]


def test_a_token_under_another_name_is_never_kept(
    templates: Templates, new_request: NewRequest
) -> None:
    """A view may pass the token to the script of its page."""
    templates.write(page=templates.fragment("{{ token }}", "script"))

    def shown(request: HttpRequest) -> str:
        return templates.render("page", request, token=get_token(request))

    assert shown(new_request()) != shown(new_request())


def test_a_token_that_was_made_above_and_has_another_name_below_is_never_kept(
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
def test_a_secret_that_was_made_above_and_is_written_otherwise_below_is_never_kept(
    new_request: NewRequest, text_filter: str
) -> None:
    templates = DjangoTemplates()
    body = f"{{{{ csp_nonce|{text_filter} }}}}"
    templates.write(page="{{ csp_nonce }}," + templates.fragment(body, "script"))
    shown = []
    for number in range(2):
        nonce = SimpleLazyObject(partial("NONCE{:016}==".format, number))
        request = new_request()
        request.csp_nonce = nonce
        shown.append(templates.render("page", request, csp_nonce=nonce).partition(",")[2])

    assert shown[0] != shown[1]


@pytest.mark.parametrize("name", ["Authorization", "authorization", "Cookie"])
def test_a_private_header_is_never_kept(
    templates: Templates, rf: RequestFactory, name: str
) -> None:
    templates.write(page=templates.fragment(templates.show("header"), "card"))

    def shown(value: str) -> str:
        request = rf.get("/", headers={name: value})
        return templates.render("page", request, header=lambda: request.headers[name])

    assert [shown("one"), shown("other")] == ["one", "other"]


def test_the_secret_that_tokens_are_made_of_is_never_kept(
    templates: Templates, new_request: NewRequest
) -> None:
    templates.write(page=templates.fragment("{{ given }}", "script"))

    def shown() -> tuple[str, str]:
        request = new_request()
        get_token(request)
        secret = request.META["CSRF_COOKIE"]
        return templates.render("page", request, given=secret), secret

    for _ in range(2):
        found, secret = shown()
        assert found == secret


def test_the_session_of_the_request_that_is_answered_is_never_kept(
    templates: Templates, new_request: NewRequest
) -> None:
    """Any code may hold that request, also in a nested unit of work."""
    templates.write(page=templates.fragment(templates.show("basket"), "card"))

    def shown(basket: str) -> str:
        request = new_request()
        request.session["basket"] = basket
        request.session.accessed = False
        with unit_of_work(request):
            return templates.render("page", basket=lambda: request.session["basket"])

    assert [shown("one"), shown("other")] == ["one", "other"]


@pytest.mark.parametrize("body", ["{{ given.theme }}", "{{ given.theme }}{{ user.username }}"])
def test_a_session_that_the_template_was_given_is_never_kept(
    templates: Templates, new_request: NewRequest, body: str
) -> None:
    """The response also varies by it, although no request has it."""
    templates.write(page=templates.fragment(body, "card"))

    def shown(theme: str) -> str:
        request = new_request()
        request.session["theme"] = theme
        request.session.accessed = False
        text = templates.render("page", request, given=request.session)
        assert request.session.accessed is True
        return text

    assert [shown("one"), shown("other")] == ["one", "other"]


def test_a_form_that_was_rendered_before_is_never_kept(templates: Templates) -> None:
    """Neither the template nor the unit of work knows its request."""
    templates.write(page=templates.fragment("{{ form }}", "card"))

    def shown(token: str) -> str:
        return templates.render("page", form=mark_safe(f"name=csrfmiddlewaretoken {token}"))

    assert "one" in shown("one")
    assert "other" in shown("other")


def test_a_token_whose_request_the_template_does_not_know_is_never_kept(
    new_request: NewRequest,
) -> None:
    templates = JinjaTemplates()
    templates.write(page=templates.fragment("{{ csrf_token }}", "form"))

    shown = [templates.render("page", csrf_token=csrf_token_lazy(new_request())) for _ in range(2)]

    assert shown[0] != shown[1]


# Requests that wrap another one, as in REST framework, and requests of views


def test_a_nonce_of_a_request_that_is_wrapped_is_never_kept(
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


def test_the_session_of_a_view_whose_template_knows_no_request_is_never_kept(
    templates: Templates, new_request: NewRequest
) -> None:
    """As with render_to_string(name, {"view": self})."""
    lookup = "{{ view.request.session.basket }}"
    templates.write(page=templates.fragment(lookup, "card"))

    def shown(basket: str) -> str:
        request = new_request()
        request.session["basket"] = basket
        return templates.render("page", view=SimpleNamespace(request=request))

    assert [shown("one"), shown("other")] == ["one", "other"]


# Submitted values


def test_what_a_user_typed_into_a_form_that_was_refused_is_never_kept(
    templates: Templates, rf: RequestFactory, book: Book
) -> None:
    """Django's forms write them into the instance before they validate them."""
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
