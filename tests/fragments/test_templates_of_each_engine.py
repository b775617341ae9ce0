"""A fragment depends on templates used in ways of one engine only, and on nameless templates."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import django
import pytest
from django.template import Context, Engine, Template
from django.utils import timezone, translation
from jinja2 import DictLoader, Environment

from cachelayers import jinja, unit_of_work
from cachelayers.fragments.serving import Fragment
from cachelayers.jinja import CacheLayersExtension
from tests.fragments.engines import BUILTINS, DjangoTemplates, JinjaTemplates, Templates
from tests.fragments.views import show_twice


@pytest.mark.parametrize("below", ["node.html", "below.html"])
def test_templates_that_include_themselves_or_each_other_are_followed_once(
    templates: Templates, below: str
) -> None:
    loop = templates.loop("node", "node.below", f'{{% include "{below}" %}}')
    templates.write(
        page=templates.fragment('{% include "node.html" %}', "tree", "node"),
        node="{{ node.name }}" + loop,
        below='{% include "node.html" %}',
    )
    node = {"name": "a", "below": [{"name": "b", "below": []}]}

    assert [templates.render("page", node=node) for _ in range(2)] == ["ab", "ab"]


def test_a_hit_looks_at_no_template_whose_name_stands_there(
    templates: Templates, monkeypatch: pytest.MonkeyPatch
) -> None:
    templates.write(
        page=templates.fragment('{% include "part.html" %}', "card"),
        part='{% include "deep.html" %}',
        deep="d",
    )

    check_nothing_is_looked_at(templates, monkeypatch)


def check_nothing_is_looked_at(templates: Templates, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that the stored value is the text alone, without templates to compare on each hit."""
    show_twice(templates)
    looked_at: list[object] = []

    def note(_: Fragment, kept: object) -> bool:
        looked_at.append(kept)
        return True

    monkeypatch.setattr(Fragment, "accepts", note)

    assert templates.render("page") == "d"
    assert set(looked_at) <= {"d"}


def test_a_template_that_is_not_there_may_stand_in_a_branch(templates: Templates) -> None:
    templates.write(
        page=templates.fragment('{% include "part.html" %}', "card"),
        part='{% if given %}{% include "none.html" %}{% endif %}p',
    )

    assert [templates.render("page") for _ in range(2)] == ["p", "p"]


# Django's templates


@pytest.mark.parametrize(
    "body",
    [
        "{% show_item %}",
        "{% show_first_item %}",
        pytest.param(
            "{% partial row %}",
            marks=pytest.mark.skipif(
                django.VERSION < (6, 0), reason="partials came with Django 6.0"
            ),
        ),
    ],
)
def test_a_hit_looks_at_no_template_that_a_tag_names(
    body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    templates = DjangoTemplates()
    row = '{% partialdef row %}{% include "item.html" %}{% endpartialdef %}'
    templates.write(
        page=(row if "row" in body else "") + templates.fragment(body, "card"), item="d"
    )

    check_nothing_is_looked_at(templates, monkeypatch)


def test_an_inclusion_tag_s_template_may_have_no_name() -> None:
    templates = DjangoTemplates()
    templates.write(page=templates.fragment("{% show_own_item %}", "card"))

    assert [templates.render("page") for _ in range(2)] == ["item", "item"]


@pytest.mark.skipif(django.VERSION < (6, 0), reason="partials came with Django 6.0")
def test_a_partial_that_is_not_defined_may_stand_in_a_branch() -> None:
    templates = DjangoTemplates()
    templates.write(page=templates.fragment("{% if no %}{% partial none %}{% endif %}p", "card"))

    assert [templates.render("page") for _ in range(2)] == ["p", "p"]


def test_the_constant_that_a_name_is_worked_out_from_is_not_taken_for_one(tmp_path: Path) -> None:
    """A folder, for example: no loader finds it as a template, but one fails to read it."""
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "small.html").write_text("small")
    source = '{% fragment "card" %}{% include "cards/"|add:name %}{% endfragment %}'
    template = Engine(dirs=[str(tmp_path)], builtins=BUILTINS).from_string(source)

    with unit_of_work():
        assert template.render(Context({"name": "small.html"})) == "small"


@pytest.mark.parametrize("name", ['"page.html"', "chosen"])
def test_a_template_that_extends_its_own_name_is_followed(name: str) -> None:
    """Through two templates of a cached loader, to one of a loader without a cache."""
    card = f'{{% fragment "card" %}}{{% include {name} %}}{{% endfragment %}}'
    folders = [
        {"index.html": card, "page.html": '{% extends "page.html" %}'},
        {"page.html": '{% extends "page.html" %}'},
        {"page.html": "{% block main %}old{% endblock %}"},
    ]
    *kept, last = [("django.template.loaders.locmem.Loader", folder) for folder in folders]
    engine = Engine(
        loaders=[("django.template.loaders.cached.Loader", kept), last], builtins=BUILTINS
    )

    def shown() -> str:
        with unit_of_work():
            return engine.get_template("index.html").render(Context({"chosen": "page.html"}))

    before = [shown(), shown()]
    folders[-1]["page.html"] = "{% block main %}new{% endblock %}"

    assert before == ["old", "old"]
    assert shown() == "new"


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


def test_an_include_that_is_relative_is_part_of_it() -> None:
    templates = DjangoTemplates()
    texts = {
        "folder/page": templates.fragment('{% include "./part.html" %}', "card"),
        "folder/part": "old",
    }
    templates.write(**texts)
    before = templates.render("folder/page")

    templates.write(**{"folder/part": "new"})

    assert (before, templates.render("folder/page")) == ("old", "new")


def test_an_engine_is_listened_to_once_however_often_it_renders() -> None:
    templates = DjangoTemplates()
    templates.write(
        page="{% autoescape off %}{% include 'card.html' %}{% endautoescape %}"
        "{% include 'card.html' %}",
        card=templates.fragment("x", "card"),
    )

    templates.render("page")

    find: Any = templates.engine.find_template
    assert not hasattr(find.__wrapped__, "__wrapped__")


def test_an_inclusion_tag_s_template_in_a_block_that_is_overridden_is_part_of_it() -> None:
    """A tag remembers its template for the page: a second fragment would not record it."""
    templates = DjangoTemplates()
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


def test_a_template_that_no_loader_keeps_is_part_of_it() -> None:
    """For example a loader of templates in a table, next to a cached one."""
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


@pytest.mark.parametrize(
    ("switch", "body", "expected"),
    [
        ("localize off", "{{ number }}", ["1,5", "1.5", "1,5"]),
        ("localtime off", '{{ noon|date:"G" }}', ["21", "12", "21"]),
    ],
)
def test_whether_values_are_written_for_the_place_is_part_of_it(
    switch: str, body: str, expected: list[str]
) -> None:
    templates = DjangoTemplates()
    end = f"end{switch.split(maxsplit=1)[0]}"
    templates.write(
        page=f'{{% load l10n tz %}}{{% {switch} %}}{{% include "card.html" %}}{{% {end} %}}',
        other='{% include "card.html" %}',
        card=templates.fragment(body, "card"),
    )
    given = {"number": 1.5, "noon": datetime(2026, 1, 1, 12, tzinfo=UTC)}

    with translation.override("de"), timezone.override("Asia/Tokyo"):
        shown = [templates.render(name, None, **given) for name in ("other", "page", "other")]

    assert shown == expected


def test_templates_without_a_name_that_are_included_as_objects_are_not_kept(
    templates: Templates, caplog: pytest.LogCaptureFixture
) -> None:
    templates.write(page=templates.fragment("{% include given %}", "card"))

    def shown(text: str) -> str:
        made: Any = (
            templates.engine.from_string(text)
            if isinstance(templates, DjangoTemplates)
            else templates.environment.from_string(text)  # type: ignore[attr-defined]
        )
        return templates.render("page", given=made)

    assert [shown("one"), shown("other")] == ["one", "other"]
    assert "it includes a template that has no name" in caplog.text


# Jinja2's templates


def test_a_template_without_a_name_among_several_is_not_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    templates = JinjaTemplates()
    templates.write(page=templates.fragment("{% include [given.part] %}", "card"))

    def shown(text: str) -> str:
        part = templates.environment.from_string(text)
        return templates.render("page", given=SimpleNamespace(part=part))

    assert [shown("one"), shown("other")] == ["one", "other"]
    assert "it includes a template that has no name" in caplog.text


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


def test_a_template_between_the_tag_s_and_the_one_that_is_rendered_is_part_of_it() -> None:
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


def test_a_template_that_is_loaded_anew_when_it_changes_is_part_of_it() -> None:
    """During development: the template in between is still the same object."""
    templates = JinjaTemplates()
    templates.write(
        page=templates.fragment('{% include "part.html" %}', "card"),
        part='{% include "deep.html" %}',
        deep="old",
    )
    before = [templates.render("page") for _ in range(2)]

    templates.sources["deep.html"] = "new"

    assert before == ["old", "old"]
    assert templates.render("page") == "new"


@pytest.mark.parametrize("name", ['"part.html"', "chosen"])
def test_names_that_are_relative_to_a_template_are_followed(name: str) -> None:
    class Relative(Environment):
        def join_path(self, template: str, parent: str) -> str:
            return f"{parent.rpartition('/')[0]}/{template}"

    sources = {
        "folder/page.html": f'{{% fragment "card" %}}{{% include {name} %}}{{% endfragment %}}',
        "folder/part.html": "old",
    }
    environment = Relative(loader=DictLoader(sources), extensions=[CacheLayersExtension])

    def shown() -> str:
        with unit_of_work():
            return environment.get_template("folder/page.html").render(chosen="part.html")

    before = [shown(), shown()]
    sources["folder/part.html"] = "new"

    assert before == ["old", "old"]
    assert shown() == "new"


# Templates made from strings


def test_templates_made_from_strings_are_distinguished() -> None:
    def shown(text: str) -> str:
        source = '{% load cachelayers %}{% fragment "card" %}' + text + "{% endfragment %}"
        with unit_of_work():
            return Template(source).render(Context())

    assert [shown("one"), shown("other"), shown("one")] == ["one", "other", "one"]


@pytest.mark.skipif(django.VERSION < (6, 0), reason="partials came with Django 6.0")
def test_partials_of_templates_made_from_strings_are_distinguished() -> None:
    def shown(text: str) -> str:
        source = (
            "{% load cachelayers %}{% partialdef row %}" + text + "{% endpartialdef %}"
            '{% fragment "card" %}{% partial row %}{% endfragment %}'
        )
        with unit_of_work():
            return Template(source).render(Context())

    assert [shown("one"), shown("other")] == ["one", "other"]


def test_templates_from_strings_that_extend_the_one_with_the_tag_are_distinguished() -> None:
    templates = DjangoTemplates()
    templates.write(base=templates.fragment("{% block main %}{% endblock %}", "card"))

    def shown(text: str) -> str:
        source = '{% extends "base.html" %}{% block main %}' + text + "{% endblock %}"
        with unit_of_work():
            return templates.engine.from_string(source).render(Context())

    assert [shown("one"), shown("other")] == ["one", "other"]


def test_a_jinja_template_made_from_a_string_is_distinguished() -> None:
    environment = Environment(
        loader=DictLoader({}), extensions=["cachelayers.jinja.CacheLayersExtension"]
    )

    def shown(text: str) -> str:
        with unit_of_work():
            source = '{% fragment "card" %}' + text + "{% endfragment %}"
            return environment.from_string(source).render()

    assert [shown("one"), shown("other"), shown("one")] == ["one", "other", "one"]


def test_memory_does_not_grow_with_templates_made_from_strings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jinja, "MOST_TAGS", 10)
    environment = Environment(extensions=[CacheLayersExtension])
    [extension] = environment.extensions.values()

    for number in range(25):
        source = f'{{% fragment "card" timeout=0 %}}{number}{{% endfragment %}}'
        with unit_of_work():
            environment.from_string(source).render()

    assert 0 < len(extension._tags) <= 10  # type: ignore[attr-defined]
