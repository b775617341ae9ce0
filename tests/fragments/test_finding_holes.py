"""A hole is found by its name; if it is not, it is rendered with the rest."""

from __future__ import annotations

from typing import Any

import pytest
from django.template import Context, Engine, Template

from cachelayers import unit_of_work
from tests.fragments.conftest import Counter
from tests.fragments.engines import (
    BUILTINS,
    DjangoTemplates,
    JinjaTemplates,
    Templates,
    WithoutCachedLoader,
)


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


def test_a_hole_in_a_template_that_no_loader_keeps_is_found(tick: Counter) -> None:
    templates = WithoutCachedLoader()
    templates.write(
        page=templates.fragment(templates.show("tick") + '{% include "part.html" %}', "card"),
        part=templates.uncached("x"),
    )

    assert [templates.render("page", tick=tick) for _ in range(2)] == ["x", "x"]
    assert tick.since() == 1


def test_holes_of_one_included_template_are_distinguished(tick: Counter) -> None:
    templates = DjangoTemplates()
    templates.write(
        page=templates.fragment(templates.show("tick") + '{% include "part.html" %}', "card"),
        part="".join(templates.uncached(f"{letter}{{{{ now }}}}") for letter in "abc"),
    )

    assert [templates.render("page", tick=tick, now=now) for now in (1, 2)] == ["a1b1c1", "a2b2c2"]
    assert tick.since() == 1


def test_holes_of_two_templates_with_one_name_are_distinguished(tmp_path: Any) -> None:
    """One template extends another with its own name."""
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


def test_a_hole_in_a_template_from_a_string_is_rendered_for_each_request(tick: Counter) -> None:
    source = "{% load cachelayers %}{% fragment 'card' %}{{ tick }}a{% uncached %}{{ now }}"
    source += "{% enduncached %}{% endfragment %}"

    def shown(now: int) -> str:
        with unit_of_work():
            return Template(source).render(Context({"now": now, "tick": tick}))

    assert [shown(now) for now in (1, 2)] == ["a1", "a2"]
    assert tick.since() == 1


# Holes that are not found


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


def test_a_hole_in_a_template_of_another_engine_is_rendered(
    templates: Templates, caplog: pytest.LogCaptureFixture
) -> None:
    other = DjangoTemplates()
    other.write(part=other.uncached("x"))
    templates.write(page=templates.fragment(templates.show("part"), "card"))

    def part() -> str:
        return other.engine.get_template("part.html").render(Context())

    assert [templates.render("page", part=part) for _ in range(2)] == ["x", "x"]
    assert "the template of a hole in it is not found by its name" in caplog.text
