"""A block shows the same with and without a fragment around it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from jinja2 import DictLoader, Environment

from cachelayers import unit_of_work
from cachelayers.jinja import CacheLayersExtension
from tests.fragments.conftest import Counter, NewRequest
from tests.fragments.engines import DjangoTemplates, JinjaTemplates, Templates
from tests.fragments.views import counted


def test_what_is_set_within_stays_within_whether_it_is_rendered_or_not() -> None:
    templates = DjangoTemplates()
    body = "{% cache_id path as id %}{% with x=1 %}{{ x }}{% endwith %}"
    templates.write(
        page="{% with id=7 %}" + templates.fragment(body, "a") + "{{ id }}{% endwith %}"
    )

    assert [templates.render("page", path="no.css") for _ in range(2)] == ["17", "17"]


def test_what_is_set_within_a_secret_block_stays_within_each_time(
    new_request: NewRequest,
) -> None:
    templates = DjangoTemplates()
    body = "{% if csrf_token %}{{ csrf_token }}{% endif %}{% firstof 'set' as word %}"
    templates.write(page=templates.fragment(body, "card") + ",{{ word }}")

    shown = [templates.render("page", new_request()).partition(",")[2] for _ in range(3)]

    assert len(set(shown)) == 1


def test_an_error_while_it_is_rendered_is_the_template_s(templates: Templates) -> None:
    templates.write(page=templates.fragment(templates.show("fail"), "card"))

    def fail() -> str:
        raise ZeroDivisionError("the view's own")

    for _ in range(2):
        with pytest.raises(ZeroDivisionError, match="the view's own"):
            templates.render("page", fail=fail)

    assert templates.render("page", fail=lambda: "fine") == "fine"


def test_a_block_that_turns_out_to_be_a_user_s_is_rendered_once(templates: Templates) -> None:
    """A second rendering would lose data that can be read only once, such as a generator's."""
    body = "{{ user.name }}" + templates.loop("number", "numbers", "{{ number }}")
    templates.write(page=templates.fragment(body, "card"))
    user = SimpleNamespace(name="ann")

    shown = [templates.render("page", user=user, numbers=iter([1, 2])) for _ in range(2)]

    assert shown == ["ann12", "ann12"]


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


# Jinja2


def test_a_fragment_outside_of_the_blocks_of_a_template_that_extends_is_lost() -> None:
    templates = JinjaTemplates()
    templates.write(
        base="<{% block main %}{% endblock %}>",
        page='{% extends "base.html" %}'
        + templates.fragment("lost", "card")
        + "{% block main %}x{% endblock %}",
    )

    assert templates.render("page") == "<x>"


@pytest.mark.parametrize(
    ("macro", "use"),
    [
        ("{% macro card() %}{}{% endmacro %}", "{% call card() %}x{% endcall %}"),
        ("{% macro card() %}{}{% endmacro %}", "{{ card(1, 2) }}"),
        ("{% macro card() %}{}{% endmacro %}", "{{ card(a=1) }}"),
    ],
    ids=["caller", "varargs", "kwargs"],
)
def test_what_a_macro_was_given_besides_its_parameters_is_there(
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


@pytest.mark.parametrize(
    ("body", "use"),
    [
        ("{{ caller() }}", "{% call card() %}{{ who }}{% endcall %}"),
        ("{{ varargs|join }}", "{{ card(1, who) }}"),
        ("{{ kwargs.a }}", "{{ card(a=who) }}"),
    ],
    ids=["caller", "varargs", "kwargs"],
)
def test_what_a_macro_within_was_given_is_there(body: str, use: str) -> None:
    templates = JinjaTemplates()
    text = f"{{% macro card() %}}<{body}>{{% endmacro %}}{use}"
    templates.write(
        page=templates.fragment(text, "card"),
        nested=templates.fragment(f"{templates.fragment(text, 'card')}!", "cards"),
    )

    for who in ("Ann", "Bea", "Ann"):
        assert who in (shown := templates.render("page", who=who))
        assert shown.startswith("<")
        assert templates.render("nested", who=who) == f"{shown}!"


def test_an_overlay_of_an_environment_escapes_as_configured() -> None:
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
