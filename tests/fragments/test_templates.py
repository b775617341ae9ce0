"""A fragment knows its template: a deploy never shows old markup, and what is unchanged stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import django
import pytest
from django.template import Context, Engine, Template
from jinja2 import DictLoader, Environment
from pytest_django import Settings

from cachelayers import unit_of_work
from cachelayers.fragments import code
from tests.fragments.conftest import Counter
from tests.fragments.engines import LIBRARIES, DjangoTemplates, JinjaTemplates, Templates


def kept(templates: Templates, tick: Counter, body: str = "") -> str:
    """Return the source of a fragment that counts how often it is rendered."""
    return templates.fragment(f"{templates.show('tick')}{body}", "card")


@pytest.mark.parametrize("name", ["page", "included", "deeper"])
def test_a_change_of_a_template_that_it_is_made_of_makes_it_anew(
    templates: Templates, tick: Counter, name: str
) -> None:
    texts = {
        "page": kept(templates, tick, '{% include "included.html" %}'),
        "included": 'i{% include "deeper.html" %}',
        "deeper": "d",
    }
    templates.write(**texts)
    templates.render("page", tick=tick)
    tick.since()

    templates.write(**{name: f"{texts[name]}!"})
    after = templates.render("page", tick=tick)

    assert after == "id!"
    assert tick.since() == 1


def test_a_deploy_that_changes_other_templates_leaves_it(
    templates: Templates, tick: Counter
) -> None:
    templates.write(page=kept(templates, tick, "x"), other="x")
    templates.render("page", tick=tick)

    templates.write(other="y")
    templates.render("page", tick=tick)

    assert tick.since() == 1


def test_going_back_to_an_older_template_finds_what_was_made_with_it(
    templates: Templates, tick: Counter
) -> None:
    """Old and new workers serve side by side while a deploy rolls."""
    old, new = (kept(templates, tick, body) for body in ("old", "new"))
    shown = []

    for source in (old, new, old, new):
        templates.write(page=source)
        shown.append(templates.render("page", tick=tick))

    assert shown == ["old", "new"] * 2
    assert tick.since() == 2


def test_a_block_of_a_template_that_extends_the_one_with_the_tag_is_part_of_it(
    templates: Templates,
) -> None:
    templates.write(
        base=templates.fragment("{% block main %}base{% endblock %}", "whole"),
        one='{% extends "base.html" %}{% block main %}one{% endblock %}',
        other='{% extends "base.html" %}{% block main %}other{% endblock %}',
    )

    first = [templates.render(name) for name in ("one", "other", "base", "one")]
    templates.write(one='{% extends "base.html" %}{% block main %}new{% endblock %}')

    assert first == ["one", "other", "base", "one"]
    assert templates.render("one") == "new"
    assert templates.render("other") == "other"


def test_a_parent_of_the_template_with_the_tag_is_part_of_it(
    templates: Templates, tick: Counter
) -> None:
    block = templates.fragment(templates.show("tick"), "card")
    templates.write(
        base="<{% block main %}{% endblock %}>",
        page=f'{{% extends "base.html" %}}{{% block main %}}{block}{{% endblock %}}',
    )
    templates.render("page", tick=tick)

    templates.write(base="[{% block main %}{% endblock %}]")
    templates.render("page", tick=tick)

    assert tick.since() == 2


# Names that are worked out while it is rendered


def test_a_template_whose_name_is_worked_out_is_looked_at_again(
    templates: Templates, tick: Counter
) -> None:
    templates.write(page=kept(templates, tick, "{% include chosen %}"), one="one", two="two")
    given: dict[str, Any] = {"tick": tick, "chosen": "one.html"}
    templates.render("page", **given)
    templates.write(two="2")
    templates.render("page", **given)
    before = tick.since()

    templates.write(one="1")

    assert templates.render("page", **given) == "1"
    assert (before, tick.since()) == (1, 1)


def test_what_such_a_template_includes_is_looked_at_again(
    templates: Templates, tick: Counter
) -> None:
    templates.write(
        page=kept(templates, tick, "{% include chosen %}"),
        one='{% include "deep.html" %}',
        deep="d",
    )
    given: dict[str, Any] = {"tick": tick, "chosen": "one.html"}
    templates.render("page", **given)

    templates.write(deep="D")

    assert templates.render("page", **given) == "D"


def test_a_name_that_was_looked_for_and_not_found_may_come_to_be(templates: Templates) -> None:
    templates.write(page=templates.fragment("{% include names %}", "card"), common="common")
    given: dict[str, Any] = {"names": ["special.html", "common.html"]}
    before = [templates.render("page", **given) for _ in range(2)]

    templates.write(special="special")

    assert before == ["common"] * 2
    assert templates.render("page", **given) == "special"


def test_the_same_include_in_a_loop_is_noted_for_each_fragment(templates: Templates) -> None:
    """An engine may remember, within a page, the template that an include has found."""
    row = templates.fragment("{% include chosen %}", "row", "number")
    page = templates.loop("number", "numbers", row)
    templates.write(page=page, one="1")
    given: dict[str, Any] = {"numbers": [1, 2], "chosen": "one.html"}
    templates.render("page", **given)

    templates.write(one="one")

    assert templates.render("page", **given) == "oneone"


def test_an_outer_fragment_looks_again_at_what_an_inner_hit_was_made_of(
    templates: Templates,
) -> None:
    inner = templates.fragment("{% include chosen %}", "inner")
    templates.write(page=templates.fragment(inner, "outer", "number"), one="1")
    given: dict[str, Any] = {"chosen": "one.html"}
    templates.render("page", number=1, **given)
    templates.render("page", number=2, **given)

    templates.write(one="one")

    assert templates.render("page", number=2, **given) == "one"


# What only one engine has


def test_a_macro_that_is_imported_is_part_of_it() -> None:
    templates = JinjaTemplates()
    block = templates.fragment("{{ show() }}", "card")
    templates.write(
        page=f'{{% from "macros.html" import show %}}{block}',
        macros="{% macro show() %}old{% endmacro %}",
    )
    before = templates.render("page")

    templates.write(macros="{% macro show() %}new{% endmacro %}")

    assert (before, templates.render("page")) == ("old", "new")


def test_a_template_that_extends_its_own_name_is_followed(tmp_path: Path) -> None:
    for folder, text in {
        "site": '{% extends "page.html" %}',
        "library": "{% block main %}old{% endblock %}",
    }.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "page.html").write_text(text)

    def shown() -> str:
        engine = Engine(
            dirs=[str(tmp_path / folder) for folder in ("site", "library")],
            libraries=LIBRARIES,
            builtins=["cachelayers.templatetags.cachelayers"],
        )
        source = '{% fragment "card" %}{% include "page.html" %}{% endfragment %}'
        with unit_of_work():
            return engine.from_string(source).render(Context())

    before = [shown(), shown()][-1]
    (tmp_path / "library" / "page.html").write_text("{% block main %}new{% endblock %}")

    assert (before, shown()) == ("old", "new")


@pytest.mark.skipif(django.VERSION < (6, 0), reason="partials came with Django 6.0")
def test_a_partial_is_part_of_it() -> None:
    templates = DjangoTemplates()
    row = '{% partialdef row %}{% include "deep.html" %}{% endpartialdef %}'
    templates.write(
        page=row + templates.fragment("{% partial row %}", "own"),
        other=templates.fragment('{% include "page.html#row" %}', "of another"),
        deep="d",
    )
    before = [templates.render("page"), templates.render("other")]

    templates.write(deep="D")

    assert before == ["d", "d"]
    assert [templates.render("page"), templates.render("other")] == ["D", "D"]


@pytest.mark.skipif(django.VERSION < (6, 0), reason="partials came with Django 6.0")
def test_a_partial_that_uses_itself_is_followed_once() -> None:
    templates = DjangoTemplates()
    tree = (
        "{% partialdef tree %}{{ node.name }}{% for node in node.below %}{% partial tree %}"
        "{% endfor %}{% endpartialdef %}"
    )
    templates.write(page=tree + templates.fragment("{% partial tree %}", "tree", "node"))
    node = {"name": "a", "below": [{"name": "b", "below": []}]}

    assert [templates.render("page", node=node) for _ in range(2)] == ["ab", "ab"]


def test_an_include_that_includes_itself_is_followed_once() -> None:
    templates = DjangoTemplates()
    node_source = '{{ node.name }}{% for node in node.below %}{% include "node.html" %}{% endfor %}'
    page = templates.fragment('{% include "node.html" %}', "tree", "node")
    templates.write(page=page, node=node_source)
    node = {"name": "a", "below": [{"name": "b", "below": []}]}

    assert [templates.render("page", node=node) for _ in range(2)] == ["ab", "ab"]


def test_templates_made_from_strings_are_told_apart() -> None:
    def shown(text: str) -> str:
        source = '{% load cachelayers %}{% fragment "card" %}' + text + "{% endfragment %}"
        with unit_of_work():
            return Template(source).render(Context())

    assert [shown("one"), shown("other"), shown("one")] == ["one", "other", "one"]


def test_a_jinja_template_made_from_a_string_is_told_apart() -> None:
    environment = Environment(
        loader=DictLoader({}), extensions=["cachelayers.jinja.CacheLayersExtension"]
    )

    def shown(text: str) -> str:
        with unit_of_work():
            source = '{% fragment "card" %}' + text + "{% endfragment %}"
            return environment.from_string(source).render()

    assert [shown("one"), shown("other"), shown("one")] == ["one", "other", "one"]


@pytest.mark.parametrize("switch", ["{% autoescape off %}", "{% autoescape on %}"])
def test_the_way_values_are_written_is_part_of_it(switch: str) -> None:
    templates = DjangoTemplates()
    templates.write(
        page=switch + '{% include "card.html" %}{% endautoescape %}',
        other='{% include "card.html" %}',
        card=templates.fragment("{{ text }}", "card"),
    )

    shown = [templates.render(name, text="<b>") for name in ("other", "page", "other")]

    escaped = "&lt;b&gt;"
    assert shown == [escaped, "<b>" if "off" in switch else escaped, escaped]


# Code


def test_a_deploy_s_salt_makes_all_anew(
    templates: Templates, tick: Counter, settings: Settings
) -> None:
    templates.write(page=kept(templates, tick))
    templates.render("page", tick=tick)

    settings.CACHELAYERS = {**settings.CACHELAYERS, "DEPLOY_SALT": "a new release"}
    templates.write()
    templates.render("page", tick=tick)

    assert tick.since() == 2


def test_a_change_of_a_tag_library_makes_it_anew(
    templates: Templates, tick: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    templates.write(page=kept(templates, tick))
    templates.render("page", tick=tick)

    monkeypatch.setattr(code, "source_of", lambda name: f"new {name}")
    templates.write()
    templates.render("page", tick=tick)

    assert tick.since() == 2
